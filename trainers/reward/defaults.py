"""The settings of a training that are `auto`: chosen by the base model's size, the amount of data and the machine.

what is trained   all weights, where a CPU is done in about half an hour, or a GPU has room for them and AdamW's state
                  (16 bytes a weight); else LoRA on a GPU, the head alone on a CPU
pooling           the mean over the tokens for a base model of sentence-transformers that was trained by it; else the
                  architecture's own, which every server reads (--pooling mean also fits features of a frozen decoder)
epochs            fewer, the more rows there are: 200 / sqrt(rows), from 1 to 10. Of a frozen backbone 30
learning rate     of all weights 8e-6 at 10^9 weights, and falling with the square root of their number, from 2e-6 to
                  1e-4; 1e-4 with LoRA; 1e-3 of a head alone
early stopping    from 3 epochs and 20 validation rows on, so that the best epoch is kept

They follow what is usual, and the loss and the learning rate what `benchmarks/reward_defaults.py` found for an encoder of 22
million weights (docs/reward-model-measured.md).
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dprm_trainers.core.cache import model_path
from dprm_trainers.core.errors import TrainingError
from dprm_trainers.core.loading import loading
from dprm_trainers.reward.pooling import LAST, MEAN, pooling_of, trained_by_mean

if TYPE_CHECKING:
    from dprm_trainers.reward.reward_config import RewardConfig

Choices = dict[str, tuple[Any, str]]  # by a setting's name, its value and why

AUTO = "auto"
FILE = "dprm_settings.json"  # beside the checkpoints: the settings that were chosen
_FIT_MINUTES = 30  # all weights are trained on a CPU up to this
_FLOPS_OF_A_CORE = 4e10  # per second, in float32: of a server's core, measured with one thread
_BYTES_A_WEIGHT = 16  # weights, gradients and AdamW's two moments in float32
_SHARE_OF_MEMORY = 0.6  # the rest is for activations

# What trainings did that began before settings were chosen: they go on so.
_BEFORE = {"freeze": "none", "lora": 0, "pooling": LAST, "warmup": 0.05, "early_stopping": 0}
_OBJECTIVE_BEFORE = "ot+0.1*ce"

_LAYERS = ("group_heads", "hidden")  # settings that say which weights a checkpoint has


@dataclass(frozen=True)
class Basis:
    """What settings are chosen by. weights: of the model; computing: of them, those that each token is multiplied with;
    tokens: of the training rows; memory: bytes of the GPU, 0 for a CPU; linear: whether the head is one linear layer;
    sharded: whether the weights are spread over processes; pooling: of a reward model that is trained further; by_mean:
    whether the base model was trained to give the mean."""

    weights: int
    computing: int
    rows: int
    validation: int
    tokens: int
    memory: int = 0
    cores: int = 1
    linear: bool = True
    sharded: bool = False
    pooling: str | None = None
    by_mean: bool = False

    @classmethod
    def of(cls, model_config: Any, config: RewardConfig, *, rows: int, validation: int, tokens: int) -> Basis:
        """Of a base model, by its config alone, on this machine."""
        import torch
        from transformers import AutoModelForSequenceClassification as Classifier

        from dprm_trainers.reward.features import linear_head

        hint = "Give a model that transformers has as a sequence classifier."
        with loading(f"{config.model} as a sequence classifier", hint), torch.device("meta"):
            model = Classifier.from_config(model_config)  # type: ignore[no-untyped-call]
        try:
            linear = bool(linear_head(model))
        except TrainingError:
            linear = False
        weights = sum(parameter.numel() for parameter in model.parameters())
        embedded = sum(module.weight.numel() for module in model.modules() if isinstance(module, torch.nn.Embedding))
        gpu = torch.cuda.is_available()
        return cls(
            weights=weights,
            computing=weights - embedded,
            rows=rows,
            validation=validation,
            tokens=tokens,
            memory=torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory if gpu else 0,
            cores=torch.get_num_threads(),
            linear=linear,
            sharded=spread_by_launch(config),
            by_mean=trained_by_mean(model_path(config.model)),
            pooling=pooling_of(model_config) if getattr(model_config, "dprm", None) else None,
        )


def chosen(config: RewardConfig, basis: Basis) -> Choices:
    """The value of every setting that is `auto`, and why. What is given is kept, and the others follow it."""
    found: Choices = {}

    def value(name: str, choice: Any, why: str) -> Any:
        given = getattr(config, name)
        if given != AUTO:
            return given
        found[name] = (choice, why)
        return choice

    size = f"{_number(basis.weights)} weights"
    epochs = min(10.0, max(1.0, round(200 / max(1, basis.rows) ** 0.5)))
    minutes = 6 * basis.computing * basis.tokens * epochs / (basis.cores * _FLOPS_OF_A_CORE) / 60
    slow = not basis.memory and minutes > _FIT_MINUTES and basis.linear and not basis.sharded
    if config.hidden:
        freeze = value("freeze", "backbone", "a hidden layer")
        value("pooling", basis.pooling or MEAN, "a hidden layer")
    elif slow and config.lora in (0, AUTO):
        freeze = value("freeze", "backbone", f"all weights take about {minutes:,.0f} minutes on this CPU")
    else:
        freeze = value("freeze", "none", size)
    alone = freeze == "backbone"
    room = not basis.memory or basis.memory * _SHARE_OF_MEMORY >= basis.weights * _BYTES_A_WEIGHT
    if room or basis.sharded or alone:
        lora = value("lora", 0, "the head alone" if alone else size)
    else:
        lora = value("lora", 16, f"{size} and AdamW's state do not fit on the GPU")
    if not config.hidden:
        value("pooling", *_pooling(basis))
    epochs = value("epochs", 30.0, "the head alone") if alone else value("epochs", epochs, f"{basis.rows:,} rows")
    if alone or lora:
        value("learning_rate", 1e-3 if alone else 1e-4, "the head alone" if alone else "LoRA")
    else:
        rate = min(1e-4, max(2e-6, 8e-6 * (1e9 / basis.weights) ** 0.5))
        value("learning_rate", float(f"{rate:.1g}"), size)
    value("warmup", 0.05 if alone or lora else 0.1, "usual")
    value("weight_decay", 0.01, "usual")
    some = basis.validation >= 20 and epochs >= 3 and not basis.sharded
    patience = (5 if alone else 2) if some else 0
    value("early_stopping", patience, f"{epochs:g} epochs, {basis.validation:,} validation rows")
    return found


def _pooling(basis: Basis) -> tuple[str, str]:
    if basis.pooling:
        return basis.pooling, "as the model was trained before"
    if basis.linear and basis.by_mean:
        return MEAN, "as the base model was trained"
    return LAST, "the architecture's own"


def settled(config: RewardConfig, basis: Basis, checkpoints: Path) -> tuple[RewardConfig, Choices]:
    """Settings with none that is `auto`, and what was chosen. Raises `TrainingError`."""
    began = _began(config, checkpoints) if config.resume else {}
    config = _with(config, began)
    choices = {**began, **chosen(config, basis)}
    if basis.pooling and config.pooling not in (AUTO, basis.pooling):
        raise TrainingError(
            f"pooling: {config.model} is a reward model that was trained with {basis.pooling}",
            hint="Leave pooling out, or train from the base model.",
        )
    return _with(config, choices), choices


def objective_of(config: RewardConfig, checkpoints: Path) -> RewardConfig:
    """The settings with the objective that a training to be resumed began with, unless another one is given now."""
    began = _began(config, checkpoints) if config.resume else {}
    if "objective" in config.model_fields_set or not began:
        return config
    return config.model_copy(update={"objective": _kept(checkpoints).get("objective", _OBJECTIVE_BEFORE)})


def keep(config: RewardConfig, choices: Choices, checkpoints: Path) -> None:
    """Write the settings that were chosen, the objective and the layers beside the checkpoints, for when the training resumes."""
    checkpoints.mkdir(parents=True, exist_ok=True)
    content = {name: getattr(config, name) for name in [*choices, "objective", *_LAYERS]}
    (checkpoints / FILE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def check_resumed(config: RewardConfig, checkpoints: Path) -> None:
    """Raise `TrainingError` for a training to be resumed whose checkpoints have other layers than the settings ask for."""
    if not (config.resume and any(checkpoints.glob("checkpoint-*"))):
        return
    before = _kept(checkpoints)
    for name in _LAYERS:
        began = before.get(name, getattr(config, name))
        if began != getattr(config, name):
            raise TrainingError(
                f"{name}: this training began {f'with {began}' if began else 'without'}",
                hint="Resume with the same, or train anew with --overwrite.",
            )


def _began(config: RewardConfig, checkpoints: Path) -> Choices:
    """How the training that has checkpoints here began, of what is `auto` now. One from before settings were chosen
    goes on with the defaults of that time."""
    if not any(checkpoints.glob("checkpoint-*")):
        return {}
    before = _kept(checkpoints)
    if not before:
        alone = config.freeze == "backbone"
        rate = 1e-3 if alone else 1e-4 if config.lora not in (0, AUTO) else 1e-5
        own = {"epochs": 30.0 if alone else 1.0, "learning_rate": rate, "weight_decay": 0.01 if alone else 0.0}
        before = {**_BEFORE, **own}
    auto = (name for name in before if getattr(config, name, None) == AUTO)
    return {name: (before[name], "as this training began") for name in auto}


def _kept(checkpoints: Path) -> dict[str, Any]:
    file = checkpoints / FILE
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}


def _with(config: RewardConfig, choices: Choices) -> RewardConfig:
    return config.model_copy(update={name: value for name, (value, _) in choices.items()})


def reasons(found: Choices) -> dict[str, str]:
    """Why each was chosen, for the record."""
    return {name: why for name, (_, why) in found.items()}


def told(found: Choices) -> str:
    """The choices in a sentence."""
    return "chosen: " + ", ".join(f"{name} {_shown(value)} ({why})" for name, (value, why) in found.items())


def spread_by_launch(config: RewardConfig) -> bool:
    """Whether the weights will be spread over processes."""
    by_launch = any(os.environ.get(f"ACCELERATE_USE_{kind}") == "true" for kind in ("FSDP", "DEEPSPEED"))
    return by_launch or bool({"fsdp", "deepspeed"} & config.trainer.keys())


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _number(count: int) -> str:
    return f"{count / 1e9:.1f} B" if count >= 1e9 else f"{count / 1e6:.1f} M"
