"""Commands by which people look at the simulated labels: review push, pull, compare, calibrate, export, import."""

from __future__ import annotations

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
    from dprm_data.review.show import pushed_view
    from dprm_data.run import Run

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
    from dprm_data.review.show import pulled_view
    from dprm_data.run import Run

    job = Run.open(run)
    with job.folder.held():
        pulled = pull_answers(job, workspace=workspace, dataset=dataset)
    answer({"pulled": [one.as_dict() for one in pulled]}, lambda: pulled_view(pulled, run), as_json)
