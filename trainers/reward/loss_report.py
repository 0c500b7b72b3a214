"""What a training of a reward model says of every epoch: its losses, beside that of the constant prediction."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback

from dprm_data.core.arrays import Floats
from dprm_trainers.reward.objective import Objective
from dprm_trainers.reward.training_parts import Part

if TYPE_CHECKING:
    from dprm_trainers.reward.group_loss import GroupLoss


class LossReporter(TrainerCallback):
    """Reports the losses of each epoch, beside that of the constant prediction."""

    def __init__(self, say: Callable[[str], None], constant: float) -> None:
        self._say, self._constant = say, constant

    def on_epoch_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        control.should_log = True  # an epoch of few steps has a training loss too

    def on_evaluate(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        losses = _since_last_evaluation(state.log_history)
        trained = f"training loss {losses[-1]:.4f}, " if losses else ""
        if state.is_world_process_zero:
            found = more["metrics"]["eval_loss"]
            worse = (
                ": worse than predicting the average of the training rows for every response"
                if found > self._constant
                else ""
            )
            self._say(
                f"epoch {state.epoch:.3g}: {trained}validation loss {found:.4f} (constant: {self._constant:.4f}){worse}"
            )


def _since_last_evaluation(history: list[dict[str, Any]]) -> list[float]:
    """The training losses logged between the evaluation before this one, whose entry is the last, and now."""
    found: list[float] = []
    for entry in history[:-1]:
        if "eval_loss" in entry:
            found = []
        elif "loss" in entry:
            found.append(entry["loss"])
    return found


def constant_loss(objective: Objective, base: Floats, validation: Part, groups: GroupLoss | None = None) -> float:
    """The validation loss of one distribution (K,) for every response, or of equal rewards; with groups, of one for each."""
    if objective.scalar:
        return float(objective(torch.zeros(2, 1), torch.zeros(0, 0)))
    target = torch.from_numpy(validation.rows.target).float()
    share = torch.from_numpy(validation.share).float() if validation.share is not None else torch.zeros(0)
    rows = len(target) if objective.on_rows else 0
    logits = torch.from_numpy(base).float().clamp_min(1e-12).log().expand(rows + 2 * len(share), -1)
    found = float(objective(logits, target[:rows], share).mean())
    of_groups = validation.rows.of_groups
    return found if groups is None or of_groups is None else found + groups.constant(of_groups)
