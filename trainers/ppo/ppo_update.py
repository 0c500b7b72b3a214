"""One PPO step: several epochs over shuffled minibatches of a batch of responses, with an optimizer step each.

A minibatch's loss is the mean over its tokens, across forward passes (`micro_batch`) and processes. Each part's sum is
divided by the number of tokens of the whole, so every token has the same weight. (DDP averages gradients over
processes: hence the factor.)
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dprm_trainers.core.errors import TrainingError
from dprm_trainers.ppo.critic import critic_loss
from dprm_trainers.ppo.experience import Experience
from dprm_trainers.ppo.ppo import kl_estimate, policy_loss
from dprm_trainers.ppo.ppo_config import PPOConfig
from dprm_trainers.ppo.rollouts import shuffled

_SUMS = ("policy_loss", "value_loss", "clip_fraction", "step_kl")


@dataclass
class Updater:
    """Takes PPO steps with an actor-critic prepared by accelerate."""

    actor: Any
    optimizer: Any
    accelerator: Any
    config: PPOConfig

    def __call__(self, experience: Experience, step: int) -> dict[str, float]:
        """Learn from a batch and return metrics: means over its optimizer steps and all processes.

        step_kl: nats per token from the sampling policy. ratio_error: how far ratios are from 1 before the first
        optimizer step, through rounding alone. Raises `TrainingError` if a gradient is not finite.
        """
        found: list[dict[str, float]] = []
        for epoch in range(self.config.update_epochs):
            order = torch.from_numpy(shuffled(self.config.batch_size, self.config.seed, step, epoch))
            for rows in torch.split(order.to(experience.logprobs.device), self.config.minibatch):
                figures = self._accumulate(experience.take(rows))
                if self.config.stop_kl is not None and figures["step_kl"] > self.config.stop_kl:
                    self.optimizer.zero_grad()
                    return self._summary(found)
                figures["grad_norm"] = self._step(step)
                found.append(figures)
        return self._summary(found)

    def _accumulate(self, part: Experience) -> dict[str, float]:
        """The gradient of a minibatch's mean loss."""
        rows = torch.arange(len(part.logprobs), device=part.logprobs.device)
        micro = torch.split(rows, self.config.micro_batch or len(rows))
        tokens = self.accelerator.reduce(part.rollouts.mask.sum(), "sum")
        sums = torch.zeros(len(_SUMS), device=rows.device)
        error = torch.zeros((), device=rows.device)
        for i, chosen in enumerate(micro):
            last = i == len(micro) - 1
            with nullcontext() if last else self.accelerator.no_sync(self.actor):
                loss, parts, off = self._loss(part.take(chosen))
                self.accelerator.backward(loss * self.accelerator.num_processes / tokens)
            sums += parts
            error = torch.maximum(error, off)
        means = (self.accelerator.reduce(sums, "sum") / tokens).tolist()
        return dict(zip(_SUMS, means, strict=True)) | {"ratio_error": float(error)}

    def _loss(self, part: Experience) -> tuple[Tensor, Tensor, Tensor]:
        """The sum of the loss over the tokens, the sums of its parts, and the largest distance of the ratio from 1."""
        config, mask = self.config, part.rollouts.mask
        now = self.actor(part.rollouts.ids, part.rollouts.attention, part.rollouts.length)
        surrogate, clipped = policy_loss(now.logprobs, part.logprobs, part.advantages, config.clip)
        critic = critic_loss(
            now.values / part.unit,
            part.values / part.unit,
            part.targets / part.unit,
            config.value_clip or None,
            config.quantile_huber,
            distributional=bool(config.quantiles),
        )
        loss = surrogate + config.value_coefficient * critic - config.entropy_coefficient * now.entropy
        with torch.no_grad():
            moved = kl_estimate(part.logprobs, now.logprobs)
            parts = torch.stack([(values * mask).sum() for values in (surrogate, critic, clipped, moved)])
            off = (((now.logprobs - part.logprobs).exp() - 1).abs() * mask).max()
        return (loss * mask).sum(), parts.float(), off

    def _step(self, step: int) -> float:
        norm = self.accelerator.clip_grad_norm_(self.actor.parameters(), self.config.max_grad_norm)
        if not torch.isfinite(norm):
            raise TrainingError(
                f"step {step}: the gradient is not finite",
                hint="Lower the learning rate, or use precision: fp32. The last checkpoint is intact.",
            )
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(norm)

    def _summary(self, found: list[dict[str, float]]) -> dict[str, float]:
        if not found:
            return {"optimizer_steps": 0.0}
        means = {name: sum(figures[name] for figures in found) / len(found) for name in found[0]}
        return means | {"ratio_error": found[0]["ratio_error"], "optimizer_steps": float(len(found))}
