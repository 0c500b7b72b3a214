"""What a training with heads of groups does beside the usual: checks before it, figures on the validation split after."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from dprm_data.core.arrays import Floats
from dprm_trainers.core.errors import TrainingDataError, TrainingError
from dprm_trainers.reward.defaults import spread_by_launch
from dprm_trainers.reward.group_figures import GroupFigures, group_figures

if TYPE_CHECKING:
    from dprm_data.labels.space import LabelSpace
    from dprm_trainers.data.rows import Rows
    from dprm_trainers.reward.reward_config import RewardConfig


def check_groups(config: RewardConfig, train: Rows) -> None:
    """Raise `TrainingError` for heads of groups that this training cannot have, before a model is loaded."""
    if config.group_heads is None:
        return
    if spread_by_launch(config):
        raise TrainingError(
            "group_heads: heads of groups are not trained with weights that are spread over processes (fsdp, deepspeed)",
            hint="Leave fsdp and deepspeed out (lora needs little memory), or train a model for each group: --groups.",
        )
    if train.of_groups is None:
        raise TrainingDataError(f"group_heads: the data does not say how groups of {config.group_heads} voted")
    if not train.of_groups.counts.any():
        raise TrainingDataError(
            f"group_heads: nobody of a group of {config.group_heads} voted on a training row",
            hint="Look at the groups' votes: dprm ratings groups.",
        )


def figures_by_group(
    train: Rows, validation: Rows, predicted: Floats, space: LabelSpace, say: Callable[[str], None]
) -> tuple[GroupFigures, list[str]]:
    """Figures of the heads on the validation split, told; and what is to be said of them. predicted: (N, 1 + G, K)."""
    assert train.of_groups is not None
    found = group_figures(train.of_groups, validation, predicted, space)
    notes = found.verdicts(f"on {len(validation)} validation rows ")
    say(found.text())
    return found, notes
