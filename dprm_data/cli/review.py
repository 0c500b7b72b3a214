"""Commands for a review of the simulated labels by people: review push, pull, compare, calibrate, mean, plan, export, import."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from dprm_data.cli.shared import Json, Quiet, RunArgument, answer, group, note, output_option, output_or_file

review = group("review", "Have people review simulated labels; learn from them.")


class Select(StrEnum):
    divided = "divided"
    uncertain = "uncertain"
    gain = "gain"
    preferences = "preferences"
    random = "random"
    stratified = "stratified"
    ids = "ids"


class What(StrEnum):
    items = "items"
    pairs = "pairs"


Shown = Annotated[
    What | None,
    typer.Option(
        "--what",
        help="What people see. items: one response, to be labelled; pairs: two responses, which is better? By default pairs where the run has nothing but comparisons.",
    ),
]
Purpose = Annotated[
    Select,
    typer.Option(
        "--select",
        help="Which items, or pairs (divided, uncertain, random, ids). divided: the panel disagrees most; uncertain: the reward is least certain; gain: answers lower the error of all items most (see review plan); preferences: answers put most published pairs in their right order; random: figures hold for all items; "
        "stratified: equally many of each most likely label; ids: those given with --id.",
    ),
]
Records = Annotated[int, typer.Option("--records", min=1, help="Total records, including those pushed before.")]
Ids = Annotated[list[str] | None, typer.Option("--id", help="An item's id, or the beginning of it. Repeatable.")]
Seed = Annotated[int, typer.Option("--seed", help="The seed of random selection.")]
Blind = Annotated[
    bool,
    typer.Option("--blind", help="Hide the panel's answers and figures, so that people judge independently."),
]


@review.command()
def push(
    run: RunArgument,
    workspace: Annotated[str, typer.Option("--workspace", "-w", help="An existing Argilla workspace.")],
    dataset: Annotated[str, typer.Option("--dataset", "-d", help="The Argilla dataset to create or update.")],
    what: Shown = None,
    select: Purpose = Select.divided,
    records: Records = 100,
    people: Annotated[int, typer.Option("--people", min=1, help="Answers requested per record.")] = 3,
    ids: Ids = None,
    seed: Seed = 0,
    blind: Blind = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Render messages as Markdown instead of plain text.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Push items, or pairs of responses, to Argilla for review.

    Repeated, it updates the records and keeps all answers. The server and account are ARGILLA_API_URL and ARGILLA_API_KEY.
    """
    from dprm_data.review.argilla import push as push_records
    from dprm_data.review.shown_pairs import default_of
    from dprm_data.runs.run import Run
    from dprm_data.terminal.review_view import pushed_view

    job = Run.open(run)
    with job.folder.held():
        pushed = push_records(
            job,
            workspace=workspace,
            dataset=dataset,
            what=what.value if what else default_of(job),
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
    workspace: Annotated[str | None, typer.Option("--workspace", "-w", help="Pull only from this workspace.")] = None,
    dataset: Annotated[str | None, typer.Option("--dataset", "-d", help="Pull only from this dataset.")] = None,
    as_json: Json = False,
) -> None:
    """Fetch people's answers from every Argilla dataset that the run was pushed to. Repeated, it fetches what has changed."""
    from dprm_data.review.argilla import pull as pull_answers
    from dprm_data.runs.run import Run
    from dprm_data.terminal.review_view import pulled_view

    job = Run.open(run)
    with job.folder.held():
        pulled = pull_answers(job, workspace=workspace, dataset=dataset)
    answer({"pulled": [each.as_dict() for each in pulled]}, lambda: pulled_view(pulled, run), as_json)


@review.command()
def compare(
    run: RunArgument,
    level: Annotated[float, typer.Option("--level", min=0.5, max=0.999, help="The level of the intervals.")] = 0.95,
    worst: Annotated[int, typer.Option("--worst", min=0, help="How many of the items that differ most to show.")] = 10,
    as_json: Json = False,
) -> None:
    """Compare the panel with people: distance, agreement, confusion, bias, personas and items."""
    from dprm_data.review.compare import compare_and_keep
    from dprm_data.runs.run import Run
    from dprm_data.terminal.comparison_view import comparison_view

    job = Run.open(run)
    with job.folder.held():
        found = compare_and_keep(job, level=level)
    answer(found.as_dict(), lambda: comparison_view(found, worst), as_json)


