"""Align a policy with a distributional reward: PPO as `dprm_trainers.ppo.ppo` derives it.

The output folder then holds a plain causal language model. Mistakes in prompts, policy, reward model and settings are
reported before training begins.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, set_seed

from dprm_data.core.tables import write_text
from dprm_data.publish.hub import connect
from dprm_trainers.core.cache import model_path
from dprm_trainers.core.errors import TrainingError
from dprm_trainers.core.loading import CONFIG
from dprm_trainers.core.outputs import output_folder, peak_memory, push_folder, whole_model
from dprm_trainers.ppo.alignment import Alignment, Questions, StepResult, make_accelerator
from dprm_trainers.ppo.experience import RewardFunction
from dprm_trainers.ppo.policy_card import write_policy_card
from dprm_trainers.ppo.ppo_checkpoint import Checkpoint, has_checkpoint, load_checkpoint, save_checkpoint
from dprm_trainers.ppo.ppo_config import PPOConfig
from dprm_trainers.ppo.prompt_sets import Prompts, encode_prompts, load_prompts
from dprm_trainers.progress.training_log import PAGE, SAMPLES, TrainingLog
from dprm_trainers.reward.holdout import ALIGNMENT, HeldOut, by_reward_models
from dprm_trainers.reward.pretrained import load_policy_tokenizer

Say = Callable[[str], None]

# Settings that a resumed training may change: they do not affect the weights.
_FREE = {
    "output",
    "save",
    "save_every",
    "policy_every",
    "samples_every",
    "samples",
    "overwrite",
    "resume",
    "push_to_hub",
    "micro_batch",
}
_REPORT_EVERY = 10.0  # seconds


@dataclass
class Aligned:
    """The result of a training: the policy's folder and its metrics (reward and KL, steps, speed, memory)."""

    output: Path
    figures: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def train_ppo(
    config: PPOConfig,
    say: Say = lambda text: None,
    *,
    prompts: Prompts | None = None,
    reward: RewardFunction | None = None,
) -> Aligned:
    """Align a policy and save it. prompts, reward: take precedence over those of the settings.

    Raises `DprmError`, before training begins if possible.
    """
    output = _output_folder(config)
    if config.push_to_hub:
        connect(needs_token=True)  # a missing token is reported now, not after the training
    found = prompts or _prompts(config, () if reward else by_reward_models(config.reward_model))
    tokenizer, room = load_policy_tokenizer(
        config.policy,
        max_new_tokens=config.max_new_tokens,
        max_prompt_length=config.max_prompt_length,
        chat_template=config.chat_template,
        pad_token=config.pad_token,
    )
    encoded = encode_prompts(tokenizer, found, room, overlong=config.overlong)
    questions = Questions([found.messages[row] for row in encoded.rows], encoded.ids)
    if not questions.ids:
        raise TrainingError(f"{found.source}: no prompts are left to train on", hint="Raise max_prompt_length.")
    accelerator = make_accelerator(config)
    report = say if accelerator.is_main_process else (lambda text: None)
    scorer = reward or _load_reward(config, accelerator)
    set_seed(config.seed)
    alignment = Alignment(config, questions, scorer, tokenizer, accelerator)
    run = _Run(config, alignment, output, report, notes=[*encoded.notes, *_warnings(config)])
    report(
        f"{len(questions.ids)} prompts ({found.source}); {alignment.steps} steps "
        f"of {config.batch_size * accelerator.num_processes} responses each"
    )
    for note in run.notes:
        report(note)
    try:
        run.train(scorer)
    except KeyboardInterrupt:
        report(f"interrupted after {len(run.history)} steps; {run.afterwards()}")
        raise
    if accelerator.is_main_process:
        with whole_model(output) as folder:
            save_policy(alignment, folder)
            run.describe(found, scorer, folder)
        if config.push_to_hub:
            push_folder(config.push_to_hub, output, say, keep=(SAMPLES, PAGE))  # they hold prompts, which are data
    accelerator.wait_for_everyone()
    return Aligned(output, run.figures(), run.notes)


# -- before ------------------------------------------------------------------------------------------------------------


def _output_folder(config: PPOConfig) -> Path:
    output = output_folder(config.output, resume=config.resume, overwrite=config.overwrite)
    if not config.resume and has_checkpoint(output / "checkpoints"):
        raise TrainingError(
            f"{output} holds an interrupted training",
            hint="Give --resume to continue it, or --overwrite to start again.",
        )
    return output


