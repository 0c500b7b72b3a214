"""The `models` section of a recipe: several models that answer for one panel, each with its own provider, limits, price and weight."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from dprm_data.core.validation import FieldError
from dprm_data.recipe.provider_config import ProviderConfig
from dprm_data.recipe.section import Positive, Section

Design = Literal["crossed", "balanced"]

# What decides neither which calls are made nor what they ask, so two entries that differ only in these make the same calls.
_NOT_ASKED = {"id", "weight", "limits", "base_url", "api_key_env", "endpoints", "timeout", "options", "price"}


class ModelLimits(Section):
    """How fast this model is called. What is not set is as the recipe's `limits` say for each model."""

    concurrency: Annotated[int, Field(gt=0, le=10_000)] | None = None
    rpm: Positive | None = None  # requests per minute
    tpm: Positive | None = None  # tokens per minute
    attempts: Annotated[int, Field(gt=0, le=50)] | None = None  # per call, before it is recorded as failed


class ModelConfig(ProviderConfig):
    """One of the recipe's models: the settings of a `provider`, and what makes it one of several."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][^\s,]*$", max_length=200)]  # default: the model's name
    weight: Positive = 1.0  # of its votes, relative to the other models
    limits: ModelLimits = ModelLimits()

    @model_validator(mode="before")
    @classmethod
    def _named(cls, content: Any) -> Any:
        if not isinstance(content, dict) or content.get("id"):
            return content
        return content | {"id": default_id(content.get("name"), content.get("model"))}


def default_id(name: object, model: object) -> str:
    """The id of an entry that has none: its model's name (without folders, if that is a file's path), or else the provider's."""
    if not isinstance(model, str) or not model:
        return name if isinstance(name, str) and name else "model"
    path = PurePath(model)
    return path.name if path.is_absolute() or model.startswith((".", "~")) else model


def only_model(provider: ProviderConfig) -> ModelConfig:
    """The entry that a recipe's `provider` is: the only one."""
    id_ = default_id(provider.name, provider.model)
    return ModelConfig.model_construct(**dict(provider), id=id_, weight=1.0, limits=ModelLimits())


def check_distinct(models: Sequence[ModelConfig]) -> None:
    """Refuse two entries with one id, or which would make the same calls. Raises `FieldError`."""
    for i, model in enumerate(models):
        for j, earlier in enumerate(models[:i]):
            if model.id.casefold() == earlier.id.casefold():
                raise FieldError(f"{i}.id", f"models[{j}] is {earlier.id!r}, too; give each an id of its own")
            if model.model_dump(exclude=_NOT_ASKED) == earlier.model_dump(exclude=_NOT_ASKED):
                raise FieldError(
                    f"{i}", f"makes the same calls as models[{j}]; for several servers of one model, give it endpoints"
                )
