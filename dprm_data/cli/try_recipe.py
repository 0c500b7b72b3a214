"""The command `dprm try`."""

from __future__ import annotations

from typing import Annotated

import typer

from dprm_data.cli.shared import Json, MaxCost, Output, Quiet, RecipeFile, RetryFailed, answer, app, open_job
from dprm_data.core.errors import ProviderUnusable


@app.command("try")
def try_recipe(
    recipe: RecipeFile,
    items: Annotated[int, typer.Option("--items", min=1, help="How many items, drawn at random from the source.")] = 5,
    seed: Annotated[int, typer.Option("--seed", help="Which items are drawn.")] = 0,
    output: Output = None,
    max_cost: MaxCost = None,
    retry_failed: RetryFailed = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Ask about five items; show each raw answer.

    Also the label parsed from it, and the cost of the whole run. Says what to change if answers cannot be parsed. The run does not pay for these calls again.
    """
    from dprm_data.pipeline import stages
    from dprm_data.pipeline.trial import prepare_trial, run_trial
    from dprm_data.terminal.trial_view import trial_price, trial_view

    with open_job(recipe, output, quiet or as_json) as job:
        stages.prepare(job)
        planned, plan = prepare_trial(job, items=items, seed=seed)
        job.progress.say(trial_price(plan))
        found = run_trial(job, planned, max_cost=max_cost, retry_failed=retry_failed)
    answer(found.as_dict(), lambda: trial_view(found, recipe), as_json)
    if found.stopped:
        raise ProviderUnusable(found.stopped)
    if not found.ok:
        raise typer.Exit(1)
