"""The command `dprm pilot`."""

from __future__ import annotations

from typing import Annotated

import typer

from dprm_data.cli.shared import Json, MaxCost, Output, Quiet, RecipeFile, Yes, answer, app, confirm_start, open_job


@app.command()
def pilot(
    recipe: RecipeFile,
    items: Annotated[int, typer.Option("--items", min=2, help="How many items, drawn at random from the source.")] = 25,
    replicates: Annotated[
        int,
        typer.Option(
            "--replicates", min=1, help="How often each persona is asked about an item. Measuring noise needs 2."
        ),
    ] = 2,
    seed: Annotated[
        int,
        typer.Option(
            "--seed", help="Which items are drawn. With the same seed, a larger sample contains the smaller one."
        ),
    ] = 0,
    output: Output = None,
    max_cost: MaxCost = None,
    yes: Yes = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Ask about a few items twice; measure noise.

    Before you pay for the whole run: shows whether personas differ by more than noise, how models differ, how close a stated distribution is to the votes, and what the run will
    cost. A call that the run makes too is paid only once. On a terminal it shows its price and asks before it starts.
    """
    from dprm_data.pipeline import stages
    from dprm_data.pipeline.pilot import prepare_pilot, run_pilot
    from dprm_data.terminal.pilot_view import pilot_price, pilot_view

    with open_job(recipe, output, quiet or as_json) as job:
        stages.prepare(job)
        planned, plan = prepare_pilot(job, items=items, replicates=replicates, seed=seed)
        job.progress.say(pilot_price(plan))
        if plan.calls_needed and plan.cost != 0 and not (yes or quiet or as_json):
            confirm_start(job.progress)
        found = run_pilot(job, planned, max_cost=max_cost)
    answer(found.as_dict(), lambda: pilot_view(found), as_json)
