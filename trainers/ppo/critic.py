"""What the critic learns: the expected return, or the quantiles of its distribution.

**Scalar.** V is fitted to the target A + V_old by squares, and like the policy it must not move further than a clip from where it was when the responses were sampled
(`value_loss`; Schulman et al.'s implementation, not in their paper).

**Quantiles.** The return of a state is a random variable Z: the policy samples, and a population disagrees. A head of N outputs theta_1..theta_N estimates its quantiles at the midpoints
tau_i = (2 i - 1) / (2 N) by quantile regression (QR-DQN: Dabney et al. 2018, arXiv 1710.10044): with u = z - theta_i for an observed return z,

    loss = mean_i |tau_i - [u < 0]| H_k(u) / k          H_k(u) = u^2 / 2 for |u| <= k, else k (|u| - k / 2)

which for k -> 0 is the pinball loss, whose expectation the quantile minimises: its derivative by theta is P(Z < theta) - tau. Huber's smooth middle of width k biases theta towards the mean within about k, so
k should be small beside the spread of the returns. V is the mean of the quantiles (the midpoint rule for the integral of the quantile function, which is the mean).

The target z must be a sample of Z. A + V_old is none: for lambda < 1 it mixes predicted means in, and its spread is too small. So quantiles are fitted to the observed return, a scalar to A + V_old.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dprm_trainers.ppo.ppo import Total, alone, masked_mean


def value_loss(values: Tensor, old: Tensor, targets: Tensor, clip: float | None) -> Tensor:
    """Half the squared error per token (B, T) of values (B, T); the larger one of the plain and the clipped value's. clip None: plain."""
    loss = (values - targets).square() / 2
    if clip is None:
        return loss
    near = old + (values - old).clamp(-clip, clip)
    return torch.maximum(loss, (near - targets).square() / 2)


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
    """`quantile_huber`, clipped as `value_loss` is: the larger one of the plain loss and that of quantiles held within clip of the old ones."""
    loss = quantile_huber(quantiles, targets, width)
    if clip is None:
        return loss
    near = old + (quantiles - old).clamp(-clip, clip)
    return torch.maximum(loss, quantile_huber(near, targets, width))


def critic_loss(
    values: Tensor, old: Tensor, targets: Tensor, clip: float | None, width: float, *, distributional: bool
) -> Tensor:
    """The loss per token (B, T) of a head's outputs (B, T, N): N = 1 for a scalar critic."""
    if distributional:
        return quantile_loss(values, old, targets, clip, width)
    return value_loss(values[..., 0], old[..., 0], targets, clip)


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor, total: Total = alone) -> Tensor:
    """1 - Var(returns - values) / Var(returns) over the mask: 1 is perfect, 0 no better than a constant. 0 where returns do not vary."""

    def variance(x: Tensor) -> Tensor:
        return masked_mean((x - masked_mean(x, mask, total)).square(), mask, total)

    spread = variance(returns)
    return torch.where(spread > 1e-12, 1 - variance(returns - values) / spread.clamp(min=1e-12), spread.new_zeros(()))
