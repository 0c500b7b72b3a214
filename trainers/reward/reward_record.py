"""What the config.json of a reward model says under `dprm`: its label space, and how it was trained."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from dprm_data.core.yamlfile import validated
from dprm_data.labels.space import LabelSpace
from dprm_trainers.core.errors import TrainingError


class _Group(BaseModel):
    attribute: str
    value: Any


class _GroupHeads(BaseModel):
    attribute: str
    values: list[str]


class _Split(BaseModel):
    test: float = 0.0
    validation: float = 0.0
    seed: int = 0


class RewardRecord(BaseModel):
    """The record, as `dprm train reward` writes it; other keys are for readers."""

    model_config = ConfigDict(protected_namespaces=())

    label_space: LabelSpace
    scalar: bool = False
    max_length: Annotated[int, Field(ge=1, le=10**9)] | None = None
    group: _Group | None = None
    group_heads: _GroupHeads | None = None
    split: _Split | None = None
    trained_on: str | None = None
    pooling: Literal["last", "mean"] = "last"
    hidden: Annotated[int, Field(ge=1, le=10**6)] | None = None


def checked_record(record: Any, name: str) -> RewardRecord:
    """The record of a model. Raises `TrainingError`, which names the field, for a malformed or missing one."""
    if not isinstance(record, dict) or "label_space" not in record:
        raise TrainingError(
            f"{name} does not define its outputs: its config has no `dprm`",
            hint="Give a model trained by `dprm train reward`.",
        )
    if not isinstance(record["label_space"], dict):  # a name or a path would be looked up on this machine
        raise TrainingError(f"{name}, config.json: dprm.label_space is not a mapping")
    return validated(record, RewardRecord, TrainingError, f"{name}, config.json, dprm")
