"""The command `dprm validate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dprm_data.cli.shared import (
    Json,
    MaxCost,
    Quiet,
    RecipeFile,
    Yes,
    answer,
    app,
    confirm_start,
    interrupts_in_words,
    output_option,
    stderr,
)
from dprm_data.cli.vote_options import column_pairs


def _comma(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def _list_sets(wanted: bool) -> None:
    if wanted:
        from dprm_data.ingest.named_sets.collection import set_rows
        from dprm_data.terminal.validation_view import sets_view

        answer({}, lambda: sets_view(set_rows()), False)
        raise typer.Exit


@app.command()
def validate(
    recipe: RecipeFile,
    against: Annotated[
        str,
        typer.Option(
            "--against",
            metavar="PEOPLE",
            help="People's votes: a long table with texts, a label and a rater in every row; or the name of a public set (--sets).",
        ),
    ],
    sets: Annotated[
        bool,
        typer.Option(
            "--sets",
            help="List the public sets that are known by name. Needs nothing else.",
            callback=_list_sets,
            is_eager=True,
        ),
    ] = False,
    data: Annotated[
        Path | None, typer.Option("--data", help="The folder with a public set's files, in place of the Hub.")
    ] = None,
    scale: Annotated[
        str | None,
        typer.Option("--scale", help="For a survey: the options that its questions have, such as 'Yes | No'."),
    ] = None,
    items: Annotated[
        int, typer.Option("--items", min=2, help="How many items, equally many from the least to the most divided.")
    ] = 200,
    models: Annotated[
        str | None, typer.Option("--models", help="Models to compare, separated by commas, in place of the recipe's.")
    ] = None,
    panels: Annotated[
        str | None, typer.Option("--panels", help="Panels to compare: bundled names or files, separated by commas.")
    ] = None,
    elicitations: Annotated[
        str | None, typer.Option("--elicitations", help="Elicitations to compare, separated by commas.")
    ] = None,
    rivals: Annotated[
        bool,
        typer.Option(
            "--rivals/--no-rivals", help="Also ask the neutral annotator alone, and once for a distribution per item."
        ),
    ] = True,
    column: Annotated[
        list[str] | None,
        typer.Option(
            "--column",
            help="A column with another name, as ours=yours, such as prompt=context. Repeatable. Ours: prompt, response, messages, system, item_id, annotator_id, label, weight.",
        ),
    ] = None,
    attribute: Annotated[
        list[str] | None,
        typer.Option(
            "--attribute",
            help="A column about the rater, such as age; personas with an attribute of the same name are compared by group. Repeatable.",
        ),
    ] = None,
    anonymous: Annotated[
        bool, typer.Option("--anonymous", help="The rater column is a placeholder: do not tell raters apart.")
    ] = False,
    base: Annotated[int | None, typer.Option("--base", min=0, max=1, help="The number of the lowest label.")] = None,
    epsilon: Annotated[
        float,
        typer.Option(
            "--epsilon",
            min=0,
            max=1,
            help="For the alternative annotator test: 0.1 if people were crowd workers, 0.2 if experts.",
        ),
    ] = 0.1,
    seed: Annotated[
        int, typer.Option("--seed", help="Which items. With the same seed, more items contain the fewer.")
    ] = 0,
    output: Annotated[
        Path | None, output_option("The folder to write to. Default: validation/<set> in the run's folder.")
    ] = None,
    max_cost: MaxCost = None,
    yes: Yes = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare a recipe's panel with people.

    The panel and model judge items that people have judged, and the page says how far they are from the crowd: distance, bias, spread, worth in people, by group. Interrupted, the same
    command goes on. On a terminal it shows its price and asks before it starts.
    """
    import pyarrow as pa

    from dprm_data.pipeline.validate import Grid, prepare_validation, validation_folder
    from dprm_data.pipeline.validate import validate as run_validation
    from dprm_data.pipeline.validation_arms import check_can_validate
    from dprm_data.recipe.recipe import Recipe
    from dprm_data.recipe.trust import check
    from dprm_data.runs.run import Run
    from dprm_data.terminal.progress import TerminalProgress
    from dprm_data.terminal.validation_view import validation_price, validation_view
    from dprm_data.validation.crowd import read_crowd

    loaded = Recipe.load(recipe)
    check(loaded, calls=True)
    check_can_validate(loaded)
    pa.set_memory_pool(pa.system_memory_pool())
    folder = output or validation_folder(loaded, against)
    with TerminalProgress(stderr(), quiet=quiet or as_json) as progress, interrupts_in_words(folder, progress):
        crowd = read_crowd(
            against,
            Run(loaded).space,
            data=data,
            scale=scale,
            columns=column_pairs(column),
            attributes=attribute or [],
            base=base,
            anonymous=anonymous,
        )
        grid = Grid(_comma(models), _comma(panels), _comma(elicitations), rivals)
        prepared = prepare_validation(
            loaded,
            crowd,
            folder,
            items=items,
            grid=grid,
            seed=seed,
            max_cost=max_cost,
            progress=progress,
        )
        progress.say(validation_price(prepared))
        if prepared.calls and prepared.cost != 0 and not (yes or quiet or as_json):
            confirm_start(progress)
        found = run_validation(prepared, folder, max_cost=max_cost, epsilon=epsilon, seed=seed)
    content = found.as_dict()
    answer({"folder": str(folder), **content}, lambda: validation_view(content, folder), as_json)
