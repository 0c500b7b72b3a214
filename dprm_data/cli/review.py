"""Commands by which people look at the simulated labels: review push, pull, compare, calibrate, export, import."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from dprm_data.cli.shared import Json, Quiet, answer, app, note

review = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Let people look at the simulated labels, and let what they say count.",
)
app.add_typer(review, name="review")


class Select(StrEnum):
    divided = "divided"
    uncertain = "uncertain"
    random = "random"
    stratified = "stratified"
    ids = "ids"


RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]
Purpose = Annotated[
    Select,
    typer.Option(
        "--select",
        help="divided: where the panel disagrees most; uncertain: where the reward is least certain; random: so that figures hold for all items; "
        "stratified: as many of every most likely label; ids: those of --id.",
    ),
]
Records = Annotated[int, typer.Option("--records", min=1, help="Records altogether, earlier ones included.")]
Ids = Annotated[list[str] | None, typer.Option("--id", help="An item's id or its beginning. May be given again.")]
Seed = Annotated[int, typer.Option("--seed", help="Of the choice at random.")]
Blind = Annotated[
    bool,
    typer.Option(
        "--blind", help="People see neither the panel's answer nor its figures: their judgement is their own."
    ),
]


@review.command()
def push(
    run: RunArgument,
    workspace: Annotated[str, typer.Option("--workspace", "-w", help="An Argilla workspace that exists.")],
    dataset: Annotated[str, typer.Option("--dataset", "-d", help="The dataset to make or to update.")],
    select: Purpose = Select.divided,
    records: Records = 100,
    people: Annotated[int, typer.Option("--people", min=1, help="Answers that each record waits for.")] = 3,
    ids: Ids = None,
    seed: Seed = 0,
    blind: Blind = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Render messages as Markdown instead of showing them as they are.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Push items to Argilla. Again: it updates them and loses no answer. ARGILLA_API_URL and ARGILLA_API_KEY say where and as whom."""
    from dprm_data.review.argilla import push as push_records
    from dprm_data.runs.run import Run
    from dprm_data.terminal.review_view import pushed_view

    job = Run.open(run)
    with job.folder.held():
        pushed = push_records(
            job,
            workspace=workspace,
            dataset=dataset,
            purpose=select.value,
            count=records,
            people=people,
            ids=ids or [],
            seed=seed,
            blind=blind,
            markdown=markdown,
            say=note(quiet or as_json),
        )
    answer(pushed.as_dict(), lambda: pushed_view(pushed, run), as_json)


@review.command()
def pull(
    run: RunArgument,
    workspace: Annotated[str | None, typer.Option("--workspace", "-w", help="Only from this workspace.")] = None,
    dataset: Annotated[str | None, typer.Option("--dataset", "-d", help="Only from this dataset.")] = None,
    as_json: Json = False,
) -> None:
    """Bring people's answers back, from wherever the run was pushed to. Again: it changes nothing that has not changed."""
    from dprm_data.review.argilla import pull as pull_answers
    from dprm_data.runs.run import Run
    from dprm_data.terminal.review_view import pulled_view

    job = Run.open(run)
    with job.folder.held():
        pulled = pull_answers(job, workspace=workspace, dataset=dataset)
    answer({"pulled": [one.as_dict() for one in pulled]}, lambda: pulled_view(pulled, run), as_json)


@review.command()
def compare(
    run: RunArgument,
    level: Annotated[float, typer.Option("--level", min=0.5, max=0.999, help="Of the intervals.")] = 0.95,
    worst: Annotated[int, typer.Option("--worst", min=0, help="Items to show.")] = 10,
    as_json: Json = False,
) -> None:
    """Compare the panel with people: distance, agreement, confusion, personas, and where it is wrong in one direction."""
    from dprm_data.review.compare import compare as compare_both
    from dprm_data.runs.run import Run
    from dprm_data.terminal.comparison_view import comparison_view

    job = Run.open(run)
    with job.folder.held():
        found = compare_both(job, level=level)
        job.folder.update_manifest(review=found.as_dict(items=False))
    answer(found.as_dict(), lambda: comparison_view(found, worst), as_json)


@review.command()
def calibrate(
    run: RunArgument,
    level: Annotated[float, typer.Option("--level", min=0.5, max=0.999, help="Of the gain's interval.")] = 0.9,
    discard: Annotated[bool, typer.Option("--discard", help="Forget the calibration instead.")] = False,
    as_json: Json = False,
) -> None:
    """Learn from people how to read the panel, apply it if that helps on items it has not seen, and fit."""
    from dprm_data.pipeline import stages
    from dprm_data.review.apply_calibration import discard as forget
    from dprm_data.review.calibrate import calibrate as learn
    from dprm_data.runs.run import Run
    from dprm_data.terminal.comparison_view import calibration_view

    job = Run.open(run)
    with job.folder.held():
        if discard:
            there = forget(job.folder)
            stages.fit(job)
            text = "forgotten; the run is fitted without it" if there else "there was no calibration"
            answer({"discarded": there}, lambda: text, as_json)
            return
        found = learn(job, level=level)
        stages.fit(job)
    answer(found.as_dict(), lambda: calibration_view(found, job), as_json)


@review.command()
def export(
    run: RunArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The .csv or .jsonl to write.")],
    select: Purpose = Select.divided,
    records: Records = 100,
    ids: Ids = None,
    seed: Seed = 0,
    blind: Blind = False,
    as_json: Json = False,
) -> None:
    """Write items as a table for people to judge, without Argilla."""
    from dprm_data.review.csv_exchange import export as export_items
    from dprm_data.runs.run import Run

    job = Run.open(run)
    with job.folder.held():
        done = export_items(job, file, purpose=select.value, count=records, ids=ids or [], seed=seed, blind=blind)
    text = f"{done.records:,} items in {done.file}, chosen as {done.purpose}\nFill in annotator and label, then: dprm review import {run} {file}"
    answer(asdict(done), lambda: text, as_json)


@review.command("import")
def import_(
    run: RunArgument,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Filled-in tables, .csv or .jsonl.")],
    as_json: Json = False,
) -> None:
    """Bring people's answers in from tables. A file of the same name replaces what it brought before."""
    from dprm_data.review.csv_exchange import import_answers
    from dprm_data.runs.run import Run
    from dprm_data.terminal.review_view import imported_view

    job = Run.open(run)
    with job.folder.held():
        stored = import_answers(job, files)
    answer(
        {"imported": [{"file": name} | one.as_dict() for name, one in stored]},
        lambda: imported_view(stored, run),
        as_json,
    )
