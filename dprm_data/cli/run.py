"""Commands that make a dataset: plan, run, annotate, fit."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from dprm_data.cli.shared import (
    Json,
    Labels,
    MaxCost,
    Output,
    Quiet,
    RecipeFile,
    RetryFailed,
    RunOrVotes,
    answer,
    app,
    interrupts_in_words,
    note,
    only_for_votes,
    open_job,
    say,
    show_summary,
    stderr,
)
from dprm_data.cli.vote_options import VoteOptions, vote_options
from dprm_data.core.errors import InputError
from dprm_data.core.text import visible


class Raters(StrEnum):
    auto = "auto"
    on = "on"
    off = "off"


@app.command()
def plan(recipe: RecipeFile, output: Output = None, as_json: Json = False, quiet: Quiet = False) -> None:
    """Estimate a run's calls, tokens and cost. Makes no call."""
    from dprm_data.pipeline import stages
    from dprm_data.terminal.plan_view import plan_view

    with open_job(recipe, output, quiet or as_json, calls=False) as job:
        stages.prepare(job)
        planned = stages.plan(job)
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
) -> None:
    """Allow a recipe to send keys to unknown addresses. Shows the addresses and asks."""
    from dprm_data.recipe.recipe import Recipe
    from dprm_data.recipe.trust import pending, remember

    loaded = Recipe.load(recipe / "recipe.yaml" if recipe.is_dir() else recipe, frozen=True)
    sendings = pending(loaded)
    for sending in sendings:
        say(visible(f"{recipe}: {sending.sentence}"))
    if not sendings:
        say(visible(f"{recipe}: nothing to allow"))
    elif yes or typer.confirm("Allow it, now and later?", abort=True):
        for sending in sendings:
            remember(sending)


@app.command()
def run(
    recipe: RecipeFile,
    output: Output = None,
    max_cost: MaxCost = None,
    retry_failed: RetryFailed = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Annotate, fit and write the dataset. Repeat the command to resume; no call is paid twice."""
    _annotate(recipe, output, max_cost, retry_failed, as_json, quiet, fit=True)


@app.command()
def annotate(
    recipe: RecipeFile,
    output: Output = None,
    max_cost: MaxCost = None,
    retry_failed: RetryFailed = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make the missing calls and write the annotations, without fitting."""
    _annotate(recipe, output, max_cost, retry_failed, as_json, quiet, fit=False)


def _annotate(
    recipe: Path,
    output: Path | None,
    max_cost: float | None,
    retry_failed: bool,
    as_json: bool,
    quiet: bool,
    *,
    fit: bool,
) -> None:
    from dprm_data.pipeline.stages import annotate_and_keep, prepare

    with open_job(recipe, output, quiet or as_json) as job:
        prepare(job)
        counters = annotate_and_keep(job, max_cost=max_cost, retry_failed=retry_failed, fitted=fit)
    if fit:
        show_summary(job, counters if job.asks_models else None, as_json)
    else:
        from dprm_data.terminal.counters_view import usage_line

        answer({"run": str(job.folder), "annotate": counters.as_dict()}, lambda: usage_line(counters), as_json)


@app.command()
@vote_options
def fit(
    path: RunOrVotes,
    labels: Labels = None,
    family: Annotated[
        str | None,
        typer.Option(
            "--family",
            help="The family of distributions (compared in docs/statistics.md): by default the recipe's for a run, beta for votes.",
        ),
    ] = None,
    raters: Annotated[
        Raters | None,
        typer.Option(
            "--raters",
            help="Whether the model holds how severe every annotator is: by default the recipe's choice for a run; auto, where it helps, for votes.",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="For votes: the Parquet file to write.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    *,
    options: VoteOptions,
) -> None:
    """Fit distributions to a run's votes, or to a table of people's ratings. Makes no call."""
    if path.is_dir():
        only_for_votes(path, labels=labels, out=out, **options)
        _fit_run(path, {"family": family, "raters": raters and raters.value}, as_json, quiet)
    else:
        _fit_votes(path, labels, family or "beta", raters or Raters.auto, out, options.settings(), as_json)


def _fit_run(folder: Path, settings: dict[str, str | None], as_json: bool, quiet: bool) -> None:
    from dprm_data.pipeline import stages
    from dprm_data.runs.run import Run
    from dprm_data.terminal.progress import TerminalProgress

    with TerminalProgress(stderr(), quiet=quiet or as_json) as progress:
        job = Run.open(folder, progress)
        with interrupts_in_words(folder, progress), job.folder.held():
            stages.collect(job)
            stages.fit(job, **{name: value for name, value in settings.items() if value})
    show_summary(job, None, as_json)


def _fit_votes(
    votes_file: Path,
    labels: str | None,
    family: str,
    raters: Raters,
    out: Path | None,
    settings: dict[str, Any],
    as_json: bool,
) -> None:
    if labels is None or out is None:
        missing = "--labels" if labels is None else "--out"
        raise InputError(
            f"{missing} is missing",
            hint=f"dprm fit {votes_file} --labels <name | K | file> --out distributions.parquet",
        )
    from dprm_data.labels.space import LabelSpace
    from dprm_data.runs.fit_votes import fit_votes
    from dprm_data.terminal.fit_view import fit_view

    space = LabelSpace.load(labels)
    fitted = fit_votes(votes_file, space, out, family=family, raters=raters.value, say=note(as_json), **settings)
    answer({"out": str(out), **fitted.summary()}, lambda: fit_view(fitted, space, out), as_json)
