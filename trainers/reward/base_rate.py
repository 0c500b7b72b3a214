"""Start a head at the base rate: before training, every response gets about the mean distribution of the training rows.

A stock head starts at random logits, and the first hundreds of steps go into learning how often each label occurs. A
bias is set to the logarithms of the base rate. A decoder's head has none: there the constant is built of features, u'x
= 1 by ridge regression on a few rows, as in `dprm_trainers.reward.features`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from dprm_data.core.arrays import Floats
from dprm_trainers.core.errors import TrainingError
from dprm_trainers.data.token_table import TokenRows
from dprm_trainers.reward.features import compute_features, linear_head

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_ROWS, _TOKENS = 32, 128  # from which a constant is built: the last tokens of some rows
_RIDGE = 1e-3  # as a share of the features' mean square
_KEPT = 0.01  # of the random weights, which make labels and directions differ


@torch.no_grad()
def start_at_base_rate(model: PreTrainedModel, base: Floats, ids: TokenRows) -> None:
    """Change a fresh linear head so that it predicts about `base` (K,) for every row. Heads of several layers stay.

    ids: the training rows' tokens.
    """
    try:
        head = linear_head(model)
    except TrainingError:
        return
    logs = torch.from_numpy(np.log(np.maximum(base, 1e-4))).float()
    logs -= logs.mean()
    head.weight.mul_(_KEPT)
    if head.bias is not None:
        head.bias.copy_(logs)
        return
    u, _ = constant_of(model, ids)
    head.weight.add_(torch.outer(logs, u).to(head.weight))


@torch.no_grad()
def constant_of(model: PreTrainedModel, ids: TokenRows) -> tuple[Tensor, float]:
    """u (H,), of which u'x is about 1 for the features x of every row, and the mean of |x|²: from a few rows' tokens."""
    some = [row[-_TOKENS:] for row in ids[:: max(1, len(ids) // _ROWS)][:_ROWS]]
    x = torch.from_numpy(compute_features(model, some, 8)).double()
    inner = x @ x.T
    ridge = _RIDGE * inner.diagonal().mean() * torch.eye(len(x), dtype=torch.float64)
    u = x.T @ torch.linalg.solve(inner + ridge, torch.ones(len(x), dtype=torch.float64))
    return u.float(), float(inner.diagonal().mean())
