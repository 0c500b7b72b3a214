"""The model card of an aligned policy, from the record of its training."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dprm_data.core.tables import write_text
from dprm_data.publish.model_cards import PolicyCard, TrainedOn
from dprm_trainers.core.cache import BUNDLED
from dprm_trainers.ppo.ppo_config import PPOConfig
from dprm_trainers.progress.training_log import TrainingLog
from dprm_trainers.reward.reward_card import shown_reference, simulated_share

# Settings that a reader needs to judge the training; all of them are in dprm_ppo.json.
_SETTINGS = (
    "batch_size",
    "update_epochs",
    "minibatches",
    "max_new_tokens",
    "temperature",
    "clip",
    "gae_lambda",
    "discount",
    "kl_target",
    "missing_end_penalty",
    "critic",
    "quantiles",
    "seed",
)
_LIMITS = (
    "It was optimised against a model of a population. Where that model errs, the policy has learned to exploit the "
    "error (reward hacking): a higher reward on the training prompts does not prove better responses. Evaluate it with "
    "a judge that took no part in the training (`dprm eval policy`), and read samples.",
    "What a population prefers on average is not what is right, and the mean can hide a group that is badly served.",
)
_SMALL = (
    "The base model has 135 million parameters and is bundled to show that the whole pipeline works on a small "
    "machine: do not use it for anything else."
)


def write_policy_card(
    output: Path,
    facts: Mapping[str, Any],
    *,
    labels: Sequence[str] = (),
    repo: str | None = None,
    folder: Path | None = None,
) -> None:
    """Write a policy's README.md. output: the training's, with its log. folder: to write to, by default the same.

    facts: the content of `dprm_ppo.json`. labels: of the log's distributions. repo: owner/name, if it will be pushed.
    """
    ends = TrainingLog(output, labels=labels).history.ends()
    distribution = (ends[0].distribution, ends[1].distribution) if ends else (None, None)
    write_text(
        (folder or output) / "README.md",
        policy_card(facts, repo or output.name, labels=labels, distribution=distribution),
    )


def policy_card(
    facts: Mapping[str, Any],
    name: str,
    *,
    labels: Sequence[str] = (),
    distribution: tuple[Sequence[float] | None, Sequence[float] | None] = (None, None),
    evaluation: Mapping[str, Any] | None = None,
) -> str:
    """The content of README.md.

    distribution: the mean predicted one at the beginning and at the end of training. evaluation: metrics by a held-out
    judge.
    """
    settings, prompts = facts["settings"], facts["prompts"]
    models = list(settings["reward_model"])
    first, last = distribution
    named = list(labels) if first is not None and len(labels) == len(first) else []
    base = str(settings["policy"])
    card = PolicyCard(
        name=name,
        base_model=shown_reference(base),
        data=TrainedOn(
            dataset=shown_reference(str(prompts["source"])),
            revision=prompts["revision"],
            simulated=_simulated(models),
            rows=prompts["count"],
        ),
        reward_model=shown_reference(models[0]),
        method="PPO",
        reading=str(settings["reading"]),
        distribution=list(zip(named, first or (), last or (), strict=True)) if named else (),
        training=_training(facts, models),
        evaluation=evaluation or {},
        notes=[*_LIMITS, *facts["notes"], *([_SMALL] if base == BUNDLED else [])],
    )
    return card.render()


def _training(facts: Mapping[str, Any], models: Sequence[str]) -> dict[str, Any]:
    settings, figures = facts["settings"], facts["figures"]
    lora, layers = settings["lora"], settings["train_layers"]
    found = {
        "trained weights": f"LoRA of rank {lora}" if lora else _last(layers) if layers else "all",
        "steps": figures["steps"],
        "prompts": f"{facts['prompts']['count']:,} of the split {settings['prompt_split']}",
        "reward in the first and the last tenth": _two(figures["reward_first"], figures["reward_last"]),
        "KL to the reference in the last tenth, nats per response": figures["kl_last"],
        "KL coefficient at the end": figures["kl_coefficient"],
        "tokens per response in the last tenth": figures["length_last"],
        "responses that ended by themselves in the last tenth": figures["ended_last"],
    }
    if len(models) > 1:
        found["reward"] = "the least over " + ", ".join(shown_reference(model) for model in models)
    found |= {name.replace("_", " "): settings[name] for name in _SETTINGS}
    found["learning rate"] = PPOConfig(**settings).rate  # the setting itself may be None
    return {name: value for name, value in found.items() if value is not None}


def _last(layers: int) -> str:
    return f"the last {layers} layers" if layers > 1 else "the last layer"


def _two(first: float | None, last: float | None) -> str | None:
    return f"{first:.3f}, {last:.3f}" if first is not None and last is not None else None


def _simulated(models: Sequence[str]) -> float | None:
    """The share of simulated labels behind the reward models: the greatest; None if any is unknown."""
    shares = [_simulated_behind(Path(model)) for model in models]
    known = [share for share in shares if share is not None]
    return max(known) if known and len(known) == len(shares) else None


def _simulated_behind(model: Path) -> float | None:
    file = model / "config.json"
    if not file.is_file():
        return None
    record = json.loads(file.read_text(encoding="utf-8")).get("dprm") or {}
    return simulated_share(Path(record.get("trained_on", "")))
