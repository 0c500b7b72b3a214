"""Common base of all sections of a recipe."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo


class Section(BaseModel):
    """A section of settings. Unknown keys are rejected."""

    # An input may be an API key by mistake: pydantic's own errors must not show it.
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, hide_input_in_errors=True)


Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def is_frozen(info: ValidationInfo) -> bool:
    """Whether this is the recipe of an existing run (`Recipe.load(frozen=True)`): its extensions need not be installed any more."""
    return bool((info.context or {}).get("frozen"))
