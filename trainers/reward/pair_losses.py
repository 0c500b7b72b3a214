"""Losses of pairs: what the predicted distributions of two responses say of how many people prefer one to the other.

Ordinary preference data says of two responses which one was preferred, or by what share of people. Neither response has a
distribution of its own to be compared with, but their two distributions predict the share:

    ordinal   Two people, drawn at random, rate one response each: X ~ p, Y ~ q, independently. The share is
              S = P(r(X) > r(Y)) + P(r(X) = r(Y)) / 2, a tie counted half for each.
    utility   Bradley-Terry on the population's utilities, which are the expected rewards: S = sigmoid(E r(X) - E r(Y)).

The loss of either is the cross-entropy of the observed share s: -s log S - (1 - s) log(1 - S), in nats. For s = 1 it is
the negative log-likelihood of "the chosen one was preferred"; in s it is a proper score, least at S = s.

Derivation of `ordinal`: S is bilinear, S = p' W q with W_ij = 1, 1/2 or 0 where label i has a greater, the same or a lower
reward than label j, and W + W' = 1 makes 1 - S = p' W' q. So log S is a log-sum-exp over the cells of W of
log p_i + log q_j + log W_ij, which does not lose digits where S is near 0 or 1. The likelihood of s = 1, without ties, is
that of the ordinal probabilistic reward model (arXiv:2602.12660); ties and shares are added here.

Pairs alone do not say how good a response is: adding one label's worth to all responses changes no preference, so the
level of the predictions is that of their start. A loss of distributions on some rows fixes it (`ce+ordinal`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def log_shares(first: Tensor, second: Tensor, rewards: Tensor) -> tuple[Tensor, Tensor]:
    """log S and log(1 - S) of `ordinal`, each (B,): logits of the first and second responses (B, d), rewards (d,)."""
    better = 0.5 * (1.0 + torch.sign(rewards[:, None] - rewards[None, :]))
    joint = first.log_softmax(dim=-1)[:, :, None] + second.log_softmax(dim=-1)[:, None, :]
    log_better = better.to(joint).log()
    cells = joint + log_better, joint + log_better.T
    above, below = (cell.flatten(1).logsumexp(dim=1) for cell in cells)
    return above, below


def ordinal_loss(first: Tensor, second: Tensor, share: Tensor, rewards: Tensor) -> Tensor:
    """Cross-entropy (B,), in nats, of the share of people (B,) who prefer the first response, by logits (B, d) each.

    rewards: of the labels (d,); at least two differ.
    """
    above, below = log_shares(first, second, rewards)
    return -(share * above + (1 - share) * below)


def utility_loss(first: Tensor, second: Tensor, share: Tensor, rewards: Tensor) -> Tensor:
    """As `ordinal_loss`, by Bradley-Terry on the expected rewards."""
    utility = [logits.softmax(dim=-1) @ rewards.to(logits) for logits in (first, second)]
    margin = utility[0] - utility[1]
    return -(share * nn.functional.logsigmoid(margin) + (1 - share) * nn.functional.logsigmoid(-margin))
