"""Commands on ledgers: ledger stats, check, settle, copy, export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dprm_data.cli.shared import Json, Quiet, answer, group, note, output_option, output_or_file

ledger_app = group("ledger", "Inspect, check, settle, copy or export paid calls.")

Ledger = Annotated[
    str,
    typer.Argument(metavar="LEDGER", help="A ledger's file or address (postgresql://…), a run folder, or a recipe."),
]


@ledger_app.command()
def stats(ledger: Ledger, as_json: Json = False) -> None:
    """Show calls by run, model and status, with tokens, dollars, failures and size."""
    from dprm_data.ledger.factory import opened
    from dprm_data.ledger.stats import stats_of
    from dprm_data.runs.locate_ledger import locate
    from dprm_data.terminal.ledger_view import stats_view

    with opened(locate(ledger)) as store:
        found = stats_of(store)
    answer(found.as_dict(), lambda: stats_view(found), as_json)


@ledger_app.command()
def check(ledger: Ledger, as_json: Json = False) -> None:
    """Check the ledger's integrity: rows, totals, pending batches, database. Exits with 1 if it has faults."""
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
def settle(
    ledger: Ledger,
    billed: Annotated[
        float, typer.Option("--billed", help="Dollars that the provider billed for these calls; 0 if it billed none.")
    ],
    run: Annotated[
        str | None, typer.Option("--run", help="The recipe's name, if calls of several are to be settled.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Record what the provider billed for calls in flight of killed processes. Until then budgets count their worst case (`dprm ledger stats` shows it)."""
    from dprm_data.ledger.settle import settle as settle_holds
    from dprm_data.runs.locate_ledger import locate
    from dprm_data.terminal.ledger_view import settled_view

    settled = settle_holds(locate(ledger), billed, run)
    answer(settled.as_dict(), lambda: settled_view(settled), as_json)


@ledger_app.command()
def copy(
    source: Annotated[str, typer.Argument(metavar="FROM", help="A ledger, run folder or recipe.")],
    destination: Annotated[
        str, typer.Argument(metavar="TO", help="A ledger's file or address: a new one, or an earlier copy of FROM.")
    ],
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Copy a ledger, between files and PostgreSQL: all attempts, runs and totals.

    An interrupted copy resumes when repeated, and a repeated one adds what is new. A destination that holds anything else is refused.
    """
    from dprm_data.ledger.copy import copy_ledger
    from dprm_data.runs.locate_ledger import locate
    from dprm_data.terminal.ledger_view import copied_view, row_counter

    to = locate(destination)
    copied = copy_ledger(locate(source), to, on_progress=row_counter(note(quiet or as_json)))
    answer(copied.as_dict() | {"ledger": to.shown}, lambda: copied_view(copied, to.shown), as_json)


@ledger_app.command()
def export(
    ledger: Ledger,
    file: Annotated[Path | None, typer.Argument(hidden=True)] = None,
    output: Annotated[Path | None, output_option("The .parquet or .jsonl file to write. Required.")] = None,
    as_json: Json = False,
) -> None:
    """Write all calls to a file: texts, tokens, dollars, log-probabilities."""
    from dprm_data.core.tables import asked_for
    from dprm_data.ledger.export import export_calls
    from dprm_data.ledger.factory import opened
    from dprm_data.runs.locate_ledger import locate
    from dprm_data.terminal.ledger_view import exported_view

    path = output_or_file(output, file)
    with opened(locate(ledger)) as store, asked_for(path):
        rows = export_calls(store, path)
    answer({"file": str(path), "calls": rows}, lambda: exported_view(rows, path), as_json)
