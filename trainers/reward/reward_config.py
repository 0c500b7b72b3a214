"""The settings of a reward model's training, from YAML or the command line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from dprm_trainers.core.settings import (
    AtLeastZero,
    ChatTemplate,
    Checkpointing,
    Choices,
    Count,
    CountOrZero,
    Flag,
    LoraAlpha,
    LoraTargets,
    Overwrite,
    PadToken,
    Positive,
    Precision,
    PushToHub,
    Resume,
    Section,
    Seed,
    Share,
    Warmup,
    given_settings,
)
from dprm_trainers.reward.objective import choices, is_scalar, parse


class RewardConfig(BaseModel):
    """Settings of `dprm train reward`. Only data and model are required."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    data: Annotated[str, Section("Data and model")] = Field(
        description="A run folder, a Parquet file of distributions, or owner/name on the Hub."
    )
    model: str = Field(
        description="The base model: a folder or a name on the Hub; smollm2-135m is the small bundled model."
    )
    output: Annotated[str, Flag("-o")] = Field("reward-model", description="The folder for the trained model.")
    labels: str | int | dict[str, Any] | None = Field(
        None, description="The label space, where the data does not name it: a name, a number of levels, or YAML."
    )
    group: Annotated[str, Field(pattern=r"^[^=]+=.+$")] | None = Field(
        None, description="attribute=value of a run's personas: train on this group's distributions."
    )
    test: Share = Field(
        0.1, description="The share of the prompts held out for `dprm eval reward`; splits of the data take precedence."
    )
    validation: Share = Field(0.1, description="The share of the prompts held out for early stopping and calibration.")
    split_seed: int = Field(0, description="The seed that chooses the prompts held out.")

    objective: Annotated[str, Section("Objective"), Choices(choices)] = Field(
        "ot+0.1*ce", description="The loss, or a weighted sum of losses such as ot+0.1*ce."
    )
    pairs: Literal["group", "any"] = Field(
        "group", description="The pairs of a scalar objective: responses to one prompt, or any two rows."
    )
    calibrate: bool = Field(False, description="Fit a temperature on the validation split and write it into the head.")

    max_length: Annotated[Annotated[int, Field(ge=8)] | None, Section("Texts")] = Field(
        None,
        description="Tokens per row; longer prompts lose their left. Default: the model's context, at most 1,024.",
    )
    overlong: Literal["error", "truncate"] = Field(
        "error", description="What to do with a response that is too long without its prompt."
    )
    chat_template: ChatTemplate = None
    pad_token: PadToken = None

    freeze: Annotated[Literal["none", "backbone"], Section("Training")] = Field(
        "none", description="backbone: train the head alone, on features computed once."
    )
    lora: CountOrZero = Field(0, description="The rank of low-rank adapters; 0 trains all weights.")
    lora_alpha: LoraAlpha = None
    lora_targets: LoraTargets = "all-linear"
    epochs: Positive | None = Field(
        None, description="Passes over the training rows. Default: 1, or 30 with a frozen backbone."
    )
    batch_size: Count = Field(16, description="Rows per device and step.")
    accumulation: Count = Field(1, description="Steps over which gradients are summed.")
    learning_rate: Positive | None = Field(
        None, description="Of AdamW. Default: 1e-5, 1e-4 with lora, 1e-3 with a frozen backbone."
    )
    scheduler: str = Field("cosine", description="The schedule of the learning rate, by transformers' name for it.")
    warmup: Warmup = 0.05
    weight_decay: AtLeastZero | None = Field(None, description="Of AdamW. Default: 0, or 0.01 with a frozen backbone.")
    precision: Precision = "auto"
    checkpointing: Checkpointing = False
    group_by_length: bool = Field(True, description="Put rows of similar length into one batch.")
    early_stopping: CountOrZero = Field(
        0, description="Stop after this many epochs without a better validation loss and keep the best; 0: off."
    )
    seed: Seed = 0
    overwrite: Overwrite = False
    resume: Resume = False
    report_to: str = Field("none", description="The Trainer's tracker: trackio, wandb or tensorboard.")
    push_to_hub: PushToHub = None
    weights: Literal["fp32", "bf16"] = Field(
        "fp32", description="bf16: half the memory for the weights that are not trained; needs lora."
    )
    trainer: dict[str, Any] = Field(default_factory=dict, description="Any other TrainingArguments of transformers.")

    @model_validator(mode="after")
    def _fits_together(self) -> RewardConfig:
        parse(self.objective)
        if self.scalar and self.calibrate:
            raise ValueError("calibrate: a scalar model has no distribution to calibrate")
        if self.freeze == "backbone" and self.lora:
            raise ValueError("freeze: backbone trains the head alone; leave lora out")
        if self.weights == "bf16" and not self.lora:
            raise ValueError("weights: bf16 needs lora: weights trained in bf16 lose small steps; see precision: bf16")
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
        """Settings from a YAML file, flags (None means not set), or both; flags take precedence.

        Raises `TrainingError`.
        """
        return given_settings(cls, file, flags)

    def per_group(self, attribute: str) -> list[RewardConfig]:
        """The settings of one training for each value of an attribute of the run's personas, each with its own output
        folder.

        Raises `DprmError` if no persona has the attribute, or the data is not a run folder.
        """
        from dprm_trainers.data.group_rows import values

        def settings_of(group: str) -> RewardConfig:
            folder = Path(self.output) / re.sub(r"[^\w.=-]+", "-", group)
            return self.model_copy(update={"group": group, "output": str(folder)})

        return [settings_of(f"{attribute}={value}") for value in values(self.data, attribute)]
