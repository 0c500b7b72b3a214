"""The prompts that a training held out if the data has no splits, as reward models and policies record them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

ALIGNMENT = "dprm_ppo.json"  # in a policy's folder: settings, prompts and figures of its training


@dataclass(frozen=True)
class HeldOut:
    """The held-out shares of the prompts, and the seed of the hash that selects them.

    Defaults: those of `load_data`.
    """

    test: float = 0.1
    validation: float = 0.1
    seed: int = 0

    @classmethod
    def of(cls, recorded: Mapping[str, Any] | None) -> HeldOut:
        """From the record of a training; missing values are the defaults."""
        known = recorded or {}
        return cls(**{part.name: known[part.name] for part in fields(cls) if part.name in known})


def by_reward_models(references: Iterable[str]) -> tuple[HeldOut, ...]:
    """The distinct holdouts of reward models (folders, or names on the Hub). Only their configs are read.

    Raises `TrainingError` for a model that `dprm train reward` did not train.
    """
    from dprm_trainers.reward.reward_model import training_of

    found = (HeldOut.of(training_of(reference).get("split")) for reference in references)
    return tuple(dict.fromkeys(found))


def alignment_of(policy: str) -> dict[str, Any]:
    """The record of `dprm train ppo` in a policy's folder; empty if there is none."""
    file = Path(policy) / ALIGNMENT
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}


def by_policies(policies: Iterable[str]) -> tuple[HeldOut, ...]:
    """The distinct holdouts of the policies whose folder has a record of `dprm train ppo`."""
    records = filter(None, map(alignment_of, policies))
    found = (HeldOut.of(shares) for record in records for shares in record.get("prompts", {}).get("held_out") or [None])
    return tuple(dict.fromkeys(found))
