"""Commands that make a dataset: plan, trust, run."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from dprm_data.cli.shared import (
    Json,
    MaxCost,
    Output,
    Quiet,
    RecipeFile,
    RetryFailed,
    answer,
    app,
    note,
    open_job,
    say,
    show_summary,
)
from dprm_data.core.text import visible


@app.command()
def plan(recipe: RecipeFile, output: Output = None, as_json: Json = False, quiet: Quiet = False) -> None:
    """Estimate a run's calls, tokens and cost. No paid call.

    A local model may be fetched and loaded, to find out how to ask it.
    """
    from dprm_data.pipeline import stages
    from dprm_data.pipeline.announcement import say_sendings
    from dprm_data.pipeline.two_stage_plan import plan as planned_run
    from dprm_data.terminal.plan_view import plan_view

    with open_job(recipe, output, quiet or as_json, calls=False) as job:
        say_sendings(job)
        stages.prepare(job)
        planned = planned_run(job)
        budget = job.recipe.budget.max_cost
    answer(
        planned.as_dict() | {"budget": budget, "elicitation": job.recipe.elicitation},
        lambda: plan_view(planned, budget),
        as_json,
    )


@app.command()
def trust(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE|RUN", help="A recipe, or a run folder.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Allow without asking.")] = False,
    as_json: Json = False,
) -> None:
    """Allow a recipe to send keys to unknown addresses.

    Shows the addresses and asks.
    """
    from dprm_data.recipe.recipe import Recipe
    from dprm_data.recipe.trust import pending, remember

    loaded = Recipe.load(recipe / "recipe.yaml" if recipe.is_dir() else recipe, frozen=True)
    sendings = pending(loaded)
    sentences = [visible(f"{recipe}: {sending.sentence}") for sending in sendings]
    if not as_json:
        say("\n".join(sentences) or visible(f"{recipe}: nothing to allow"))
    if sendings and not yes:
        for sentence in sentences if as_json else []:
            note(False)(sentence)
        typer.confirm("Allow it, now and later?", abort=True, err=as_json)
    for sending in sendings:
        remember(sending)
    if as_json:
        answer({"recipe": str(recipe), "allowed": sentences}, None, True)


@app.command()
def run(
    recipe: RecipeFile,
    output: Output = None,
    max_cost: MaxCost = None,
    retry_failed: RetryFailed = False,
    no_fit: Annotated[
        bool, typer.Option("--no-fit", help="Only annotate: write the annotations, and fit nothing.")
    ] = False,
    page: Annotated[
        bool,
        typer.Option("--page", help="Show the run in the browser while it runs; the address is printed on stderr."),
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Annotate, fit and write the dataset. Repeat to resume.

    No stored answer is paid for again. With --no-fit several processes can share a run's ledger; `dprm ratings fit RUN` then writes the dataset.
    """
    from dprm_data.pipeline.generate_stage import generate, make_usable
    from dprm_data.pipeline.stages import annotate_and_keep, prepare
    from dprm_data.terminal.counters_view import usage_line

    # The page ends after the run has let go of its folder: the last state that it reads is the end.
    with ExitStack() as beside, open_job(recipe, output, quiet or as_json) as job:
        if page:
            beside.enter_context(shown_on_page(job, quiet or as_json))
        prepare(job)
        generate(job, max_cost=max_cost, retry_failed=retry_failed)
        make_usable(job)
        counters = annotate_and_keep(job, max_cost=max_cost, retry_failed=retry_failed, fitted=not no_fit)
    if no_fit:
        answer({"run": str(job.folder), "annotate": counters.as_dict()}, lambda: usage_line(counters), as_json)
    else:
        show_summary(job, counters if job.asks_models else None, as_json)


def shown_on_page(job: Any, quiet: bool) -> AbstractContextManager[None]:
    """The run's page, in a process of its own, until the end of the block."""
    from dprm_data.live.page_beside import page_beside

    return page_beside(job.folder.path, note(False) if quiet else job.progress.say)
