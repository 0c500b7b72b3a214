"""Common base of all sections of a recipe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo

from dprm_data.core.registry import Registry


class Section(BaseModel):
    """A section of settings. Unknown keys are rejected."""

    # An input may be an API key by mistake: pydantic's own errors must not show it.
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, hide_input_in_errors=True)


Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def is_frozen(info: ValidationInfo) -> bool:
    """Whether this is the recipe of an existing run (`Recipe.load(frozen=True)`): its extensions need not be installed any more."""
    return bool((info.context or {}).get("frozen"))


def registered(registry: Registry[Any]) -> Callable[[str, ValidationInfo], str]:
    """A check that the name is registered. A run may be read where its extension is not installed (`Recipe.load(frozen=True)`)."""

    def check(name: str, info: ValidationInfo) -> str:
        return name if is_frozen(info) else registry.check(name)

    return check
