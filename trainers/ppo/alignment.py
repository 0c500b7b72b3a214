"""The state of a PPO training (policy, critic, reference, optimizer, KL coefficient), and one step of it."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from dprm_data.core.arrays import Floats
from dprm_trainers.core.errors import TrainingError
from dprm_trainers.core.outputs import in_bf16
from dprm_trainers.data.rows import Message
from dprm_trainers.ppo.experience import Judged, RewardFunction, Scored, checked, experience_of, judge, shaped
from dprm_trainers.ppo.policy import (
    ActorCritic,
    Reference,
    Sampling,
    end_tokens,
    freeze_all_but,
    load_policy,
    own_backbone,
)
from dprm_trainers.ppo.ppo import KLControl, masked_mean
from dprm_trainers.ppo.ppo_config import PPOConfig
from dprm_trainers.ppo.ppo_update import Updater
from dprm_trainers.ppo.rollouts import Rollouts, places, prompts_at, sample, uniforms_at
from dprm_trainers.reward.pretrained import with_lora

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Questions:
    """The prompts: conversations, and the token ids of each."""

    messages: list[list[Message]]
    ids: list[list[int]]


@dataclass(frozen=True)
class StepResult:
    """A step's metrics and mean predicted distribution (K,), over all processes, and this process's samples."""

    figures: dict[str, float]
    distribution: list[float] | None
    samples: list[dict[str, object]]


class Alignment:
    """The state of a training. `actor` is the module itself; `updater.actor` is accelerate's wrapper around it."""

    def __init__(
        self,
        config: PPOConfig,
        questions: Questions,
        reward: RewardFunction,
        tokenizer: PreTrainedTokenizerBase,
        accelerator: Any,
    ) -> None:
        self.config, self.questions, self.reward = config, questions, reward
        self.tokenizer, self.accelerator = tokenizer, accelerator
        self.actor = make_actor(config, tokenizer).to(accelerator.device)
        self.reference = Reference(self.actor, adapters=bool(config.lora))
        critics = {id(weight) for weight in self.actor.critic_parameters()}
        own = [weight for weight in self.actor.trained().values() if id(weight) in critics]
        shared = [weight for weight in self.actor.trained().values() if id(weight) not in critics]
        self.optimizer = torch.optim.AdamW(
            [{"params": shared, "rate": config.rate}, {"params": own, "rate": config.value_rate}],
            weight_decay=config.weight_decay,
        )
        self.updater = Updater(accelerator.prepare_model(self.actor), self.optimizer, accelerator, config)
        self.control = KLControl(config.kl_coefficient, config.kl_target, config.kl_horizon)
        batches = config.epochs * len(questions.ids) / (config.batch_size * accelerator.num_processes)
        self.steps = config.steps or max(1, math.ceil(batches))

    def step(self, number: int) -> StepResult:
        """Sample a batch of responses, score them and update the policy. number: of the step, from 0."""
        began = time.monotonic()
        config, accelerator = self.config, self.accelerator
        for group in self.optimizer.param_groups:
            group["lr"] = group["rate"] * rate_factor(config, number, self.steps)
        self.actor.eval()
        prompts, rollouts = self._sample(number)
        texts = self._texts(rollouts)
        scored = self.reward(prompts, texts)
        rewards = checked(scored.reward, prompts, texts, number + 1)
        judged = judge(
            self.actor, self.reference, rollouts, config.micro_batch or config.minibatch, accelerator.autocast
        )
        scores = torch.from_numpy(rewards).float().to(rollouts.ids.device)
        figures, distribution = self._rewards(scores, scored)
        scores = shaped(scores, rollouts, config, least=float(accelerator.gather(scores).min()))
        if number == 0 and not config.whiten_rewards:
            self._start_critic(judged, scores, rollouts.mask)
        experience, found = experience_of(rollouts, judged, scores, config, self.control.coefficient, self._total)
        self.actor.train(config.checkpointing)  # there is no dropout: this mode only enables checkpointing
        figures |= found | self.updater(experience, number + 1)
        figures |= {"kl_coefficient": self.control.coefficient, "learning_rate": self.optimizer.param_groups[0]["lr"]}
        self.control.update(figures["kl"], config.batch_size * accelerator.num_processes)
        figures["tokens"] = float(self._total(rollouts.attention.sum().float()))
        figures["seconds"] = time.monotonic() - began
        kl = (judged.logprobs - judged.reference).sum(1).tolist()
        return StepResult(figures, distribution, self._samples(prompts, texts, rewards, kl, rollouts))

    def _start_critic(self, judged: Judged, scores: Tensor, mask: Tensor) -> None:
        """Initialise the critic's bias to the mean reward, the value of every state before anything is learned.

        From zero, the first steps would go into learning that one number: through a shared backbone, and with lambda <
        1 as credit to tokens for their position.
        """
        mean = float(masked_mean(scores, torch.ones_like(scores), self._total))
        torch.nn.init.constant_(self.actor.head.bias, mean)
        judged.values.add_(mean * mask.unsqueeze(-1))

    def _sample(self, number: int) -> tuple[list[list[Message]], Rollouts]:
        """This process's prompts of a step, with a response to each."""
        config, accelerator = self.config, self.accelerator
        batch = places(number, config.batch_size, accelerator.process_index, accelerator.num_processes)
        chosen = prompts_at(batch, len(self.questions.ids), config.seed)
        ids = [self.questions.ids[i] for i in chosen]
        with accelerator.autocast():
            rollouts = sample(
                self.actor.model, ids, uniforms_at(batch, config.max_new_tokens, config.seed), self.actor.sampling
            )
        return [self.questions.messages[i] for i in chosen], rollouts

    def _texts(self, rollouts: Rollouts) -> list[str]:
        return [
            str(self.tokenizer.decode(ids[mask > 0], skip_special_tokens=True))
            for ids, mask in zip(rollouts.responses, rollouts.mask, strict=True)
        ]

    def _total(self, tensor: Tensor) -> Tensor:
        found: Tensor = self.accelerator.reduce(tensor, "sum")
        return found

    def _rewards(self, scores: Tensor, scored: Scored) -> tuple[dict[str, float], list[float] | None]:
        """Metrics of the rewards and the mean predicted distribution, over all processes."""
        count = self._total(scores.new_tensor(float(len(scores))))
        mean = self._total(scores.sum()) / count
        spread = (self._total((scores - mean).square().sum()) / count).sqrt()
        figures = {"reward": float(mean), "reward_std": float(spread)}
        if scored.distribution is None:
            return figures, None
        people = torch.from_numpy(np.asarray(scored.std)).float().to(scores.device).sum()
        figures["population_std"] = float(self._total(people) / count)
        predicted = torch.from_numpy(np.asarray(scored.distribution)).float().to(scores.device).sum(0)
        return figures, (self._total(predicted) / count).tolist()

    def _samples(
        self, prompts: Sequence[list[Message]], texts: list[str], rewards: Floats, kl: list[float], rollouts: Rollouts
    ) -> list[dict[str, object]]:
        return [
            {
                "prompt": prompts[i][-1]["content"] if prompts[i] else "",
                "response": texts[i],
                "reward": float(rewards[i]),
                "kl": kl[i],
                "ended": bool(rollouts.ended[i]),
            }
            for i in range(min(self.config.samples, len(texts)))
        ]


