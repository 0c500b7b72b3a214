"""Ledgers on the terminal."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dprm_data.core.text import visible
from dprm_data.ledger.copy import Copied
from dprm_data.ledger.stats import Stats
from dprm_data.ledger.verify import Check

_EVERY = 2.0  # seconds between lines of progress


def stats_view(stats: Stats) -> RenderableType:
    """Groups of calls, failures, and the whole in two lines."""
    calls = _table("run", "model", "status", "calls", "tokens in", "tokens out", "dollars", "until")
    for group in stats.groups:
        dollars = f"{group.cost:,.4f}" + (" + ?" if group.unpriced else "")
        calls.add_row(
            *(Text(visible(text)) for text in (group.run, group.model or "–", group.status)),
            *(f"{group.calls:,}", f"{group.input_tokens:,}", f"{group.output_tokens:,}", dollars, _day(group.last)),
        )
    failures = _table("run", "failed attempts", "times", "dollars")
    for failed in stats.failures:
        failures.add_row(Text(visible(failed.run)), failed.kind, f"{failed.attempts:,}", f"{failed.cost:,.4f}")
    whole = (
        f"{stats.calls:,} calls, {sum(stats.totals.values()):,.4f} dollars, {stats.done:,} items done, "
        f"{stats.batches:,} batches at a provider, {stats.bytes / 1e6:,.1f} MB"
    )
    unpriced = sum(group.unpriced for group in stats.groups)
    if unpriced:
        whole += f"; the price of {unpriced:,} calls (?) is not known"
    estimated = sum(group.estimated for group in stats.groups)
    if estimated:
        whole += (
            f"; the tokens of {estimated:,} calls are estimated, and their dollars the most that they can have cost"
        )
    parts: list[RenderableType] = [calls] if stats.groups else []
    parts += [Text(""), failures] if stats.failures else []
    return Group(Text(visible(stats.ledger), style="bold"), *parts, Text(whole))


def check_view(check: Check) -> RenderableType:
    """One line where it is whole, else one for every fault."""
    if not check.faults:
        return Text(f"{check.ledger} is whole: {check.calls:,} calls.")
    return Group(
        Text(f"{check.ledger} is not whole ({check.calls:,} calls):", style="bold"),
        *(Text(f"- {visible(fault)}") for fault in check.faults),
    )


def copied_view(copied: Copied, where: str) -> RenderableType:
    return Text(
        f"{where} holds {copied.calls:,} calls, {copied.failures:,} failed attempts, {copied.done:,} items done and "
        f"{copied.batches:,} batches; {copied.written:,} rows were written now."
    )


def exported_view(calls: int, file: Path) -> RenderableType:
    return Text(f"{calls:,} calls are in {visible(str(file))}.")


def row_counter(say: Callable[[str], None]) -> Callable[[int], None]:
    """Reports the number of rows read so far, every two seconds."""
    last = time.monotonic()

    def report(rows: int) -> None:
        nonlocal last
        if time.monotonic() - last >= _EVERY:
            last = time.monotonic()
            say(f"{rows:,} rows")

    return report


def _table(*names: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in names:
        table.add_column(name, justify="left" if name in ("run", "model", "status", "failed attempts") else "right")
    return table


def _day(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")
    except (OverflowError, ValueError, OSError):
        return "–"
