"""The command `dprm`. Only parses and prints: what it does is in the modules that it imports when a command runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from dprm_data.errors import DprmError, InputError

app = typer.Typer(
    name="dprm",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="From prompts and responses to the preference distributions of a whole population.",
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage or input, 3 stopped by the budget, 130 interrupted.",
)


class Family(StrEnum):
    empirical = "empirical"
    dirichlet = "dirichlet"
    beta = "beta"
    beta_dirichlet = "beta-dirichlet"
    mixture = "mixture"
    auto = "auto"


class Duplicates(StrEnum):
    error = "error"
    first = "first"
    last = "last"
    all = "all"
    mean = "mean"


RecipeFile = Annotated[Path, typer.Argument(metavar="RECIPE", help="The recipe (YAML). `dprm init` writes one.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout instead of text.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="The run folder, in place of the recipe's.")]
MaxCost = Annotated[
    float | None,
    typer.Option(
        "--max-cost", min=0, help="Dollars, in place of the recipe's budget. The run stops before it would exceed them."
    ),
]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Ask again what ended without a label.")]


@app.command()
def init(
    path: Annotated[Path, typer.Argument(help="Where to write the recipe.")] = Path("recipe.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Write over a file that exists.")] = False,
) -> None:
    """Write a commented recipe to start from."""
    from dprm_data.scaffold import write_recipe

    write_recipe(path, force=force)
    _say(f"wrote {path}\nNext: edit it, then dprm plan {path}")


@app.command()
def plan(recipe: RecipeFile, output: Output = None, as_json: Json = False, quiet: Quiet = False) -> None:
    """Say how many calls, tokens and dollars a run will be. Makes no call."""
    from dprm_data.show import plan_view

    with _job(recipe, output, quiet or as_json) as job:
        job.ingest()
        planned = job.plan()
        budget = job.recipe.budget.max_cost
    _answer(planned.as_dict() | {"budget": budget}, lambda: plan_view(planned, budget), as_json)


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
    from dprm_data.run import annotate_and_keep, prepare

    with _job(recipe, output, quiet or as_json) as job:
        prepare(job)
        tally = annotate_and_keep(job, max_cost=max_cost, retry_failed=retry_failed, fit=fit)
    if fit:
        _show_summary(job, tally, as_json)
    else:
        from dprm_data.show import tally_line

        _answer({"run": str(job.folder), "annotate": tally.as_dict()}, lambda: tally_line(tally), as_json)


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
        Family | None,
        typer.Option("--family", help="The family of distributions (docs/statistics.md says when to use which)."),
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
        Duplicates,
        typer.Option("--duplicates", help="For votes: what counts where a rater rates an item more than once."),
    ] = Duplicates.error,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Votes to distributions: of a run, or of any table of people's ratings. Makes no call."""
    if what.is_dir():
        _fit_run(what, {"labels": labels, "out": out, "column": column}, family, as_json, quiet)
    else:
        _fit_votes(what, labels, family or Family.beta, out, column or [], duplicates, as_json)


def _fit_run(folder: Path, not_for_runs: dict[str, Any], family: Family | None, as_json: bool, quiet: bool) -> None:
    given = next((name for name, value in not_for_runs.items() if value), None)
    if given:
        raise InputError(f"--{given} is for tables of votes; {folder} is a run folder, whose recipe says that")
    from dprm_data.progress import TerminalProgress
    from dprm_data.run import Run

    with TerminalProgress(_stderr(), quiet=quiet or as_json) as progress:
        job = Run.open(folder, progress)
        with job.folder.held():
            job.collect()
            job.fit(**({"family": family.value} if family else {}))
    _show_summary(job, None, as_json)


def _fit_votes(
    votes_file: Path,
    labels: str | None,
    family: Family,
    out: Path | None,
    column: list[str],
    duplicates: Duplicates,
    as_json: bool,
) -> None:
    if labels is None or out is None:
        missing = "--labels" if labels is None else "--out"
        raise InputError(
            f"{missing} is missing",
            hint=f"dprm fit {votes_file} --labels <name | K | file> --out distributions.parquet",
        )
    from dprm_data.labels import LabelSpace
    from dprm_data.preference import fit as fit_votes
    from dprm_data.preference import read_votes
    from dprm_data.show import fit_view
    from dprm_data.tables import write_parquet

    space = LabelSpace.load(labels)
    fitted = fit_votes(
        read_votes(votes_file, space, columns=_pairs(column), duplicates=duplicates.value), space, family=family.value
    )
    table = fitted.to_table()
    write_parquet(out, table.schema, [table])
    _answer({"out": str(out), **fitted.summary()}, lambda: fit_view(fitted, space, out), as_json)


