"""What the trainings of reward models and policies recorded as held out."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dprm_data.ingest.splits import HeldOut as HeldOut

ALIGNMENT = "dprm_ppo.json"  # in a policy's folder: settings, prompts and figures of its training


def by_reward_models(references: Iterable[str]) -> tuple[HeldOut, ...]:
    """What the trainings of reward models (folders, or names on the Hub) held out, each once. Only their settings are read.

    Raises `TrainingError` for what is no reward model of ours.
    """
    from dprm_trainers.reward.reward_model import training_of

    found = (HeldOut.of(training_of(reference).get("split")) for reference in references)
    return tuple(dict.fromkeys(found))


def alignment_of(policy: str) -> dict[str, Any]:
    """The record that `dprm train ppo` left in a policy's folder; empty where there is none."""
    file = Path(policy) / ALIGNMENT
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}


def by_policies(policies: Iterable[str]) -> tuple[HeldOut, ...]:
    """What the trainings of policies held out, each once: of those whose folder has the record of a training by `dprm train ppo`."""
    records = filter(None, map(alignment_of, policies))
    found = (HeldOut.of(how) for record in records for how in record.get("prompts", {}).get("held_out") or [None])
    return tuple(dict.fromkeys(found))
