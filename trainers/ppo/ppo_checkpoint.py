"""Checkpoints of a PPO training, written atomically.

A checkpoint has the trained weights, the optimizer's state, the step, the KL coefficient and the metrics so far.
Prompts, samples and shuffles are functions of the seed and the step (`dprm_trainers.ppo.rollouts`), so there is no
other state: a resumed training equals the uninterrupted one.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dprm_trainers.core.checkpoints import flush, last_whole
from dprm_trainers.core.errors import TrainingError

_PREFIX = "step-"
_FILE = "state.pt"


@dataclass(frozen=True)
class Checkpoint:
    """The state after `step` steps. identity: the settings and data that a resumed training must share."""

    step: int
    weights: dict[str, Tensor]
    optimizer: dict[str, Any]
    coefficient: float
    history: list[dict[str, float]]
    identity: dict[str, Any]


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write the checkpoint as a folder. The one before is kept; older ones are removed first."""
    for older in _all(folder)[:-1]:
        shutil.rmtree(older)
    place = folder / f"{_PREFIX}{checkpoint.step:08d}"
    staged = folder / f".{place.name}"
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    torch.save(dict(checkpoint.__dict__), staged / _FILE)
    flush(staged)
    shutil.rmtree(place, ignore_errors=True)
    staged.replace(place)


def has_checkpoint(folder: Path) -> bool:
    return bool(_all(folder))


def load_checkpoint(folder: Path, identity: dict[str, Any], say: Callable[[str], None]) -> Checkpoint | None:
    """The last whole checkpoint, or None. say: is called for each that is not whole.

    Raises `TrainingError` if its settings or data differ, or if it cannot be read.
    """
    place = last_whole(_all(folder), say, needed=(_FILE,))
    if place is None:
        return None
    try:
        checkpoint = Checkpoint(**torch.load(place / _FILE, map_location="cpu", weights_only=True))
    except Exception as error:  # the file is whole, so it is not of this program: unpickling raises anything
        raise TrainingError(
            f"{place} cannot be read as a checkpoint ({type(error).__name__})",
            hint="Remove it to resume from an older one, or give --overwrite to start again.",
        ) from error
    changed = [name for name, value in identity.items() if checkpoint.identity.get(name) != value]
    if changed:
        differences = ", ".join(
            f"{name}: {checkpoint.identity.get(name)!r} (now {identity[name]!r})" for name in changed[:3]
        )
        raise TrainingError(
            f"{place} is from another training: {differences}",
            hint="Resume with the original settings, or give --overwrite to start again.",
        )
    return checkpoint


def _all(folder: Path) -> list[Path]:
    """Complete checkpoints, the latest last."""
    return sorted(folder.glob(f"{_PREFIX}*")) if folder.is_dir() else []
