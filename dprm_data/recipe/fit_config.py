"""How votes become distributions: `fit:` of a recipe."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator

from dprm_data.core.registry import FAMILIES, SMOOTHINGS
from dprm_data.recipe.section import Positive, Section, registered


class SmoothingConfig(Section):
    """Targeted label smoothing: only where the top probability exceeds `threshold`."""

    kind: Annotated[str, AfterValidator(registered(SMOOTHINGS))] = "targeted"
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.95
    epsilon: Annotated[float, Field(ge=0, lt=1)] = 0.05

    @field_validator("epsilon")
    @classmethod
    def _keeps_the_order(cls, epsilon: float, info: ValidationInfo) -> float:
        if info.data.get("kind") == "targeted" and epsilon > 0.5:
            raise ValueError(
                f"targeted smoothing with {epsilon:g} would leave the most likely label less than half, and another would "
                "overtake it (allowed: 0 to 0.5; kind: uniform and kind: cost take more)"
            )
        return epsilon


def _switch(value: object) -> object:
    """YAML reads on and off as booleans."""
    return {True: "on", False: "off"}.get(value, value) if isinstance(value, bool) else value


def text_source(how: str) -> str:
    """How a fit reads texts: a word, or a kind with a name. Raises `ValueError`."""
    kind, colon, name = how.partition(":")
    if how in ("off", "auto", "tfidf") or (kind in ("column", "encoder") and colon and name.strip()):
        return how
    raise ValueError(
        f"{how!r} is unknown (allowed: off, auto, tfidf, column:NAME, encoder:PATH or the name of a model)"
    )


class FitConfig(Section):
    """How votes become distributions. None of this is sent to a model: change it and run `dprm ratings fit` again at no cost."""

    family: Annotated[str, AfterValidator(registered(FAMILIES))] = "beta"
    raters: Annotated[Literal["auto", "on", "off"], BeforeValidator(_switch)] = (
        "auto"  # whether rater effects are in the model
    )
    # whether what the items' texts say is in the model, and how they are read
    text: Annotated[str, BeforeValidator(_switch), AfterValidator(text_source)] = "off"
    smoothing: SmoothingConfig = SmoothingConfig()
    interval: Annotated[float, Field(gt=0, lt=1)] = 0.9
    human_weight: Positive = 1.0
