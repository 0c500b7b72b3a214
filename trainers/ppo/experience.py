"""A batch of responses with log-probabilities under the sampling policy, advantages and critic targets."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from dprm_data.core.arrays import Floats
from dprm_trainers.core.errors import TrainingError
from dprm_trainers.data.rows import Message
from dprm_trainers.ppo.critic import explained_variance
from dprm_trainers.ppo.policy import ActorCritic, Reference
from dprm_trainers.ppo.ppo import Total, gae, kl_estimate, masked_mean, observed_returns, token_rewards, whiten
from dprm_trainers.ppo.ppo_config import PPOConfig
from dprm_trainers.ppo.rollouts import Rollouts


class Scored(Protocol):
    """The scores of N responses: reward (N,), distribution (N, K) or None, std (N,) over the population."""

    @property
    def reward(self) -> Floats: ...
    @property
    def distribution(self) -> Floats | None: ...
    @property
    def std(self) -> Floats: ...


class RewardFunction(Protocol):
    """Anything that scores responses, such as `dprm_trainers.reward.scorer.Scorer`."""

    def __call__(self, prompts: Sequence[list[Message]], responses: Sequence[str]) -> Scored: ...


@dataclass(frozen=True)
class Experience:
    """Rollouts with the sampling policy's log-probabilities (B, T), the critic's outputs (B, T, N), advantages and
    targets (B, T).

    unit: the scale of the critic's loss, the targets' root mean square if that is above 1. Without it, returns in the
    hundreds (a large KL coefficient) would have gradients that swamp the policy's in a shared backbone under a common
    clip.
    """

    rollouts: Rollouts
    logprobs: Tensor
    values: Tensor
    advantages: Tensor
    targets: Tensor
    unit: float = 1.0

    def take(self, rows: Tensor) -> Experience:
        """Some of the rows, without the columns that are padding in all of them."""
        rollouts = self.rollouts.take(rows)
        kept = slice(rollouts.length)
        return Experience(
            rollouts,
            self.logprobs[rows, kept],
            self.values[rows, kept],
            self.advantages[rows, kept],
            self.targets[rows, kept],
            self.unit,
        )


@dataclass(frozen=True)
class Judged:
    """The outputs of actor, critic and reference on a batch before the step: (B, T), values (B, T, N)."""

    logprobs: Tensor
    entropy: Tensor
    values: Tensor
    reference: Tensor


@torch.no_grad()
def judge(
    actor: ActorCritic,
    reference: Reference,
    rollouts: Rollouts,
    size: int,
    autocast: Callable[[], AbstractContextManager[object]],
) -> Judged:
    """Run actor, critic and reference on all rollouts, `size` rows at a time."""
    rows, length = len(rollouts.ids), rollouts.length
    blank = torch.zeros(rows, length, device=rollouts.ids.device)
    judged = Judged(blank, blank.clone(), blank.new_zeros(rows, length, actor.head.out_features), blank.clone())
    for chosen in torch.split(torch.arange(rows, device=rollouts.ids.device), size):
        part = rollouts.take(chosen)
        with autocast():
            found = actor(part.ids, part.attention, part.length)
            reference_logprobs = reference.logprobs(part.ids, part.attention, part.length)
        kept = slice(part.length)
        judged.logprobs[chosen, kept] = found.logprobs * part.mask
        judged.entropy[chosen, kept] = found.entropy * part.mask
        judged.values[chosen, kept] = found.values * part.mask.unsqueeze(-1)
        judged.reference[chosen, kept] = reference_logprobs * part.mask
    return judged


def checked(scores: Floats, prompts: Sequence[list[Message]], responses: Sequence[str], step: int) -> Floats:
    """The scores as float64. Raises `TrainingError` unless they are one finite number per response."""
    scores = np.asarray(scores, dtype=np.float64)
    if scores.shape != (len(responses),):
        raise TrainingError(f"step {step}: {len(responses)} responses, but rewards of the shape {scores.shape}")
    wrong = np.flatnonzero(~np.isfinite(scores))
    if len(wrong):
        row = int(wrong[0])
        prompt = prompts[row][-1]["content"] if prompts[row] else ""
        raise TrainingError(
            f"step {step}: {len(wrong)} of {len(scores)} rewards are not finite; the first is {scores[row]} "
            f"for the response {responses[row][:80]!r} to {prompt[:80]!r}",
            hint="The reward model must give a finite number for every text, even an empty one.",
        )
    return scores


def shaped(scores: Tensor, rollouts: Rollouts, config: PPOConfig, least: float) -> Tensor:
    """The scores (B,) with what the settings say of responses that were cut off, and clipped. least: of the batch, over
    all processes.

    A reward model never saw half an answer in training, so its reward for one means nothing. By default none is better
    than the worst response. (Ziegler et al. 2019, arXiv 1909.08593, give a fixed low score, TRL subtracts one.)
    """
    if config.missing_end_penalty is None:
        scores = torch.where(rollouts.ended, scores, least)
    else:
        scores = scores - config.missing_end_penalty * (~rollouts.ended).float()
    return scores if config.reward_clip is None else scores.clamp(-config.reward_clip, config.reward_clip)


def experience_of(
    rollouts: Rollouts, judged: Judged, scores: Tensor, config: PPOConfig, coefficient: float, total: Total
) -> tuple[Experience, dict[str, float]]:
    """Advantages and targets of rollouts with `shaped` scores (B,), and the batch's metrics over all processes."""
    mask = rollouts.mask
    rewards = token_rewards(scores, judged.logprobs, judged.reference, mask, coefficient)
    returns = observed_returns(rewards, mask, config.discount)
    figures = {
        "return": _mean(returns[:, 0], total),
        "kl": _mean((kl_estimate(judged.logprobs, judged.reference, "k1") * mask).sum(1), total),
        "entropy": float(masked_mean(judged.entropy, mask, total)),
        "length": _mean(mask.sum(1), total),
        "ended": _mean(rollouts.ended.float(), total),
    }
    if config.whiten_rewards:
        rewards = whiten(rewards, mask, centre=False, total=total)
        returns = observed_returns(rewards, mask, config.discount)
    values = judged.values.mean(-1)
    figures["explained_variance"] = float(explained_variance(values, returns, mask, total))
    advantages = gae(rewards, values, mask, config.discount, config.gae_lambda)
    targets = returns if config.quantiles else advantages + values
    if config.whiten_advantages:
        advantages = whiten(advantages, mask, total=total)
    size = float(masked_mean(targets.square(), mask, total)) ** 0.5
    _all_finite(judged, values, mask, total)
    return Experience(rollouts, judged.logprobs, judged.values, advantages, targets, max(1.0, size)), figures


def _all_finite(judged: Judged, values: Tensor, mask: Tensor, total: Total) -> None:
    """Raises `TrainingError` if a model's outputs are no longer finite."""
    for name, values_of in (
        ("the policy's log-probabilities", judged.logprobs),
        ("the reference's log-probabilities", judged.reference),
        ("the critic's values", values),
    ):
        if not math.isfinite(float(masked_mean(values_of.square(), mask, total))):
            raise TrainingError(
                f"{name} are not finite",
                hint="Lower the learning rates, or use precision: fp32. The last checkpoint is intact.",
            )


def _mean(values: Tensor, total: Total) -> float:
    return float(masked_mean(values, torch.ones_like(values), total))
