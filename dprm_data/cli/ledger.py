"""Commands about ledgers: ledger copy, export, stats, check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dprm_data.cli.shared import Json, Quiet, answer, app, note

ledger_app = typer.Typer(
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="The ledger of all calls ever paid for: look at it, check it, copy it, export it.",
)
app.add_typer(ledger_app, name="ledger")

Ledger = Annotated[
    str, typer.Argument(metavar="LEDGER", help="A ledger's file or postgresql:// address, a run folder, or a recipe.")
]


@ledger_app.command()
def stats(ledger: Ledger, as_json: Json = False) -> None:
    """What is in it: calls by run, model and status, tokens, dollars, failures, size."""
    from dprm_data.ledger.factory import opened
    from dprm_data.ledger.stats import stats_of
    from dprm_data.runs.locate_ledger import locate
    from dprm_data.terminal.ledger_view import stats_view

    with opened(locate(ledger)) as store:
        found = stats_of(store)
    answer(found.as_dict(), lambda: stats_view(found), as_json)


@ledger_app.command()
def check(ledger: Ledger, as_json: Json = False) -> None:
    """Whether it is whole: every row, the sums, the shelf, and the database itself. Exit code 1 where it is not."""
    from dprm_data.ledger.factory import opened
    from dprm_data.ledger.verify import check_ledger
    from dprm_data.runs.locate_ledger import locate
    from dprm_data.terminal.ledger_view import check_view

    with opened(locate(ledger)) as store:
        found = check_ledger(store)
    answer(found.as_dict(), lambda: check_view(found), as_json)
    if found.faults:
        raise typer.Exit(1)


@ledger_app.command()
def copy(
    source: Annotated[str, typer.Argument(metavar="FROM", help="A ledger, run folder or recipe.")],
    destination: Annotated[
        str, typer.Argument(metavar="TO", help="A ledger's file or address; empty, or an earlier copy of FROM.")
    ],
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Copy it, from a file into PostgreSQL or back: all attempts, runs and totals.

    Broken off, it goes on where it was; done again, it adds what is new. A destination that holds anything else is refused.
    """
    from dprm_data.core.ledger_address import shown
    from dprm_data.ledger.copy import copy_ledger
    from dprm_data.runs.locate_ledger import locate
    from dprm_data.terminal.ledger_view import copied_view, counting

    to = locate(destination)
    copied = copy_ledger(locate(source), to, tell=counting(note(quiet)))
    answer(copied.as_dict() | {"ledger": shown(to)}, lambda: copied_view(copied, shown(to)), as_json)


@ledger_app.command()
def export(
    ledger: Ledger,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .parquet or .jsonl file to write.")],
    as_json: Json = False,
) -> None:
    """Write all its calls into a file for other programs: texts, tokens, dollars, log-probabilities."""
    from dprm_data.ledger.export import export_calls
    from dprm_data.ledger.factory import opened
    from dprm_data.runs.locate_ledger import locate
    from dprm_data.terminal.ledger_view import exported_view

    with opened(locate(ledger)) as store:
        rows = export_calls(store, file)
    answer({"file": str(file), "calls": rows}, lambda: exported_view(rows, file), as_json)
