"""Which pairs of responses are published as preferences. None of this is sent to a model: change it and run `dprm ratings fit` again at no cost."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from dprm_data.recipe.section import Section


class PreferencesConfig(Section):
    """`preferences:` of a recipe. By default, all pairs that have a preferred response."""

    min_probability: Annotated[float, Field(ge=0.5, lt=1)] = 0.5  # that chosen is better: `probability`
    min_margin: Annotated[float, Field(ge=0)] = 0.0  # in reward
    pairs_per_prompt: Annotated[int | None, Field(ge=1)] = None  # the surest ones; default: all of up to 8 responses
    ties: bool = False  # also pairs with equal expected rewards, which have no preferred response
