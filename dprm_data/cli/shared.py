"""What the groups of commands share: the application, common options, printing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from typer.core import TyperCommand

from dprm_data.cli import renamed
from dprm_data.core.errors import InputError, Interrupted
from dprm_data.core.text import visible
from dprm_data.core.version import __version__

Function = TypeVar("Function", bound=Callable[..., Any])


class Commands(renamed.Commands):
    """The application. What it quotes from a wrong command line (which may hold a stranger's file name) is made visible."""

    def make_context(self, *arguments: Any, **settings: Any) -> Any:
        with _visible_errors():
            return super().make_context(*arguments, **settings)

    def invoke(self, ctx: Any) -> Any:
        with _visible_errors():
            return super().invoke(ctx)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        from dprm_data.cli.overview import overview
        from dprm_data.terminal.console import print_view

        print_view(overview(self, formatter.width))


class App(typer.Typer):
    """A group of commands."""

    def command(
        self, name: str | None = None, *, cls: type[TyperCommand] | None = None, **settings: Any
    ) -> Callable[[Function], Function]:
        """A decorator: the function is a command of this group."""
        return super().command(name, cls=cls or renamed.Command, **settings)


@contextmanager
def _visible_errors() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if hasattr(error, "format_message"):  # a usage error of Typer's, whose class is not public
            for name in ("message", "option_name"):
                if isinstance(text := getattr(error, name, None), str):
                    setattr(error, name, visible(text))
        raise


_SETTINGS: dict[str, Any] = {
    "no_args_is_help": True,
    "add_completion": False,
    "rich_markup_mode": "rich",
    "context_settings": {"help_option_names": ["-h", "--help"]},
}
app = App(
    name="dprm",
    cls=Commands,
    help="From prompts and responses to the preference distributions of a population.",
    epilog="Exit codes: 0 success, 1 failure, 2 invalid input, 3 budget, 130 interrupted",
    **_SETTINGS,
)


def group(name: str, text: str) -> App:
    """A new group of commands of the application, with its help text."""
    added = App(help=text, **_SETTINGS)
    app.add_typer(added, name=name)
    return added


def _print_version(wanted: bool) -> None:
    if wanted:
        say(f"dprm-data {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None: ...


RecipeFile = Annotated[Path, typer.Argument(metavar="RECIPE", help="The recipe (YAML). `dprm init` writes one.")]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Start without asking.")]
MaxCost = Annotated[
    float | None,
    typer.Option(
        "--max-cost",
        min=0,
        help="The budget in dollars, overriding the recipe's. The run stops before it would exceed it.",
    ),
]
RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", help="Ask again for annotations that ended without a label.")
]
Labels = Annotated[
    str | None,
    typer.Option("--labels", help="For votes: a bundled label space, a number of levels K, or a YAML file."),
]
RunOrVotes = Annotated[
    Path,
    typer.Argument(
        metavar="RUN|VOTES", help="A run folder, or a table of votes (CSV, Excel, Parquet, or hf://org/name)."
    ),
]


def output_option(text: str, **settings: Any) -> Any:
    """The option for the file or folder that a command writes: the same for all commands."""
    return typer.Option("--output", "-o", help=text, **settings)


Output = Annotated[Path | None, output_option("The run folder, overriding the recipe's.")]


def show_summary(job: Any, counters: Any, as_json: bool) -> None:
    """Print the verdict on a run and its summary, with the counters of this process's calls if it made any."""
    from dprm_data.runs.pair_findings import pair_findings
    from dprm_data.runs.summary import summarise
    from dprm_data.runs.verdict import verdict
    from dprm_data.terminal.summary_view import summary_view

    found, summary = verdict(job), summarise(job.folder, job.space)
    content = {"run": str(job.folder), "verdict": found.as_dict(), "summary": summary.as_dict()}
    pairs = pair_findings(job) if summary.comparisons else None
    if pairs:
        content["pairs"] = asdict(pairs)
    if counters:
        content["annotate"] = counters.as_dict()
    demo = job.recipe.is_demo
    answer(content, lambda: summary_view(found, summary, job.folder, counters, local=demo, pairs=pairs), as_json)


def output_or_file(output: Path | None, file: Path | None) -> Path:
    """The file named by --output, which was an argument in former versions. Raises `InputError` if there is none."""
    if output is None and file is None:
        raise InputError("--output is missing", hint="Name the file to write: --output FILE.")
    if output is None:
        note(False)("FILE is now --output FILE")
    return output or Path(str(file))


def answer(content: dict[str, Any], view: Any, as_json: bool) -> None:
    """Print the command's result on stdout: `content` as JSON, or what `view()` returns."""
    from dprm_data.terminal.console import print_json, print_view

    if as_json:
        print_json(content)
    else:
        print_view(view())


def only_for_votes(path: Path, **options: object) -> None:
    """Refuse options of a table of votes for a run folder; an option is None if it was not given. Raises `InputError`."""
    from dprm_data.runs.folder import RunFolder

    name = next((name for name, value in options.items() if value is not None), None)
    if name and RunFolder.at(path):
        raise InputError(
            f"--{name.replace('_', '-')} is for tables of votes, and {path} is a run folder",
            hint="Omit it: the run's recipe and annotations have all that is needed.",
        )


def say(text: str) -> None:
    """Print a line on stdout."""
    from dprm_data.terminal.console import print_line

    print_line(text)


def note(quiet: bool) -> Callable[[str], None]:
    """A function that prints a line on stderr, or nothing if `quiet`."""
    from dprm_data.terminal.console import print_note

    return (lambda text: None) if quiet else print_note


def stderr() -> Any:
    """A console on stderr, for progress."""
    from dprm_data.terminal.console import stderr_console

    return stderr_console()


def confirm_start(progress: Any) -> None:
    """Ask on a terminal whether to start. A "no" ends the command."""
    if sys.stdin.isatty() and sys.stderr.isatty():
        with progress.paused():
            typer.confirm("Start?", default=True, abort=True, err=True)


@contextmanager
def open_job(recipe: Path, output: Path | None, quiet: bool, *, calls: bool = True) -> Iterator[Any]:
    """A run of this recipe with progress on stderr; its folder is locked, unless workers share the run. calls: whether calls will be made."""
    import pyarrow as pa

    from dprm_data.core.no_pandas import keep_pandas_out
    from dprm_data.recipe.recipe import Recipe
    from dprm_data.recipe.trust import check
    from dprm_data.runs.folder import RunFolder
    from dprm_data.runs.run import Run
    from dprm_data.terminal.progress import TerminalProgress

    loaded = Recipe.load(recipe)
    check(loaded, calls=calls)
    pa.set_memory_pool(pa.system_memory_pool())  # Arrow's own keeps 20 MiB more of what was freed
    if not (loaded.source and loaded.source.dataset):  # the package `datasets` uses pandas
        keep_pandas_out()
    with TerminalProgress(stderr(), quiet=quiet) as progress:
        job = Run(loaded, RunFolder(output) if output else None, progress=progress)
        with interrupts_in_words(job.folder.path, progress), job.at_work():
            yield job


@contextmanager
def interrupts_in_words(folder: Path, progress: Any) -> Iterator[None]:
    """Say after Ctrl-C what was under way, that nothing is lost, and where to look. Raises `Interrupted`."""
    look = f"What is paid, and what to do: dprm status {folder}"
    try:
        yield
    except Interrupted as stopped:
        stopped.hint = f"{stopped.hint}\n{look}" if stopped.hint else look
        raise
    except KeyboardInterrupt:
        raise Interrupted(
            f"interrupted while {progress.doing}",
            hint=f"Nothing that was paid for is lost. Run the same command again to continue.\n{look}",
        ) from None
