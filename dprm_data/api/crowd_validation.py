"""Validate a recipe's panel against people, from Python."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from dprm_data.api.recipes import RecipeLike
from dprm_data.api.shown import ShownValidation
from dprm_data.pipeline.validate import Grid, prepare_validation, validation_folder
from dprm_data.pipeline.validate import validate as run_validation
from dprm_data.pipeline.validation_arms import check_can_validate
from dprm_data.providers.provider import Provider
from dprm_data.recipe.recipe import Recipe
from dprm_data.recipe.trust import check
from dprm_data.runs.run import Progress, Run
from dprm_data.terminal.default_progress import shown_progress
from dprm_data.validation.alternative_annotator import EPSILON
from dprm_data.validation.crowd import read_crowd
from dprm_data.validation.panel_validation import Validation


def validate(
    recipe: RecipeLike,
    against: str | os.PathLike[str],
    *,
    data: str | os.PathLike[str] | None = None,
    scale: str | None = None,
    items: int = 200,
    models: Sequence[str] = (),
    panels: Sequence[str] = (),
    elicitations: Sequence[str] = (),
    rivals: bool = True,
    columns: Mapping[str, str] | None = None,
    attributes: Sequence[str] = (),
    anonymous: bool = False,
    base: int | None = None,
    epsilon: float = EPSILON,
    seed: int = 0,
    output: str | os.PathLike[str] | None = None,
    provider: Provider | None = None,
    max_cost: float | None = None,
    progress: Progress | bool | None = True,
) -> Validation:
    """Have the recipe's panel and model judge items that people have judged, and measure how far they are from the crowd.

    against: a long table with texts, a label and a rater in every row, or the name of a public set. The other arguments are the options of `dprm validate`, which docs/validation.md explains; those of `run` mean what they
    mean there. Writes `scores.json` and `validation.html` to the output folder. Interrupted, the same call goes on. Raises `DprmError`.
    """
    loaded = Recipe.of(recipe, provider=provider)
    check(loaded, calls=provider is None)
    check_can_validate(loaded)
    folder = Path(output) if output else validation_folder(loaded, os.fspath(against))
    with shown_progress(progress) as shown:
        crowd = read_crowd(
            os.fspath(against),
            Run(loaded).space,
            data=Path(data) if data else None,
            scale=scale,
            columns=columns,
            attributes=attributes,
            base=base,
            anonymous=anonymous,
        )
        grid = Grid(models, panels, elicitations, rivals)
        prepared = prepare_validation(
            loaded,
            crowd,
            folder,
            items=items,
            grid=grid,
            seed=seed,
            max_cost=max_cost,
            progress=shown,
            provider=provider,
        )
        found = run_validation(prepared, folder, max_cost=max_cost, epsilon=epsilon, seed=seed)
        return ShownValidation.of(found, folder)
