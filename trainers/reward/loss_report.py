"""What a training of a reward model says of every epoch: its losses, beside that of the constant prediction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import TrainerCallback

from dprm_trainers.data.rows import Rows
from dprm_trainers.reward.objective import Objective
from dprm_trainers.reward.rivals import constant


class LossReporter(TrainerCallback):
    """Reports the losses of each epoch, beside that of the constant prediction."""

    def __init__(self, say: Callable[[str], None], constant: float) -> None:
        self._say, self._constant = say, constant

    def on_evaluate(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        losses = [f"{entry['loss']:.4f}" for entry in state.log_history[-8:] if "loss" in entry][-1:]
        trained = f"training loss {losses[0]}, " if losses else ""
        if state.is_world_process_zero:
            found = more["metrics"]["eval_loss"]
            worse = ": worse than saying the training rows' average of every response" if found > self._constant else ""
            self._say(
                f"epoch {state.epoch:.3g}: {trained}validation loss {found:.4f} (constant: {self._constant:.4f}){worse}"
            )


def constant_loss(objective: Objective, train: Rows, validation: Rows) -> float:
    """The validation loss of the training rows' mean distribution, or of equal rewards."""
    target = torch.from_numpy(validation.target).float()
    if objective.scalar:
        return float(objective(torch.zeros(2, 1), target[:1]))
    return float(objective(torch.from_numpy(constant(train, len(target))).clamp_min(1e-12).log(), target).mean())
