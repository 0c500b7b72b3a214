"""The settings of a reward model's training, from YAML or the command line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

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
    given_settings,
)
from dprm_trainers.reward.objective import choices, is_scalar, on_pairs, on_rows, parse

Auto = Literal["auto"]  # by the model's size, the data and the machine: `dprm_trainers.reward.defaults`


class RewardConfig(BaseModel):
    """Settings of `dprm train reward`. Only data and model are required.

    auto: chosen when the training begins, by the model's size, the amount of data and the machine.
    """

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    data: Annotated[str, Section("Data and model")] = Field(
        description="Required. A run folder, a Parquet file of distributions, or owner/name on the Hub. For an objective of pairs "
        "also a file of pairs: JSON lines or Parquet with prompt, chosen and rejected."
    )
    model: str = Field(
        description="Required. The base model: a folder or a name on the Hub; smollm2-135m is the small bundled model."
    )
    output: Annotated[str, Flag("-o")] = Field("reward-model", description="The folder for the trained model.")
    pair_data: str | None = Field(
        None,
        description="Preference pairs for an objective with a loss of pairs: JSON lines or Parquet with prompt, chosen, "
        "rejected and optionally share, a run folder, or owner/name on the Hub. Default: those of data.",
    )
    labels: str | int | dict[str, Any] | None = Field(
        None, description="The label space, where the data does not name it: a name, a number of levels, or YAML."
    )
    group: Annotated[str, Field(pattern=r"^[^=]+=.+$")] | None = Field(
        None, description="attribute=value of those who voted: train on this group's distributions."
    )
    group_heads: str | None = Field(
        None,
        description="An attribute of those who voted, such as gender: beside the population's head, a head for each of "
        "its groups.",
    )
    votes: str | dict[str, Any] | None = Field(
        None,
        description="For groups in a Parquet file or dataset: the table of people's votes, with item_id, rater, label and "
        "the attribute. A file, or YAML such as {path: votes.csv, columns: {item_id: question}}. A run has it.",
    )
    test: Share = Field(
        0.1, description="The share of the prompts held out for `dprm eval reward`; splits of the data take precedence."
    )
    validation: Share = Field(0.1, description="The share of the prompts held out for early stopping and calibration.")
    split_seed: int = Field(0, description="The seed that chooses the prompts held out.")

    objective: Annotated[str, Section("Objective"), Choices(choices)] = Field(
        "ce", description="The loss, or a weighted sum of losses such as ot+0.1*ce."
    )
    pairs: Literal["group", "any"] = Field(
        "group", description="The pairs that a scalar objective makes of rows: responses to one prompt, or any two."
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

    freeze: Annotated[Literal["auto", "none", "backbone"], Section("Training")] = Field(
        "auto",
        description="none: all weights are trained, or with lora the adapters. backbone: only the head is trained, on features "
        "that are computed once. auto: backbone if training all weights would take over half an hour on this CPU, else none.",
    )
    lora: CountOrZero | Auto = Field("auto", description="The rank of low-rank adapters; 0 trains all weights.")
    lora_alpha: LoraAlpha = None
    lora_targets: LoraTargets = "all-linear"
    pooling: Literal["auto", "last", "mean"] = Field(
        "auto",
        description="What the head reads: last, as the model's own classifier does, or the mean over the tokens.",
    )
    hidden: CountOrZero = Field(
        0, description="Units of a hidden layer before the head of a frozen backbone (try 64); needs pooling: mean."
    )
    epochs: Positive | Auto = Field("auto", description="Passes over the training rows.")
    batch_size: Count = Field(16, description="Rows per device and step.")
    accumulation: Count = Field(1, description="Steps over which gradients are summed.")
    learning_rate: Positive | Auto = Field(
        "auto",
        description="AdamW's learning rate after the warm-up. auto: 1e-3 for the head alone, 1e-4 for LoRA, else 2e-6 to "
        "1e-4, lower for larger models.",
    )
    scheduler: str = Field("cosine", description="The schedule of the learning rate, by transformers' name for it.")
    warmup: Share | Auto = Field("auto", description="The share of the steps over which the learning rate rises.")
    weight_decay: AtLeastZero | Auto = Field(
        "auto", description="How strongly AdamW draws the weights towards 0. auto: 0.01."
    )
    precision: Precision = "auto"
    checkpointing: Checkpointing = False
    group_by_length: bool = Field(True, description="Put rows of similar length into one batch.")
    early_stopping: CountOrZero | Auto = Field(
        "auto", description="Stop after this many epochs without a better validation loss and keep the best; 0: off."
    )
    seed: Seed = 0
    overwrite: Overwrite = False
    resume: Resume = False
    report_to: str = Field("none", description="The Trainer's tracker: trackio, wandb or tensorboard.")
    push_to_hub: PushToHub = None
    weights: Literal["fp32", "bf16", "nf4"] = Field(
        "fp32",
        description="The weights that are not trained, under lora: bf16 takes half the memory, nf4 (QLoRA, four bits) an "
        "eighth.",
    )
    attention: str | None = Field(
        None,
        description="How attention is computed, by transformers' name: sdpa, flash_attention_2, flex_attention or eager. "
        "Default: the model's own.",
    )
    trainer: dict[str, Any] = Field(default_factory=dict, description="Any other TrainingArguments of transformers.")

    @field_validator("epochs", "learning_rate", "weight_decay", mode="before")
    @classmethod
    def _nothing_is_auto(cls, value: Any) -> Any:
        return "auto" if value is None else value

    @model_validator(mode="after")
    def _fits_together(self) -> RewardConfig:
        parse(self.objective)
        if self.pair_data and (self.scalar or not on_pairs(self.objective)):
            raise ValueError(
                f"pair_data: the objective {self.objective} has no loss of pairs; add one, such as {self.objective}+ordinal"
                if not self.scalar
                else "pair_data: a scalar objective trains on one source of pairs; give it as data"
            )
        if self.group_heads and self.group:
            raise ValueError("group_heads: group trains on one group alone; leave one of the two out")
        if self.group_heads and (self.scalar or not on_rows(self.objective)):
            raise ValueError("group_heads: the objective must train distributions on rows, such as ot+0.1*ce")
        if self.calibrate and not on_rows(self.objective):
            raise ValueError("calibrate: pairs alone have no distribution to calibrate on")
        if self.scalar and self.calibrate:
            raise ValueError("calibrate: a scalar model has no distribution to calibrate")
        if self.hidden and (self.freeze == "none" or self.pooling == "last" or self.group_heads):
            raise ValueError(
                "hidden: a hidden layer needs freeze: backbone and pooling: mean, and takes no group_heads"
            )
        if (self.freeze == "backbone" or self.hidden) and self.lora not in (0, "auto"):
            raise ValueError("freeze: backbone trains the head alone; leave lora out")
        if self.weights != "fp32" and self.lora in (0, "auto"):
            raise ValueError(
                f"weights: {self.weights} needs lora: weights that are trained lose small steps in it; see precision: bf16"
            )
        if self.test + self.validation >= 1:
            raise ValueError("test and validation together leave nothing to train on")
        if (self.early_stopping not in (0, "auto") or self.calibrate) and not self.validation:
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
        """The settings of one training for each value of an attribute of those who voted, each with its own output
        folder.

        Raises `DprmError` if nobody has the attribute, or it is not known who voted.
        """
        from dprm_trainers.data.group_rows import values

        def settings_of(group: str) -> RewardConfig:
            folder = Path(self.output) / re.sub(r"[^\w.=-]+", "-", group)
            return self.model_copy(update={"group": group, "output": str(folder)})

        return [settings_of(f"{attribute}={value}") for value in values(self.data, attribute, self.votes)]
