"""The loss of group heads, beside the population's.

Of N training rows, of which n_ig people of group g voted on row i, with the loss L of the training's objective:

    sum_i sum_g n_ig L(logits_ig, q_ig) / V  +  |D - D_0|² / (2 t² V)        V = sum_i sum_g n_ig, the votes of all groups

**Rows count by votes**, so the first term is a mean over votes: a group that did not vote on a row teaches nothing there,
and the sum of all groups weighs as much as the population's loss does. n_ig is evidence on the row's q_ig, which
`dprm_data.preference.groups` draws towards everyone's; the votes of others are not counted again here.

**The second term is a Gaussian prior** of the change of the offsets D (`GroupedLinear.moved`: as the mean square of the
logits that it adds): before any votes, a group's log odds depend on the text otherwise than the population's by about t.
Together they are the posterior's maximum, divided by V: a group with few votes stays at the population's head (and its
own base rate), one with many leaves it. This is in the loss, not in AdamW's weight decay: AdamW divides each weight's
gradient by its size, so that three votes would move an offset as far as three thousand, and decay would not hold it.

**Shrunk once, or twice?** The targets are shrunk response by response, which the noise of few votes asks for; the offsets
over all responses, which the number of features asks for. The first leaves differences between groups somewhat too
small: it errs on the side of the population. A wide prior (t) keeps the second from adding much to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from dprm_data.core.arrays import Floats
from dprm_trainers.data.group_targets import GroupTargets
from dprm_trainers.reward.base_rate import constant_of
from dprm_trainers.reward.group_heads import GroupedFrozenHead, GroupedLinear, named_head

if TYPE_CHECKING:
    from dprm_trainers.data.rows import Rows
    from dprm_trainers.data.token_table import TokenRows
    from dprm_trainers.reward.objective import Objective

SPREAD = 0.5  # t, in nats
_LEAST = 1e-4  # of a label's share, for a logarithm


class GroupLoss:
    """`group_loss(logits, target, votes)`: the first term for a batch; `prior(model)`: the second."""

    def __init__(self, objective: Objective, train: GroupTargets, *, spread: float = SPREAD) -> None:
        self._objective = objective
        self._outputs = train.target.shape[2]
        self._votes = max(float(train.votes.sum()), 1.0)
        self._per_row = self._votes / len(train.target)
        self._spread = spread

    def split(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """The population's logits (B, K), and the groups' (B, G, K)."""
        own, groups = logits[:, : self._outputs], logits[:, self._outputs :]
        return own, groups.reshape(len(logits), -1, self._outputs)

    def __call__(self, logits: Tensor, target: Tensor, votes: Tensor) -> Tensor:
        """logits: (B, G, K), of which the first R rows have targets (R, G, K) and votes (R, G)."""
        seen = votes > 0
        if not seen.any():
            return logits.sum() * 0.0
        losses = self._objective(logits[: len(target)][seen], target[seen])
        return (losses * votes[seen]).sum() / (len(target) * self._per_row)

    def prior(self, model: Any) -> Tensor:
        """The Gaussian prior of the offsets in a model."""
        heads = [part for part in model.modules() if isinstance(part, GroupedLinear | GroupedFrozenHead)]
        moved: Tensor = next(part for part in heads if part.weight.requires_grad).moved()
        return moved / (2 * self._spread**2 * self._votes)

    def constant(self, train: Rows, validation: Rows) -> float:
        """The loss of saying of every validation row what the group says on average of the training rows."""
        assert train.of_groups is not None and validation.of_groups is not None
        base, _ = train.of_groups.base_rates(train.target)
        logits = torch.from_numpy(np.log(np.maximum(base, _LEAST))).float().expand(len(validation), -1, -1)
        target, votes = validation.of_groups.target, validation.of_groups.votes
        return float(self(logits, torch.from_numpy(target).float(), torch.from_numpy(votes).float()))


def levels(train: Rows) -> Floats:
    """(G, K): what the logarithms of each group's base rates have more than everyone's on the same rows."""
    assert train.of_groups is not None
    own, everyone = (np.log(np.maximum(base, _LEAST)) for base in train.of_groups.base_rates(train.target))
    found = own - everyone
    return np.asarray(found - found.mean(axis=1, keepdims=True))


@torch.no_grad()
def widen(model: Any, train: Rows, ids: TokenRows | None) -> None:
    """Give a classifier heads of groups, which start at the population's head and the groups' own base rates.

    ids: the training rows' tokens; None where the head is trained elsewhere, on features. Raises `TrainingError` if its head is not one linear layer.
    """
    name, head = named_head(model)
    level = torch.from_numpy(levels(train)).float().flatten()
    u, scale = constant_of(model, ids) if ids is not None else (torch.zeros(head.in_features), 1.0)
    if head.bias is not None:
        wide = GroupedLinear.of(head, torch.zeros(len(level), head.in_features), level, scale)
    else:
        wide = GroupedLinear.of(head, torch.outer(level, u), None, scale)
    model.set_submodule(name, wide)
