"""Shared by the settings models: common fields, marks for the command line, and loading from YAML and flags.

A setting is one field of a model: its option is generated from its type, default and description.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, Field
from pydantic.fields import FieldInfo

from dprm_data.core.yamlfile import read_model, read_yaml, validated
from dprm_trainers.core.errors import TrainingError

Settings = TypeVar("Settings", bound=BaseModel)


@dataclass(frozen=True)
class Flag:
    """Another flag of a field, besides `--its-name`."""

    name: str


@dataclass(frozen=True)
class Section:
    """The heading in `--help` of this field and those after it."""

    title: str


@dataclass(frozen=True)
class Choices:
    """What a field may name. Listed when help is shown, as installed packages add to it."""

    listed: Callable[[], str]


def described(field: FieldInfo) -> str:
    """A field's description, with what it may name."""
    choices = [f"Available: {mark.listed()}." for mark in field.metadata if isinstance(mark, Choices)]
    return " ".join([field.description or "", *choices])


Positive = Annotated[float, Field(gt=0)]
AtLeastZero = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
CountOrZero = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]

# Fields of every training.
ChatTemplate = Annotated[
    str | None, Field(description="plain, or a Jinja file, for a tokenizer without a chat template.")
]
HeadsOf = Annotated[
    str | None,
    Field(
        description="Of a model with heads of groups: attribute=value for that group's reward, least for the least "
        "satisfied group's. Default: the population's."
    ),
]
PadToken = Annotated[str | None, Field(description="The token to pad with, for a tokenizer without a pad token.")]
LoraAlpha = Annotated[Positive | None, Field(description="The scale of the adapters. Default: twice the rank.")]
LoraTargets = Annotated[
    str | list[str],
    Field(description="The layers that get adapters: all-linear, a regular expression, or (in YAML) a list."),
]
Warmup = Annotated[Share, Field(description="The share of the steps over which the learning rate rises.")]
Precision = Annotated[
    Literal["auto", "fp32", "bf16"], Field(description="auto computes in bf16 on a GPU that supports it.")
]
Checkpointing = Annotated[bool, Field(description="Recompute activations: less memory, about a third more time.")]
Seed = Annotated[int, Field(description="The random seed of the training.")]
Overwrite = Annotated[bool, Field(description="Train again where the output folder holds a model.")]
Resume = Annotated[bool, Field(description="Continue from the last checkpoint in the output folder.")]
PushToHub = Annotated[
    Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")] | None,
    Field(description="The repository, owner/name, to push the model to; a new one is private."),
]


def given_settings(model: type[Settings], file: str | Path | None, flags: dict[str, Any]) -> Settings:
    """Settings from a file, flags (None means not set), or both; flags take precedence. Raises `TrainingError`."""
    values = {name: value for name, value in flags.items() if value is not None}
    if file is None:
        lacking = [name for name, field in model.model_fields.items() if field.is_required() and name not in values]
        if lacking:
            flags_of = " and ".join(f"--{name.replace('_', '-')}" for name in lacking)
            raise TrainingError(
                f"{' and '.join(lacking)}: missing, and there is no default",
                hint=f"Give {flags_of}, or a file of settings with --config.",
            )
        return validated(values, model, TrainingError, "settings")
    if not values:
        return read_model(Path(file), model, TrainingError, "settings of a training")
    # Flags may supply what the file lacks, so the file is not validated alone; its errors then have no line numbers.
    content = read_yaml(Path(file), TrainingError, "settings of a training") or {}
    if not isinstance(content, dict):
        raise TrainingError(f"{file}: settings are a mapping of keys to values")
    return validated(content | values, model, TrainingError, str(file))
