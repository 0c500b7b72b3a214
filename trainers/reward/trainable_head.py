"""What is trained on the cached features of a frozen backbone."""

from __future__ import annotations

from typing import Any

import numpy as np

from dprm_data.core.arrays import Floats
from dprm_trainers.core.errors import TrainingError
from dprm_trainers.data.rows import Rows
from dprm_trainers.reward.features import FrozenHead
from dprm_trainers.reward.group_heads import GroupedFrozenHead
from dprm_trainers.reward.group_loss import levels
from dprm_trainers.reward.hidden_layer import HiddenHead
from dprm_trainers.reward.pooling import pooled_by_us


def trainable_head(
    model: Any, features: np.ndarray, base: Floats, train: Rows, hidden: int = 0
) -> FrozenHead | HiddenHead:
    """A head for the model: with heads of groups where the rows have some, or after `hidden` units.

    features: of the training rows (N, H). base: the distribution predicted before training. Raises `TrainingError` for a
    hidden layer that has no place in the model.
    """
    outputs = int(model.config.num_labels or 1)
    if hidden:
        if not pooled_by_us(model.config) or model.config.dprm["hidden"]:
            raise TrainingError(
                "hidden: this model has no place for a hidden layer, or has one already",
                hint="Leave hidden out, or give another base model.",
            )
        model.config.dprm["hidden"] = hidden
        return HiddenHead(features, outputs, hidden, base)
    if train.of_groups is None:
        return FrozenHead(features, outputs, base)
    return GroupedFrozenHead(features, outputs, base, levels(train.of_groups), train.of_groups.of_all)
