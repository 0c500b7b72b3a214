"""The settings of a reward model's training: what a YAML file or the command line may say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from dprm_trainers.objectives import is_scalar, parse
from dprm_trainers.settings import given_settings

Share = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]


class RewardConfig(BaseModel):
    """Settings of `dprm train reward`. Only data and model must be given."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    # What is trained on what
    data: str  # a run folder, a Parquet file of distributions, or owner/name on the Hub
    model: str  # a folder or a name on the Hub; smollm2-135m is the small bundled model
    output: str = "reward-model"
    labels: str | int | dict[str, Any] | None = None  # the label space, where the data does not say it
    group: Annotated[str, Field(pattern=r"^[^=]+=.+$")] | None = (
        None  # attribute=value of a run's personas: the distributions of that group, not of everyone
    )
    test: Share = (
        0.1  # of the prompts, kept out of everything for `dprm evaluate`; a split that the data brings goes before it
    )
    validation: Share = 0.1  # of the prompts: early stopping and calibration
    split_seed: int = 0

    # What is minimised
    objective: str = "ot+0.1*ce"  # ot, wasserstein, ce, cramer, sums of them, or bt (docs/reward-model.md)
    pairs: Literal["group", "any"] = "group"  # for bt: responses to one prompt, or rows of different prompts too
    calibrate: bool = False  # a temperature on the validation split, written into the head

    # Texts
    max_length: Annotated[int, Field(ge=8)] | None = (
        None  # tokens; at most 1,024 and what the model reads, if not given
    )
    overlong: Literal["error", "truncate"] = "error"  # a response that does not fit by itself
    chat_template: str | None = None  # `plain`, or a Jinja file, for a tokenizer without one
    pad_token: str | None = None

    # How it is trained
    freeze: Literal["none", "backbone"] = "none"  # backbone: the head alone, on features that are computed once
    lora: Annotated[int, Field(ge=0)] = 0  # rank; 0 trains all weights
    lora_alpha: Positive | None = None  # twice the rank, if not given
    lora_targets: str | list[str] = "all-linear"
    epochs: Positive | None = None  # 1; 30 with freeze: backbone
    batch_size: Annotated[int, Field(gt=0)] = 16  # per device
    accumulation: Annotated[int, Field(gt=0)] = 1
    learning_rate: Positive | None = None  # 1e-5; 1e-4 with lora; 1e-3 with freeze: backbone
    scheduler: str = "cosine"
    warmup: Share = 0.05  # of the steps
    weight_decay: Annotated[float, Field(ge=0)] | None = None  # 0; 0.01 with freeze: backbone
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # auto: bf16 on a GPU that has it
    checkpointing: bool = False  # recompute activations: less memory, a third more time
    group_by_length: bool = True
    early_stopping: Annotated[int, Field(ge=0)] = (
        0  # epochs without a better validation loss; the best epoch is kept. 0: off
    )
    seed: int = 0
    overwrite: bool = False  # train anew where the output holds a model
    resume: bool = False  # go on from the last checkpoint in the output folder
    report_to: str = "none"  # trackio, wandb, tensorboard: the Trainer's own
    push_to_hub: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")] | None = None  # owner/name; a new one is private
    trainer: dict[str, Any] = Field(default_factory=dict)  # any other TrainingArguments of transformers

    @model_validator(mode="after")
    def _fits_together(self) -> RewardConfig:
        parse(self.objective)
        if self.scalar and self.calibrate:
            raise ValueError("calibrate: a scalar model has no distribution to calibrate")
        if self.freeze == "backbone" and self.lora:
            raise ValueError("freeze: backbone trains the head alone; leave lora out")
        if self.test + self.validation >= 1:
            raise ValueError("test and validation together leave nothing to train on")
        if (self.early_stopping or self.calibrate) and not self.validation:
            raise ValueError("early_stopping and calibrate need a validation share")
        return self

    @property
    def scalar(self) -> bool:
        """Whether a scalar is trained on pairs (BT-RM)."""
        return is_scalar(self.objective)

    @property
    def frozen(self) -> bool:
        return self.freeze == "backbone"

    @classmethod
    def of(cls, file: str | Path | None = None, **flags: Any) -> RewardConfig:
        """Settings from a YAML file, flags (which go before the file; None is not given), or both. Raises `TrainingError`."""
        return given_settings(cls, file, flags)
