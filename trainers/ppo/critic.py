"""The critic's losses: it predicts the expected return, or quantiles of the return's distribution.

**Scalar.** V is fitted to the target A + V_old by least squares. Like the policy, it must not move further than a clip
from its value when the responses were sampled (`value_loss`; in Schulman et al.'s implementation, not in their paper).

**Quantiles.** The return of a state is a random variable Z, because the policy samples the tokens that follow. The
reward of a whole response is one number, the reading of its predicted distribution, so Z does not spread with people's
disagreement: the quantiles are a better estimate of V, not a distribution over people. (`population_std` and the
readings of `dprm_trainers.reward.risk_measures` are about people.) A head of N outputs theta_1..theta_N estimates Z's
quantiles at the midpoints tau_i = (2 i - 1) / (2 N) by quantile regression
(QR-DQN: Dabney et al. 2018, arXiv 1710.10044): with u = z - theta_i for an observed return z,

    loss = mean_i |tau_i - [u < 0]| H_k(u) / k          H_k(u) = u^2 / 2 for |u| <= k, else k (|u| - k / 2)

which for k -> 0 is the pinball loss, whose expectation the quantile minimises: its derivative with respect to theta is
P(Z < theta) - tau. Huber's smooth middle of width k biases theta towards the mean by up to about k, so k should be
small compared with the standard deviation of the returns. V is the mean of the quantiles (the midpoint rule for the
integral of the quantile function, which is the mean).

The target z must be a sample of Z. A + V_old is not: for lambda < 1 it mixes in predicted means, and its variance is
too small. So quantiles are fitted to the observed return, and a scalar to A + V_old.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dprm_trainers.ppo.ppo import Total, alone, masked_mean


def value_loss(values: Tensor, old: Tensor, targets: Tensor, clip: float | None) -> Tensor:
    """Half the squared error per token (B, T): the larger of the plain and the clipped error, or the plain one."""
    loss = (values - targets).square() / 2
    if clip is None:
        return loss
    clipped = old + (values - old).clamp(-clip, clip)
    return torch.maximum(loss, (clipped - targets).square() / 2)


def midpoints(count: int) -> Tensor:
    """The levels (N,) of `count` quantiles: (2 i - 1) / (2 N)."""
    return (torch.arange(count) + 0.5) / count


def quantile_huber(quantiles: Tensor, targets: Tensor, width: float) -> Tensor:
    """The quantile Huber loss (B, T) of quantiles (B, T, N) at observed returns (B, T)."""
    u = targets.unsqueeze(-1) - quantiles
    size = u.abs()
    huber = torch.where(size <= width, u.square() / 2, width * (size - width / 2)) / width
    levels = midpoints(quantiles.shape[-1]).to(u)
    return ((levels - (u.detach() < 0).to(u)).abs() * huber).mean(-1)


def quantile_loss(quantiles: Tensor, old: Tensor, targets: Tensor, clip: float | None, width: float) -> Tensor:
    """`quantile_huber`, clipped like `value_loss`: the larger of the plain and the clipped loss."""
    loss = quantile_huber(quantiles, targets, width)
    if clip is None:
        return loss
    clipped = old + (quantiles - old).clamp(-clip, clip)
    return torch.maximum(loss, quantile_huber(clipped, targets, width))


def critic_loss(
    values: Tensor, old: Tensor, targets: Tensor, clip: float | None, width: float, *, distributional: bool
) -> Tensor:
    """The loss per token (B, T) of a head's outputs (B, T, N): N = 1 for a scalar critic."""
    if distributional:
        return quantile_loss(values, old, targets, clip, width)
    return value_loss(values[..., 0], old[..., 0], targets, clip)


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor, total: Total = alone) -> Tensor:
    """1 - Var(returns - values) / Var(returns) over the mask: 1 is perfect, 0 like a constant or undefined."""

    def variance(x: Tensor) -> Tensor:
        return masked_mean((x - masked_mean(x, mask, total)).square(), mask, total)

    total_variance = variance(returns)
    explained = 1 - variance(returns - values) / total_variance.clamp(min=1e-12)
    return torch.where(total_variance > 1e-12, explained, total_variance.new_zeros(()))