def make_actor(config: PPOConfig, tokenizer: PreTrainedTokenizerBase) -> ActorCritic:
    """The policy and critic of these settings. Raises `TrainingError`."""
    model: Any = load_policy(config.policy)
    sampling = Sampling(
        end=end_tokens(model, tokenizer),
        pad=int(tokenizer.pad_token_id),
        longest=config.max_new_tokens,
        shortest=config.min_new_tokens,
        temperature=config.temperature,
        top_k=config.top_k,
        top_p=config.top_p,
    )
    critic = own_backbone(model) if config.critic == "own" else None
    if config.train_layers:
        freeze_all_but(model, config.train_layers)
    if config.checkpointing:
        for part in filter(None, (model, critic)):
            recompute_activations(part)
    if config.lora:
        model = with_lora(
            model, rank=config.lora, alpha=config.lora_alpha, targets=config.lora_targets, task="CAUSAL_LM"
        )
    return ActorCritic(
        model,
        sampling,
        outputs=config.quantiles or 1,
        critic=critic,
        entropy_gradient=config.entropy_coefficient > 0,
    )


def recompute_activations(model: Any) -> None:
    """Enable activation checkpointing. transformers 5.24 renamed it and deprecated the old name."""
    new = hasattr(model, "activation_checkpointing_enable")
    name = "activation_checkpointing" if new else "gradient_checkpointing"
    getattr(model, f"{name}_enable")(**{f"{name}_kwargs": {"use_reentrant": False}})


def make_accelerator(config: PPOConfig) -> Any:
    """An accelerator for one process or DDP. Raises `TrainingError` for what is not supported."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from accelerate.utils import DistributedType

    AcceleratorState._reset_state()  # an earlier training in this process may have had another precision
    accelerator = Accelerator(
        mixed_precision="bf16" if in_bf16(config.precision) else "no", cpu=not torch.cuda.is_available()
    )
    if accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM):
        raise TrainingError(
            "PPO runs on one device, or on several with DDP",
            hint="For larger models see docs/alignment.md: TRL, OpenRLHF and verl can use our reward.",
        )
    return accelerator


def rate_factor(config: PPOConfig, step: int, steps: int) -> float:
    """The factor of the learning rates in a step (from 0): a warmup from above 0, then a decay that ends at 0."""
    warm = math.ceil(config.warmup * steps) if config.warmup else 0
    if step < warm:
        return (step + 1) / warm
    progress = (step - warm) / max(1, steps - warm)
    if config.scheduler == "constant":
        return 1.0
    return 1 - progress if config.scheduler == "linear" else (1 + math.cos(math.pi * progress)) / 2
