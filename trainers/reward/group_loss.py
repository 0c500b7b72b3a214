"""The loss of group heads, beside the population's: the likelihood of the groups' votes, and a prior.

Of N training rows, where n_igk people of group g gave label k to row i, with the head's probabilities p_igk:

    - w sum_igk m_igk log p_igk / V  +  w |E - E_0|² / (2 t² V)          V = sum_igk m_igk

A head's logits are the population's plus an offset that is linear in the features (`group_heads`), so this is the
posterior's maximum of a multinomial logistic regression with the population's logits as its offset, by V and times w.

**Votes, not fitted distributions.** The distributions of `dprm_data.preference.groups` are drawn towards everyone's,
response by response, as the few votes that a group has on one response ask for. A head learns from the votes on all
responses, and is drawn towards the population's by its prior. Trained on what is drawn already it would be drawn twice,
and lose part of a difference where a group has few votes on each response. For votes themselves
the likelihood is the loss, whatever the objective is: cross-entropy of sampled votes is minimised by their mean, the
transport to them by their median.

**What votes are worth.** The n votes of a group on one response have in common what the head does not read in its text.
They count as m = n / (1 + r (n - 1)), as votes with the intraclass correlation r do: at most 1 / r, however many they
are. r is a constant (`ALIKE`). Votes of one person on several responses count as independent, which they are not: for few
raters the prior is too weak.

**The prior** is Gaussian in the change of E (`moved`: as the mean square of the logits that it adds): before any votes,
the log odds of a group depend on the text otherwise than the population's by about t. A group with few votes stays at the
population's head, one with many leaves it. E_0 is the group's base rate, drawn towards everyone's on the same rows by as
many votes as a prior of width t is worth. All this is in the loss, not in AdamW's weight decay: AdamW divides each
weight's gradient by its size, so that three votes would move an offset as far as three thousand, and decay would not
hold it.

**The weight** w makes the groups' loss of the constant prediction equal to the population's, so that the backbone, which
both train, is neither's alone. The offsets do not depend on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from dprm_data.core.arrays import Floats
from dprm_trainers.data.group_votes import GroupVotes
from dprm_trainers.reward.base_rate import constant_of
from dprm_trainers.reward.group_heads import GroupedFrozenHead, GroupedLinear, named_head

if TYPE_CHECKING:
    from dprm_trainers.data.token_table import TokenRows

SPREAD = 0.5  # t, in nats
ALIKE = 0.1  # r, of the votes of a group on one response, beyond what a head reads in its text
ADDED = 4 / SPREAD**2  # votes: a vote tells at most 1/4 of a squared log odds


class GroupLoss:
    """The loss of a batch's groups. train: the votes of all training rows; weight: w; spread: t."""

    def __init__(self, train: GroupVotes, *, weight: float = 1.0, spread: float = SPREAD) -> None:
        self._train, self._weight, self._spread = train, weight, spread
        self._votes = max(float(_worth(torch.from_numpy(train.counts)).sum()), 1e-9)

    @classmethod
    def beside(cls, loss: float, train: GroupVotes) -> GroupLoss:
        """With the weight that makes it as large as the population's loss, if both predict base rates."""
        return cls(train, weight=loss / max(cls(train).constant(train), 1e-6))

    def split(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """The population's logits (B, K), and the groups' (B, G, K)."""
        _, G, K = self._train.counts.shape
        return logits[:, :K], logits[:, K:].reshape(len(logits), G, K)

    def of_batch(self, logits: Tensor, batch: dict[str, Any], model: Any) -> Tensor:
        """The loss of a batch, with the prior while the model is trained. logits: (B, G, K)."""
        found = self(logits, batch["group_votes"]) if "group_votes" in batch else logits.sum() * 0.0
        return found + self.prior(model) if model.training else found

    def __call__(self, logits: Tensor, counts: Tensor) -> Tensor:
        """The first term, its mean over a batch's rows. logits: (B, G, K), of which the first R rows have votes
        (R, G, K)."""
        rows = len(self._train.counts)
        told = (_worth(counts) * logits[: len(counts)].log_softmax(dim=-1)).sum()
        return -self._weight * told * rows / (len(counts) * self._votes)

    def prior(self, model: Any) -> Tensor:
        """The second term, of the offsets in a model."""
        heads = [part for part in model.modules() if isinstance(part, GroupedLinear | GroupedFrozenHead)]
        moved: Tensor = next(part for part in heads if part.weight.requires_grad).moved()
        return self._weight * moved / (2 * self._spread**2 * self._votes)

    def constant(self, votes: GroupVotes) -> float:
        """The first term on other rows, if every group's head predicts its base rate of the training rows."""
        base = torch.from_numpy(np.log(self._train.shares(ADDED)[0])).float()
        return float(self(base.expand(len(votes.counts), -1, -1), torch.from_numpy(votes.counts).float()))


def _worth(counts: Tensor) -> Tensor:
    """Votes (…, G, K), as many as they are worth."""
    n = counts.sum(dim=-1, keepdim=True)
    return counts / (1.0 + ALIKE * (n - 1.0).clamp_min(0.0))


def levels(train: GroupVotes) -> Floats:
    """D_0, (G, K): what the logarithms of each group's base rates have more than everyone's on the same rows."""
    own, everyone = (np.log(share) for share in train.shares(ADDED))
    found = own - everyone
    return np.asarray(found - found.mean(axis=1, keepdims=True))


@torch.no_grad()
def widen(model: Any, train: GroupVotes, ids: TokenRows | None) -> None:
    """Give a classifier heads of groups, which start at the population's head and the groups' own base rates.

    ids: the training rows' tokens; None where the head is trained elsewhere, on features. Raises `TrainingError` if its
    head is not one linear layer.
    """
    name, head = named_head(model)
    level = torch.from_numpy(levels(train)).float().flatten()
    u, scale = constant_of(model, ids) if ids is not None else (torch.zeros(head.in_features), 1.0)
    share = torch.from_numpy(train.of_all).float()
    if head.bias is not None:
        wide = GroupedLinear.of(head, torch.zeros(len(level), head.in_features), level, scale, share)
    else:
        wide = GroupedLinear.of(head, torch.outer(level, u), None, scale, share)
    model.set_submodule(name, wide)
