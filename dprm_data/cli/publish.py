"""Commands that share a dataset: publish, pull, report."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from dprm_data.cli.shared import Json, Quiet, answer, app, note, say

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]


@app.command()
def publish(
    run: RunArgument,
    repo: Annotated[str, typer.Option("--repo", help="The dataset repository on the Hugging Face Hub: owner/name.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be pushed.")] = False,
    public: Annotated[
        bool, typer.Option("--public", help="For everybody to see. New repositories are private.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Write over what is not ours, or what others have changed.")
    ] = False,
    tag: Annotated[str | None, typer.Option("--tag", help="The version's tag; v1, v2, … if not given.")] = None,
    message: Annotated[str | None, typer.Option("--message", "-m", help="The commit's message.")] = None,
    test: Annotated[
        float | None, typer.Option("--test", help="The share of prompts kept for testing, in place of the recipe's.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Of the split, in place of the recipe's.")] = None,
    license: Annotated[str | None, typer.Option("--license", help="Of the dataset, as the Hub spells it.")] = None,
    language: Annotated[
        list[str] | None, typer.Option("--language", help="Of the texts: en, de, … May be given again.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Push a run's dataset to the Hugging Face Hub: private, one commit, one tag. The token is HF_TOKEN or your login's."""
    from dprm_data.publish.hub import no_progress_bars
    from dprm_data.publish.publication import prepared
    from dprm_data.publish.push import Known, push
    from dprm_data.runs.run import Run
    from dprm_data.terminal.publish_view import pushed_view

    if quiet or as_json or not sys.stderr.isatty():
        no_progress_bars()
    given = {"test": test, "seed": seed, "license": license, "language": language}
    job = Run.open(run).with_publish({name: value for name, value in given.items() if value not in (None, [])})
    with job.folder.held(), prepared(job, repo) as publication:
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
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The run folder to make; it must not exist yet.")],
    revision: Annotated[str | None, typer.Option("--revision", help="A version's tag, a branch or a commit.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a run folder of a published dataset, to look at it, fit it again or go on updating it."""
    from dprm_data.publish.hub import no_progress_bars
    from dprm_data.publish.pull import pull as pull_dataset
    from dprm_data.runs.run import Run

    if quiet or as_json or not sys.stderr.isatty():
        no_progress_bars()
    made = pull_dataset(repo, folder, revision=revision, say=note(quiet or as_json))
    if as_json:
        answer({"run": str(made), "pulled": made.read_manifest()["pulled"]}, None, as_json)
    else:
        name = Run.open(folder).recipe.name
        say(f"{made}: run {name} from {repo}\nNext: dprm show {made}, dprm fit {made}, dprm report {made}")


@app.command()
def report(
    run: RunArgument,
    against: Annotated[Path | None, typer.Option("--against", help="Another run folder, to compare with.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The file; report.html in the run folder if not given.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write one HTML page about a run: what was asked, cost, failures, agreement, fit, and its most divided items."""
    from dprm_data.core.tables import write_text
    from dprm_data.publish.report.page import report as report_of
    from dprm_data.runs.run import Run

    job = Run.open(run)
    page = report_of(job, Run.open(against) if against else None)
    path = out or job.folder.path / "report.html"
    write_text(path, page)
    if as_json:
        answer({"report": str(path), "bytes": len(page.encode())}, None, as_json)
    else:
        say(f"wrote {path} ({len(page.encode()) / 1e6:.1f} MB). Open it in a browser.")