@app.command()
def show(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    item: Annotated[str | None, typer.Option("--item", help="One item by its id (or the beginning of it).")] = None,
    persona: Annotated[str | None, typer.Option("--persona", help="One annotator by its id.")] = None,
    personas: Annotated[bool, typer.Option("--personas", help="What every annotator did.")] = False,
    as_json: Json = False,
) -> None:
    """Show a run, one of its items with every vote, or its annotators."""
    from dprm_data.inspecting import find_annotator, find_item
    from dprm_data.run import Run
    from dprm_data.show import annotator_view, item_view, personas_view
    from dprm_data.summary import annotators

    job = Run.open(run)
    space = job.space
    if item:
        row, votes = find_item(job.folder, item)
        _answer({"item": row, "annotations": votes}, lambda: item_view(row, votes, space), as_json)
    elif persona:
        who, rows = find_annotator(job.folder, persona)
        _answer(
            {"persona": who, "annotations": rows.to_pylist()},
            lambda: annotator_view(persona, who, rows, space),
            as_json,
        )
    elif personas:
        lines = annotators(job.folder, space)
        _answer({"annotators": [asdict(line) for line in lines]}, lambda: personas_view(lines), as_json)
    else:
        _show_summary(job, None, as_json)


@app.command()
def panels(
    name: Annotated[str | None, typer.Argument(help="A panel's name or file; all bundled ones if not given.")] = None,
    as_json: Json = False,
) -> None:
    """List the bundled panels, or the personas of one."""
    from dprm_data.catalogue import panel_entries, panel_view, panels_view
    from dprm_data.personas import load_panel

    if name:
        panel = load_panel(name)
        _answer(panel.model_dump(mode="json"), lambda: panel_view(panel), as_json)
    else:
        entries = panel_entries()
        _answer({"panels": entries}, lambda: panels_view(entries), as_json)


@app.command()
def labels(
    name: Annotated[
        str | None,
        typer.Argument(help="A label space's name, file, or number of levels; all bundled ones if not given."),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the bundled label spaces, or the labels and the ground cost of one."""
    from dprm_data.catalogue import space_entries, space_view, spaces_view
    from dprm_data.labels import LabelSpace

    if name:
        space = LabelSpace.load(name)
        _answer(
            space.model_dump(mode="json")
            | {"ground_cost": space.ground_cost.tolist(), "triangle_violations": space.triangle_violations()},
            lambda: space_view(space),
            as_json,
        )
    else:
        entries = space_entries()
        _answer({"label_spaces": entries}, lambda: spaces_view(entries), as_json)


# -- printing ---------------------------------------------------------------------------------------------------------


def _show_summary(job: Any, tally: Any, as_json: bool) -> None:
    from dprm_data.show import summary_view
    from dprm_data.summary import summarise

    summary = summarise(job.folder, job.space)
    content = {"run": str(job.folder), "summary": summary.as_dict()} | ({"annotate": tally.as_dict()} if tally else {})
    _answer(
        content, lambda: summary_view(summary, job.folder, tally, local=job.recipe.provider.name == "local"), as_json
    )


def _answer(content: dict[str, Any], view: Any, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(content, ensure_ascii=False, default=str) + "\n")
    else:
        from rich.console import Console

        Console(soft_wrap=False).print(view())


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


def _stderr() -> Any:
    from rich.console import Console

    return Console(stderr=True, highlight=False)


@contextmanager
def _job(recipe: Path, output: Path | None, quiet: bool) -> Iterator[Any]:
    """A run of this recipe, its folder held, with progress on stderr."""
    from dprm_data.folder import RunFolder
    from dprm_data.progress import TerminalProgress
    from dprm_data.recipe import Recipe
    from dprm_data.run import Run

    loaded = Recipe.load(recipe)
    with TerminalProgress(_stderr(), quiet=quiet) as progress:
        job = Run(loaded, RunFolder(output) if output else None, progress=progress)
        with job.folder.held():
            yield job


def _pairs(given: list[str]) -> dict[str, str]:
    wrong = next((pair for pair in given if "=" not in pair), None)
    if wrong:
        raise InputError(f"--column {wrong}: must be ours=yours, such as item_id=question")
    return dict(pair.split("=", 1) for pair in given)


def main() -> None:
    """The console script: a user's mistake is a message and an exit code, never a traceback."""
    try:
        app()
    except DprmError as error:
        sys.stderr.write(f"dprm: {error}\n")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.stderr.write("dprm: interrupted\n")
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)


if __name__ == "__main__":
    main()
