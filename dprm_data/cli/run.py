"""Commands that make a dataset: init, plan, run, annotate, fit."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

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
    only_for_votes,
    open_job,
    pairs,
    say,
    show_summary,
    stderr,
)
from dprm_data.core.errors import InputError


class Duplicates(StrEnum):
    error = "error"
    first = "first"
    last = "last"
    all = "all"
    mean = "mean"


@app.command()
def init(
    path: Annotated[Path, typer.Argument(help="Where to write the recipe.")] = Path("recipe.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Write over a file that exists.")] = False,
) -> None:
    """Write a commented recipe to start from."""
    from dprm_data.recipe.scaffold import write_recipe

    write_recipe(path, force=force)
    say(f"wrote {path}\nNext: edit it, then dprm plan {path}")


@app.command()
def plan(recipe: RecipeFile, output: Output = None, as_json: Json = False, quiet: Quiet = False) -> None:
    """Say how many calls, tokens and dollars a run will be. Makes no call."""
    from dprm_data.pipeline import stages
    from dprm_data.terminal.run_view import plan_view

    with open_job(recipe, output, quiet or as_json) as job:
        stages.prepare(job)
        planned = stages.plan(job)
        budget = job.recipe.budget.max_cost
    answer(planned.as_dict() | {"budget": budget}, lambda: plan_view(planned, budget), as_json)


@app.command()
def run(
    recipe: RecipeFile,
    output: Output = None,
    max_cost: MaxCost = None,
    retry_failed: RetryFailed = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Annotate, fit and write the dataset. Run it again to go on: what was paid for is never paid again."""
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
    """Only make the calls that are missing and write the annotations."""
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
        show_summary(job, counters, as_json)
    else:
        from dprm_data.terminal.run_view import counters_line

        answer({"run": str(job.folder), "annotate": counters.as_dict()}, lambda: counters_line(counters), as_json)


@app.command()
def fit(
    what: Annotated[
        Path, typer.Argument(metavar="RUN|VOTES", help="A run folder, or a long table of votes (Parquet or CSV).")
    ],
    labels: Annotated[
        str | None,
        typer.Option("--labels", help="For votes: a bundled label space, a number of levels K, or a YAML file."),
    ] = None,
    family: Annotated[
        str | None,
        typer.Option(
            "--family",
            help="The family of distributions: beta (default), beta-dirichlet, mixture, auto, dirichlet or empirical.",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="For votes: the Parquet file to write.")] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            "--column",
            help="For votes: ours=yours, such as item_id=question. Ours: item_id, annotator_id, label, weight.",
        ),
    ] = None,
    duplicates: Annotated[
        Duplicates | None,
        typer.Option(
            "--duplicates",
            help="For votes: what counts where a rater rates an item more than once; an error if not given.",
        ),
    ] = None,
    base: Annotated[
        int | None,
        typer.Option("--base", min=0, max=1, help="For votes: what the lowest label is numbered; 0 if not given."),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Votes to distributions: of a run, or of any table of people's ratings. Makes no call."""
    if what.is_dir():
        only_for_votes(what, labels=labels, out=out, column=column, duplicates=duplicates, base=base)
        _fit_run(what, family, as_json, quiet)
    else:
        duplicates = duplicates or Duplicates.error
        _fit_votes(what, labels, family or "beta", out, column, duplicates, base or 0, as_json)


def _fit_run(folder: Path, family: str | None, as_json: bool, quiet: bool) -> None:
    from dprm_data.pipeline import stages
    from dprm_data.runs.run import Run
    from dprm_data.terminal.progress import TerminalProgress

    with TerminalProgress(stderr(), quiet=quiet or as_json) as progress:
        job = Run.open(folder, progress)
        with job.folder.held():
            stages.collect(job)
            stages.fit(job, **({"family": family} if family else {}))
    show_summary(job, None, as_json)


def _fit_votes(
    votes_file: Path,
    labels: str | None,
    family: str,
    out: Path | None,
    column: list[str] | None,
    duplicates: Duplicates,
    base: int,
    as_json: bool,
) -> None:
    if labels is None or out is None:
        missing = "--labels" if labels is None else "--out"
        raise InputError(
            f"{missing} is missing",
            hint=f"dprm fit {votes_file} --labels <name | K | file> --out distributions.parquet",
        )
    from dprm_data.ingest.vote_tables import read_votes
    from dprm_data.labels.space import LabelSpace
    from dprm_data.preference.fitting import fit as fit_votes
    from dprm_data.runs.published import write_fit
    from dprm_data.terminal.run_view import fit_view

    if out.suffix != ".parquet" or (out.exists() and out.samefile(votes_file)):
        raise InputError(f"--out {out}: must be a Parquet file of its own, such as distributions.parquet")
    space = LabelSpace.load(labels)
    votes = read_votes(votes_file, space, columns=pairs(column), duplicates=duplicates.value, base=base)
    if base == 0 and not votes.counts[:, 0].any():
        note(as_json)(
            f"nobody gave the lowest label, {space.names[0]}; if your labels are numbered from 1, say --base 1"
        )
    fitted = fit_votes(votes, space, family=family)
    write_fit(fitted, space, out)
    answer({"out": str(out), **fitted.summary()}, lambda: fit_view(fitted, space, out), as_json)
