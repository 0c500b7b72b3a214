"""What the trainings of reward models and policies recorded as held out."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dprm_data.ingest.splits import HeldOut as HeldOut

ALIGNMENT = "dprm_ppo.json"  # in a policy's folder: settings, prompts and figures of its training
CHECKPOINTS = "checkpoints"  # the folder in it with the policies that were kept along the training


def by_reward_models(references: Iterable[str]) -> tuple[HeldOut, ...]:
    """The distinct holdouts of reward models (folders, or names on the Hub). Only their configs are read.

    Raises `TrainingError` for a model that `dprm train reward` did not train.
    """
    from dprm_trainers.reward.reward_model import training_of

    found = (HeldOut.of(training_of(reference).get("split")) for reference in references)
    return tuple(dict.fromkeys(found))


def alignment_of(policy: str) -> dict[str, Any]:
    """The record of `dprm train ppo` in a policy's folder, or, for a policy kept in `checkpoints`, in its training's; empty
    if there is none."""
    folder = Path(policy).absolute()
    file = (folder.parent.parent if folder.parent.name == CHECKPOINTS else folder) / ALIGNMENT
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}


def by_policies(policies: Iterable[str]) -> tuple[HeldOut, ...]:
    """The distinct holdouts of the policies whose folder has a record of `dprm train ppo`."""
    records = filter(None, map(alignment_of, policies))
    found = (HeldOut.of(shares) for record in records for shares in record.get("prompts", {}).get("held_out") or [None])
    return tuple(dict.fromkeys(found))
