"""The commands publish, pull and report."""

from __future__ import annotations

import sys
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from dprm_data.cli.shared import Json, Quiet, RunArgument, answer, app, note, output_option


class Also(StrEnum):
    unpaired = "unpaired"
    ranked = "ranked"


@app.command()
def publish(
    run: RunArgument,
    repo: Annotated[str, typer.Option("--repo", help="The dataset repository on the Hugging Face Hub: owner/name.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be pushed, and push nothing.")] = False,
    public: Annotated[
        bool,
        typer.Option(
            "--public",
            help="Make the repository public; needs a licence and a statement on personal data. New repositories are private by default.",
        ),
    ] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Overwrite a repository that dprm did not publish, or files that others have changed."
        ),
    ] = False,
    tag: Annotated[
        str | None, typer.Option("--tag", help="The version's tag; by default the next of v1, v2, …")
    ] = None,
    message: Annotated[str | None, typer.Option("--message", "-m", help="The commit message.")] = None,
    test: Annotated[
        float | None, typer.Option("--test", help="The share of prompts in the test split; overrides the recipe.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="The seed of the split; overrides the recipe.")] = None,
    license: Annotated[
        str | None,
        typer.Option("--license", help="The dataset's licence, as an identifier of the Hub: cc-by-4.0, mit, …"),
    ] = None,
    language: Annotated[
        list[str] | None, typer.Option("--language", help="The language of the texts: en, de, … Repeatable.")
    ] = None,
    also: Annotated[
        list[Also] | None,
        typer.Option(
            "--also",
            help="Also publish these configs. unpaired: responses labelled good or bad (KTO); ranked: a prompt's responses in order. Repeatable.",
        ),
    ] = None,
    personal_data: Annotated[
        str | None,
        typer.Option(
            "--personal-data", help="Which personal data the dataset holds, and on what consent. --public needs it."
        ),
    ] = None,
    allow_key_shapes: Annotated[
        bool, typer.Option("--allow-key-shapes", help="Publish texts that look like keys: they are only examples.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Push a run's dataset to the Hugging Face Hub.

    Private unless --public, as one tagged commit. The token is HF_TOKEN, or the one from `hf auth login`.
    """
    from dprm_data.publish.gate import check_public, check_repo_name, check_tag, missing_for_public
    from dprm_data.publish.hub import no_progress_bars
    from dprm_data.publish.publication import prepared
    from dprm_data.publish.push import Known, push
    from dprm_data.runs.run import Run
    from dprm_data.terminal.publish_view import pushed_view

    if quiet or as_json or not sys.stderr.isatty():
        no_progress_bars()
    check_repo_name(repo)
    check_tag(tag)
    settings = {"test": test, "seed": seed, "license": license, "language": language, "personal_data": personal_data}
    settings["also"] = [each.value for each in also or ()]
    job = Run.open(run).with_publish({name: value for name, value in settings.items() if value not in (None, [])})
    if public:
        if sys.stdin and sys.stdin.isatty() and sys.stderr.isatty():
            questions = missing_for_public(job.recipe.publish)
            job = job.with_publish({name: typer.prompt(question, err=True) for name, question in questions.items()})
        check_public(job.recipe.publish)
    with job.folder.held(), prepared(job, repo, allow_key_shapes=allow_key_shapes) as publication:
        pushed = push(
            publication,
            repo,
            Known(job.folder.path),
            public=public,
            force=force,
            dry_run=dry_run,
            tag=tag,
            message=message,
            say=note(quiet or as_json),
        )
        content = asdict(pushed) | {"rows": publication.rows, "bytes": publication.size}
        answer(content, lambda: pushed_view(pushed, publication), as_json)


@app.command()
def pull(
    repo: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="A dataset that dprm published.")],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The run folder to create.")],
    revision: Annotated[str | None, typer.Option("--revision", help="A version's tag, a branch or a commit.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Create a run folder from a published dataset.

    To inspect, refit or update it.
    """
    from dprm_data.publish.hub import no_progress_bars
    from dprm_data.publish.pull import pull as pull_dataset
    from dprm_data.terminal.publish_view import pulled_view

    if quiet or as_json or not sys.stderr.isatty():
        no_progress_bars()
    made = pull_dataset(repo, folder, revision=revision, say=note(quiet or as_json))
    content = {"run": str(made), "pulled": made.read_manifest()["pulled"]}
    answer(content, lambda: pulled_view(made.path, made.recipe().name, repo), as_json)


@app.command()
def report(
    run: RunArgument,
    against: Annotated[
        Path | None, typer.Option("--against", help="Another run folder to compare this run with.")
    ] = None,
    output: Annotated[
        Path | None,
        output_option("The HTML file to write, or a folder for it; by default report.html in the run folder."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write an HTML page about a run.

    Questions, cost, failures, agreement, fit and the most divided items.
    """
    from dprm_data.core.tables import asked_for, write_text
    from dprm_data.publish.report.page import report as report_of
    from dprm_data.runs.run import Run
    from dprm_data.terminal.publish_view import report_view

    job = Run.open(run)
    page = report_of(job, Run.open(against) if against else None)
    path = output / "report.html" if output and output.is_dir() else output or job.folder.path / "report.html"
    with asked_for(path):
        write_text(path, page)
    length = len(page.encode())
    answer({"report": str(path), "bytes": length}, lambda: report_view(path, length), as_json)