def _prompts(config: PPOConfig, held_out: tuple[HeldOut, ...]) -> Prompts:
    return load_prompts(config.prompts, split=config.prompt_split, limit=config.limit, held_out=held_out)


def _load_reward(config: PPOConfig, accelerator: Any) -> RewardFunction:
    from dprm_trainers.reward.scorer import Scorer

    scorer: RewardFunction = Scorer.load(
        config.reward_model, reading=config.reading, device=str(accelerator.device), group=config.group
    )
    return scorer


def _warnings(config: PPOConfig) -> list[str]:
    if config.top_k or config.top_p < 1:
        return ["top_k and top_p: samples come from a truncated policy, so the probability ratios are approximate"]
    return []


# -- training and after ------------------------------------------------------------------------------------------------


@dataclass
class _Run:
    """The loop, with its log and checkpoints."""

    config: PPOConfig
    alignment: Alignment
    output: Path
    say: Say
    notes: list[str]
    history: list[dict[str, float]] = field(default_factory=list)
    _reported: float = -math.inf  # when progress was last reported

    def train(self, scorer: RewardFunction) -> None:
        """Run and log all steps. A scorer may have `labels` of its distributions, and their `rewards`."""
        alignment = self.alignment
        start = self._resume() if self.config.resume else 0
        log = None
        if alignment.accelerator.is_main_process:
            rewards = getattr(scorer, "rewards", None)
            log = TrainingLog(self.output, labels=getattr(scorer, "labels", ()), rewards=rewards)
            log.truncate(start)
        try:
            for step in range(start, alignment.steps):
                self._step(step, log)
        except BaseException:
            if log and self.history:
                log.write_page(over=True)  # no more steps follow
            raise
        if log:
            log.close()
        alignment.accelerator.wait_for_everyone()

    def _step(self, step: int, log: TrainingLog | None) -> None:
        """Run, log, report and save one step (from 0). log: on the main process."""
        config, steps = self.config, self.alignment.steps
        result = self.alignment.step(step)
        last = step + 1 == steps
        self.history.append(result.figures)
        self._warn(step, result.figures)
        if log:
            log.step(step + 1, result.figures, result.distribution)
            if config.samples_every and (step % config.samples_every == 0 or last):
                log.samples(step + 1, result.samples)
        if time.monotonic() - self._reported > _REPORT_EVERY or last:
            self._reported = time.monotonic()
            self.say(_sentence(step + 1, steps, result))
        if log and config.save_every and (step + 1) % config.save_every == 0:
            self._save(step + 1)
        if log and config.policy_every and (step + 1) % config.policy_every == 0:
            self._keep(step + 1)

    def afterwards(self) -> str:
        """How to continue an interrupted training."""
        if has_checkpoint(self.output / "checkpoints"):
            return "--resume continues from the last checkpoint"
        return f"there is no checkpoint yet (save_every: {self.config.save_every})"

    def _warn(self, step: int, figures: Mapping[str, float]) -> None:
        if step == 0 and figures["ended"] < 0.5:
            penalty = self.config.missing_end_penalty
            others = "get the least reward of their batch" if penalty is None else f"lose {penalty:g}"
            self._note(
                f"only {figures['ended']:.0%} of the first responses end within {self.config.max_new_tokens} tokens: "
                f"raise max_new_tokens. The others {others} (missing_end_penalty)"
            )

    def _note(self, text: str) -> None:
        self.notes.append(text)
        self.say(text)

    def _identity(self) -> dict[str, Any]:
        settings = {k: v for k, v in self.config.model_dump(mode="json").items() if k not in _FREE}
        digest = hashlib.sha256(json.dumps(self.alignment.questions.ids).encode()).hexdigest()[:16]
        return settings | {
            "prompts' tokens": digest,
            "processes": self.alignment.accelerator.num_processes,
            "steps": self.alignment.steps,
        }

    def _save(self, step: int) -> None:
        alignment = self.alignment
        weights = {name: weight.detach().cpu() for name, weight in alignment.actor.trained().items()}
        state = alignment.optimizer.state_dict()
        checkpoint = Checkpoint(step, weights, state, alignment.control.coefficient, self.history, self._identity())
        save_checkpoint(self.output / "checkpoints", checkpoint)

    def _keep(self, step: int) -> None:
        """Keep the policy of this step as a model, for curves of what a judge says along the training."""
        place = self.output / "checkpoints" / f"policy-{step:08d}"
        place.mkdir(parents=True, exist_ok=True)
        with whole_model(place) as folder:
            save_policy(self.alignment, folder, training=True)

    def _resume(self) -> int:
        identity = self._identity()
        if self.config.missing_end_penalty is None:
            identity.pop("missing_end_penalty")  # its default was 0 once
        with self.alignment.accelerator.main_process_first():  # it sets broken ones aside
            checkpoint = load_checkpoint(self.output / "checkpoints", identity, self.say)
        if checkpoint is None:
            self.say("no checkpoint to resume from: starting from the beginning")
            return 0
        began_with = checkpoint.identity.get("missing_end_penalty")
        if began_with != self.config.missing_end_penalty:
            self.config.missing_end_penalty = began_with
            self.say(f"missing_end_penalty: {began_with:g}, as this training began")
        alignment = self.alignment
        with torch.no_grad():
            for name, weight in alignment.actor.trained().items():
                weight.copy_(checkpoint.weights[name])
        alignment.optimizer.load_state_dict(checkpoint.optimizer)
        alignment.control.coefficient = checkpoint.coefficient
        self.history = list(checkpoint.history)
        self.say(f"resuming from step {checkpoint.step}")
        return checkpoint.step

    def figures(self) -> dict[str, Any]:
        """Metrics of the whole training: means over the first and the last tenth of its steps, and its cost."""
        tenth = max(1, len(self.history) // 10)
        seconds = sum(step["seconds"] for step in self.history)
        memory, memory_of = peak_memory()

        def mean(name: str, steps: list[dict[str, float]]) -> float | None:
            return sum(step[name] for step in steps) / len(steps) if steps else None

        first, last = self.history[:tenth], self.history[-tenth:]
        return {
            "reward_first": mean("reward", first),
            "reward_last": mean("reward", last),
            "kl_last": mean("kl", last),
            "entropy_last": mean("entropy", last),
            "length_last": mean("length", last),
            "ended_last": mean("ended", last),
            "kl_coefficient": self.alignment.control.coefficient,
            "steps": len(self.history),
            "seconds": seconds,
            "tokens_per_second": sum(step["tokens"] for step in self.history) / max(seconds, 1e-9),
            "memory_mb": memory,
            "memory_of": memory_of,
            "processes": self.alignment.accelerator.num_processes,
        }

    def describe(self, prompts: Prompts, scorer: RewardFunction, folder: Path) -> None:
        """Write settings and figures, and the card, to a folder. A scorer may have a `name`."""
        facts = {
            "settings": self.config.model_dump(mode="json"),
            "prompts": {
                "source": prompts.source,
                "revision": prompts.revision,
                "count": len(self.alignment.questions.ids),
                "held_out": [asdict(shares) for shares in prompts.held_out],
            },
            "reward": getattr(scorer, "name", ""),
            "figures": self.figures(),
            "notes": self.notes,
        }
        write_text(folder / ALIGNMENT, json.dumps(facts, indent=2) + "\n")
        labels = getattr(scorer, "labels", ())
        write_policy_card(self.output, facts, labels=labels, repo=self.config.push_to_hub, folder=folder)


def save_policy(alignment: Alignment, folder: Path, *, training: bool = False) -> None:
    """Save the policy with its tokenizer as a plain causal language model, or the adapter alone.

    training: it goes on, so adapters are merged into a copy.
    """
    config, model = alignment.config, alignment.actor.model
    if config.lora and config.save == "merged":
        model = (copy.deepcopy(model) if training else model).merge_and_unload()
    trained_with = model.config.to_dict()
    base = AutoConfig.from_pretrained(model_path(config.policy), **CONFIG).to_dict()
    dropout = {k: v for k, v in base.items() if isinstance(v, float) and trained_with.get(k) == 0.0}  # training: off
    model.config.update(dropout)
    model.save_pretrained(folder)
    model.config.update(dict.fromkeys(dropout, 0.0))
    alignment.tokenizer.save_pretrained(str(folder))


def _sentence(step: int, steps: int, result: StepResult) -> str:
    found = result.figures
    return (
        f"step {step} of {steps}: reward {found['reward']:.3f}, KL {found['kl']:.3f}, entropy {found['entropy']:.2f}, "
        f"{found['length']:.0f} tokens, {found['ended']:.0%} ended, {found['seconds']:.1f} s"
    )
