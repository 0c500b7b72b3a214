"""The mathematics of PPO with a reward at the end of a response, as functions of tensors, independent of any model.

**The problem.** A prompt x, a response y = (y_1, ..., y_T) sampled from the policy pi, a reward r(x, y), and a
reference pi_ref that the policy should stay close to:

    maximise  E_y~pi [ r(x, y) ] - beta KL(pi || pi_ref),   KL(pi || pi_ref) = E_y~pi [ log pi(y|x) - log pi_ref(y|x) ]

Its optimum is pi* proportional to pi_ref exp(r / beta) (Lagrange, for every x; the tests approach it). Since log
pi(y|x) = sum_t log pi(y_t | x, y_<t), the divergence is a sum over tokens, and the objective is the expected sum of the
*token rewards* (`token_rewards`)

    r_t = -beta (log pi(y_t) - log pi_ref(y_t)) + [t = T] r(x, y)

with pi in r_t held fixed at the sampling policy: the part of the gradient that this omits, E[sum_t grad log pi(y_t)],
is zero. That holds for the plain difference of logarithms, `k1`. The estimators `k2` and `k3` (J. Schulman,
"Approximating KL Divergence", 2020, joschu.net/blog/kl-approx.html) have less variance as *numbers* when the two
policies are close, and k3 is unbiased too; but in the rewards they would give another gradient, k3 that of KL(pi ||
pi_ref) - KL(pi_ref || pi). So k1 is penalised and reported: far from the reference, the exponential in k3 lets single
rare tokens dominate. k3 measures the small step from the sampling policy to the new one.

**Advantages.** The state before token t is (x, y_<t), its value V_t the expected sum of gamma^k r_t+k from there on.
The end of a response is terminal, even if the response was cut off: its reward then is not the reward model's
(`shaped` in `dprm_trainers.ppo.experience`). So V_T+1 = 0, and generalised advantage estimation (`gae`; Schulman et al. 2015, arXiv 1506.02438) is

    delta_t = r_t + gamma V_t+1 - V_t          A_t = delta_t + gamma lambda A_t+1

lambda = 1 gives the observed sum of rewards minus V_t (`observed_returns`), lambda = 0 one step's delta_t. A_t + V_t is
the target of a scalar critic.

**The step.** Several epochs over one batch of responses follow the clipped surrogate of Schulman et al. 2017 (arXiv
1707.06347) of the ratio rho_t = pi(y_t) / pi_old(y_t)

    loss_t = max( -rho_t A_t , -clip(rho_t, 1 - c, 1 + c) A_t )         (`policy_loss`)

whose gradient at rho = 1 is the policy gradient, and vanishes where the ratio has moved by more than c in the direction
of the advantage. The critic's losses are in `dprm_trainers.ppo.critic`.

Shapes: B responses of at most T tokens; mask (B, T) is 1 on a response's tokens and 0 after its end. All losses are per
token (B, T): the caller, which knows the number of tokens of the whole minibatch over all processes, takes the mean.
`Total` sums a tensor over the processes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Estimator = Literal["k1", "k2", "k3"]
Total = Callable[[Tensor], Tensor]


def alone(tensor: Tensor) -> Tensor:
    """The `Total` of a single process."""
    return tensor


# -- distributions -----------------------------------------------------------------------------------------------------


def token_logprobs(logits: Tensor, tokens: Tensor) -> Tensor:
    """Log-probability of each token under its logits: (B, T, V) and (B, T) to (B, T), nats."""
    chosen = logits.gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
    return chosen - logits.logsumexp(-1)


def token_entropy(logits: Tensor) -> Tensor:
    """Entropy of each token's distribution: (B, T, V) to (B, T), nats.

    Logits must be finite; a forbidden token has a very low one.
    """
    total = logits.logsumexp(-1)
    return total - ((logits - total.unsqueeze(-1)).exp() * logits).sum(-1)


def kl_estimate(logprobs: Tensor, reference: Tensor, kind: Estimator = "k3") -> Tensor:
    """Schulman's estimators of KL(pi || pi_ref) from samples of pi, elementwise, with d = log pi_ref - log pi.

    k1 = -d is unbiased; k2 = d^2 / 2 is biased, with little variance; k3 = exp(d) - 1 - d is unbiased and never
    negative.
    """
    d = reference - logprobs
    if kind == "k1":
        return -d
    return d.square() / 2 if kind == "k2" else d.expm1() - d


# -- rewards and advantages --------------------------------------------------------------------------------------------


def token_rewards(scores: Tensor, logprobs: Tensor, reference: Tensor, mask: Tensor, coefficient: float) -> Tensor:
    """Rewards per token (B, T): the KL penalty on every token of the response, plus the score (B,) on its last."""
    rewards = -coefficient * kl_estimate(logprobs, reference, "k1") * mask
    last = mask.sum(1).long() - 1
    rewards[torch.arange(len(scores), device=scores.device), last] += scores
    return rewards


def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> Tensor:
    """Advantages (B, T) of rewards and values (B, T); zero after the end of the response."""
    rewards, values = rewards * mask, values * mask
    advantage = ahead = torch.zeros_like(values[:, 0])
    advantages = []
    for t in range(values.shape[1] - 1, -1, -1):
        delta = rewards[:, t] + gamma * ahead - values[:, t]
        advantage = delta + gamma * lam * advantage
        advantages.append(advantage)
        ahead = values[:, t]
    return torch.stack(advantages[::-1], dim=1) * mask


def observed_returns(rewards: Tensor, mask: Tensor, gamma: float) -> Tensor:
    """The observed discounted sum of rewards from each token on: (B, T)."""
    return gae(rewards, torch.zeros_like(rewards), mask, gamma, 1.0)


def masked_mean(values: Tensor, mask: Tensor, total: Total = alone) -> Tensor:
    """The mean over the mask, over all processes."""
    count, summed = total(torch.stack([mask.sum().float(), (values * mask).sum().float()]))
    mean: Tensor = summed / count.clamp(min=1)
    return mean


def whiten(values: Tensor, mask: Tensor, *, centre: bool = True, total: Total = alone) -> Tensor:
    """Values with unit variance over the mask (all processes), and mean zero unless centre is False; zero outside the
    mask.

    The variance is the population's, plus 1e-8, so that constant values stay finite. Rewards are not centred: shifting
    every token's reward would reward length.
    """
    mean = masked_mean(values, mask, total)
    variance = masked_mean((values - mean).square(), mask, total)
    shifted = values - mean if centre else values
    return shifted * (variance + 1e-8).rsqrt() * mask


# -- losses ------------------------------------------------------------------------------------------------------------


def policy_loss(logprobs: Tensor, old: Tensor, advantages: Tensor, clip: float) -> tuple[Tensor, Tensor]:
    """The clipped surrogate per token (B, T), to be minimised, and 1 where the clip is active, else 0 (B, T)."""
    ratio = (logprobs - old).exp()
    free, clipped = -ratio * advantages, -ratio.clamp(1 - clip, 1 + clip) * advantages
    return torch.maximum(free, clipped), (clipped > free).float()


# -- the KL coefficient ------------------------------------------------------------------------------------------------


@dataclass
class KLControl:
    """The coefficient beta: fixed, or adapted to a target divergence (Ziegler et al. 2019, arXiv 1909.08593, section
    2.2).

    target: nats per response; None for a fixed coefficient. horizon: responses; at an error of a fifth or more the
    coefficient changes by a factor of e in 5 horizons.
    """

    coefficient: float
    target: float | None = None
    horizon: float = 10_000.0

    def update(self, kl: float, responses: int) -> None:
        """Adapt to the mean divergence of `responses` responses. The relative error is clipped to a fifth."""
        if self.target is not None:
            error = min(max(kl / self.target - 1, -0.2), 0.2)
            self.coefficient *= max(1 + error * responses / self.horizon, 0.0)
