"""What the groups of commands share: the application, common options, printing."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from dprm_data.core.errors import InputError

app = typer.Typer(
    name="dprm",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="From prompts and responses to the preference distributions of a whole population.",
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage or input, 3 stopped by the budget, 130 interrupted.",
)


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


def show_summary(job: Any, counters: Any, as_json: bool) -> None:
    from dprm_data.providers.provider import provider_class
    from dprm_data.runs.summary import summarise
    from dprm_data.terminal.run_view import summary_view

    summary = summarise(job.folder, job.space)
    content = {"run": str(job.folder), "summary": summary.as_dict()} | (
        {"annotate": counters.as_dict()} if counters else {}
    )
    demo = provider_class(job.recipe.provider.name).is_demo
    answer(content, lambda: summary_view(summary, job.folder, counters, local=demo), as_json)


def answer(content: dict[str, Any], view: Any, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(content, ensure_ascii=False, default=str) + "\n")
    else:
        from rich.console import Console

        Console(soft_wrap=False).print(view())


def pairs(given: list[str] | None) -> dict[str, str]:
    """--column ours=yours, as a mapping."""
    wrong = next((pair for pair in given or [] if "=" not in pair), None)
    if wrong:
        raise InputError(f"--column {wrong}: must be ours=yours, such as item_id=question")
    return dict(pair.split("=", 1) for pair in given or [])


def only_for_votes(folder: Path, **options: object) -> None:
    """Refuses options that a run folder does not take; None is one that was not given. Raises `InputError`."""
    name = next((name for name, value in options.items() if value is not None), None)
    if name:
        raise InputError(
            f"--{name} is for tables of votes, and {folder} is a run folder",
            hint="Leave it out: a run's recipe and annotations say all that is needed.",
        )


def say(text: str) -> None:
    sys.stdout.write(text + "\n")


def note(quiet: bool) -> Callable[[str], None]:
    """Says a sentence on stderr, or nothing."""
    return (lambda text: None) if quiet else (lambda text: print(text, file=sys.stderr))


def stderr() -> Any:
    from rich.console import Console

    return Console(stderr=True, highlight=False)


@contextmanager
def open_job(recipe: Path, output: Path | None, quiet: bool) -> Iterator[Any]:
    """A run of this recipe, its folder held (where it is not shared), with progress on stderr."""
    from dprm_data.recipe.recipe import Recipe
    from dprm_data.runs.folder import RunFolder
    from dprm_data.runs.run import Run
    from dprm_data.terminal.progress import TerminalProgress

    loaded = Recipe.load(recipe)
    with TerminalProgress(stderr(), quiet=quiet) as progress:
        job = Run(loaded, RunFolder(output) if output else None, progress=progress)
        with job.at_work():
            yield job