@review.command()
def calibrate(
    run: RunArgument,
    level: Annotated[
        float, typer.Option("--level", min=0.5, max=0.999, help="The level of the gain's interval.")
    ] = 0.9,
    discard: Annotated[bool, typer.Option("--discard", help="Discard the calibration, and fit without it.")] = False,
    as_json: Json = False,
) -> None:
    """Calibrate the panel with people's answers and fit all items again. Reports how many people the panel is worth."""
    from dprm_data.pipeline import stages
    from dprm_data.review.apply_calibration import discard as discard_calibration
    from dprm_data.review.calibrate import calibrate as learn
    from dprm_data.runs.run import Run
    from dprm_data.terminal.calibration_view import calibration_view
    from dprm_data.terminal.review_view import discarded_view

    job = Run.open(run)
    with job.folder.held():
        if discard:
            existed = discard_calibration(job.folder)
            stages.fit(job)
            answer({"discarded": existed}, lambda: discarded_view(existed), as_json)
            return
        found = learn(job, level=level)
        stages.fit(job)
    answer(found.as_dict(), lambda: calibration_view(found, job), as_json)


@review.command()
def mean(
    run: RunArgument,
    label: Annotated[
        str | None, typer.Option("--label", help="The share of this label instead of the mean reward.")
    ] = None,
    by: Annotated[
        str | None,
        typer.Option("--by", help="Groups of items and their differences: a column of the source's rows, or source."),
    ] = None,
    level: Annotated[float, typer.Option("--level", min=0.5, max=0.999, help="The level of the intervals.")] = 0.9,
    as_json: Json = False,
) -> None:
    """Estimate people's mean reward over all items, from the panel and the answers of a few people."""
    from dprm_data.review.mean import means
    from dprm_data.runs.run import Run
    from dprm_data.terminal.means_view import means_view

    found = means(Run.open(run), label=label, by=by, level=level)
    answer(found.as_dict(), lambda: means_view(found), as_json)


@review.command()
def plan(
    run: RunArgument,
    answers: Annotated[
        str, typer.Option("--answers", metavar="N[,N...]", help="How many more answers, several with commas.")
    ] = "100",
    people: Annotated[int, typer.Option("--people", min=1, help="Answers per item.")] = 3,
    by: Annotated[
        str | None,
        typer.Option("--by", help="Groups of items: a column of the source's rows, or source. Default: the sources."),
    ] = None,
    level: Annotated[float, typer.Option("--level", min=0.5, max=0.999, help="The level of the intervals.")] = 0.9,
    as_json: Json = False,
) -> None:
    """Estimate what more human answers would buy, and on which items and groups: the expected error of all items now and after, on random items and on chosen ones.

    Works before the first answer, too (the panel's error is then assumed). Makes no call. review push --select gain sends the chosen items.
    """
    from dprm_data.review.answer_plan import answer_plan, numbers_of
    from dprm_data.runs.run import Run
    from dprm_data.terminal.answer_plan_view import answer_plan_view

    found = answer_plan(Run.open(run), numbers_of(answers), people=people, by=by, level=level)
    answer(found.as_dict(), lambda: answer_plan_view(found, run), as_json)


@review.command()
def export(
    run: RunArgument,
    file: Annotated[Path | None, typer.Argument(hidden=True)] = None,
    output: Annotated[Path | None, output_option("The .csv or .jsonl file to write. Required.")] = None,
    what: Shown = None,
    select: Purpose = Select.divided,
    records: Records = 100,
    ids: Ids = None,
    seed: Seed = 0,
    blind: Blind = False,
    as_json: Json = False,
) -> None:
    """Write items, or pairs of responses, to a table for people to fill in, without Argilla."""
    from dprm_data.review.csv_exchange import export as export_items
    from dprm_data.review.shown_pairs import default_of
    from dprm_data.runs.run import Run
    from dprm_data.terminal.review_view import exported_view

    path = output_or_file(output, file)
    job = Run.open(run)
    with job.folder.held():
        shown = what.value if what else default_of(job)
        done = export_items(
            job, path, what=shown, purpose=select.value, count=records, ids=ids or [], seed=seed, blind=blind
        )
    answer(asdict(done), lambda: exported_view(done, run, path), as_json)


@review.command("import")
def import_(
    run: RunArgument,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Filled-in .csv or .jsonl files.")],
    as_json: Json = False,
) -> None:
    """Import people's answers from tables. A file replaces the answers imported before from a file of the same name."""
    from dprm_data.review.csv_exchange import import_answers
    from dprm_data.runs.run import Run
    from dprm_data.terminal.review_view import imported_view

    job = Run.open(run)
    with job.folder.held():
        stored = import_answers(job, files)
    content = {"imported": [{"file": name} | answers.as_dict() for name, answers in stored]}
    answer(content, lambda: imported_view(stored, run), as_json)
