"""Terminal views of ledgers: contents, check, copy, export."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Group, RenderableType
from rich.text import Text

from dprm_data.core.format import day, money, size
from dprm_data.core.text import visible
from dprm_data.ledger.copy import Copied
from dprm_data.ledger.settle import Settled
from dprm_data.ledger.stats import Stats
from dprm_data.ledger.verify import Check
from dprm_data.terminal.table import table

_EVERY = 2.0  # seconds between lines of progress


def stats_view(stats: Stats) -> RenderableType:
    """Calls by run, model and status; failed attempts; totals."""
    calls = table(
        "run", "model", "status", "calls", "tokens in", "tokens out", "cost", "last call", left=("model", "status")
    )
    for group in stats.groups:
        cost = money(group.cost) + (" + ?" if group.unpriced else "")
        calls.add_row(
            *(Text(visible(text)) for text in (group.run, group.model or "–", group.status)),
            *(f"{group.calls:,}", f"{group.input_tokens:,}", f"{group.output_tokens:,}", cost, day(group.last)),
        )
    failures = table("run", "failed attempts", "times", "cost", left=("failed attempts",))
    for failed in stats.failures:
        failures.add_row(Text(visible(failed.run)), failed.kind, f"{failed.attempts:,}", money(failed.cost))
    total = (
        f"{stats.calls:,} calls, {money(sum(stats.totals.values()))}, {stats.done:,} items done, "
        f"{stats.batches:,} batches in progress, {size(stats.bytes)}"
    )
    unpriced = sum(group.unpriced for group in stats.groups)
    if unpriced:
        total += f"; the price of {unpriced:,} calls (?) is unknown"
    estimated = sum(group.estimated for group in stats.groups)
    if estimated:
        total += f"; the tokens of {estimated:,} calls are estimated, and their cost is an upper bound"
    thoughts = sum(group.reasoning_tokens for group in stats.groups)
    if thoughts:
        total += f"; {thoughts:,} of the tokens out are thoughts"
    if held := sum(stats.possibly_billed.values()):
        total += (
            f"; {money(held)} more may have been billed for calls in flight (now, or when a process was killed), and budgets count it. "
            f"Once you know what the provider billed: dprm ledger settle LEDGER --billed DOLLARS"
        )
    parts: list[RenderableType] = [calls] if stats.groups else []
    parts += [Text(""), failures] if stats.failures else []
    return Group(Text(visible(stats.ledger), style="bold"), *parts, Text(total))


def settled_view(settled: Settled) -> RenderableType:
    who = "a killed process" if settled.processes == 1 else f"{settled.processes:,} killed processes"
    return Text(
        f"{visible(settled.run)}: {money(settled.billed)} now count as spent, instead of the {money(settled.held)} that {who} "
        "may have been billed."
    )


def check_view(check: Check) -> RenderableType:
    """One line for an intact ledger, otherwise a line per fault."""
    if not check.faults:
        unknown = (
            f" {check.without_checksum:,} rows of an earlier version have no checksum."
            if check.without_checksum
            else ""
        )
        return Text(f"{check.ledger} is intact: {check.calls:,} calls.{unknown}")
    return Group(
        Text(f"{check.ledger} has faults ({check.calls:,} calls):", style="bold"),
        *(Text(f"- {visible(fault)}") for fault in check.faults),
    )


def copied_view(copied: Copied, destination: str) -> RenderableType:
    return Text(
        f"Wrote {copied.written:,} rows. {destination} holds {copied.calls:,} calls, {copied.failures:,} failed attempts, "
        f"{copied.done:,} items done and {copied.batches:,} batches."
    )


def exported_view(calls: int, file: Path) -> RenderableType:
    return Text(f"Wrote {calls:,} calls to {visible(str(file))}.")


def row_counter(say: Callable[[str], None]) -> Callable[[int], None]:
    """A callback that reports the number of rows read so far, every few seconds."""
    last = time.monotonic()

    def report(rows: int) -> None:
        nonlocal last
        if time.monotonic() - last >= _EVERY:
            last = time.monotonic()
            say(f"{rows:,} rows")

    return report
