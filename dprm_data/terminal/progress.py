"""Progress: a live line on a terminal, plain lines where the output is piped. Both go to stderr, so that stdout stays clean for `--json`."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager

from rich.console import Console
from rich.live import Live
from rich.text import Text

from dprm_data.core.text import visible
from dprm_data.engine.counters import Counters
from dprm_data.runs.run import Progress
from dprm_data.terminal.run_view import clock, money

_PLAIN_EVERY = 10.0  # seconds between lines where the output is piped


class TerminalProgress(Progress, AbstractContextManager["TerminalProgress"]):
    """Says what is going on. quiet: only what a person must know."""

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self._console = console
        self._quiet = quiet
        self._live = (
            Live(console=console, refresh_per_second=8, transient=True) if console.is_terminal and not quiet else None
        )
        self._spoke = time.monotonic()

    def __enter__(self) -> TerminalProgress:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def stage(self, name: str) -> None:
        self._spoke = time.monotonic()
        if self._live:
            self._live.update(Text(f"{name} …", style="bold"))
        elif not self._quiet:
            self._print(f"{name} …")

    def items(self, count: int) -> None:
        self._line(Text(f"reading items … {count:,}"))

    def update(self, counters: Counters) -> None:
        self._line(_counters_text(counters))

    def say(self, text: str) -> None:
        if not self._quiet:
            self._print(text)

    def _print(self, text: str) -> None:
        self._console.print(Text(visible(text)), soft_wrap=True)  # Text: what stands in square brackets is no markup

    def _line(self, text: Text) -> None:
        if self._live:
            self._live.update(text)
        elif not self._quiet and time.monotonic() - self._spoke >= _PLAIN_EVERY:
            self._spoke = time.monotonic()
            self._console.print(text, soft_wrap=True)


def _counters_text(counters: Counters) -> Text:
    done = counters.items / counters.total_items if counters.total_items else 0.0
    seconds = max(counters.seconds, 1e-9)
    text = Text()
    text.append(_bar(done), style="green")
    text.append(f" {counters.items:,}/{counters.total_items or 0:,} items", style="bold")
    text.append(f"  {counters.calls:,} calls ({counters.calls / seconds:.1f}/s)")
    if counters.workers > 1:
        text.append(f" of the {counters.calls_together:,} of {counters.workers} workers")
    cost = counters.cost if counters.cost_known else None
    text.append(f"  {money(cost)}")
    projected = _projected(counters, done)
    if projected is not None and cost:
        text.append(f" of about {money(projected)}")
    if counters.estimated_calls:
        text.append(f" (at most: {counters.estimated_calls:,} calls without a report of their tokens)", style="yellow")
    if counters.batches:
        text.append(f"  {counters.batches}")
    else:
        text.append(f"  {counters.in_flight} in flight of {counters.window}")
    left = _time_left(counters, done)
    if left is not None:
        text.append(f"  {clock(left)} left")
    for counts, what in ((_failed(counters), ""), (counters.retries, " tried again")):
        if counts:
            listed = ", ".join(f"{count:,} {kind.replace('_', ' ')}" for kind, count in counts.items())
            text.append(f"  {listed}{what}", style="yellow")
    for endpoint in counters.endpoints:
        if endpoint.out:
            text.append(
                f"  {endpoint.name} is out for {max(0.0, endpoint.back_at - time.monotonic()):.0f} s", style="yellow"
            )
    if counters.waiting:
        text.append(f"\n{counters.waiting}", style="bold yellow")
    elif counters.cooling >= 1:
        text.append(f"  cooling down for {counters.cooling:.0f} s", style="yellow")
    return text


def _failed(counters: Counters) -> dict[str, int]:
    """Annotations that ended without a label, by status."""
    return {status: count for status, count in counters.statuses.items() if status != "ok"}


def _bar(share: float, width: int = 20) -> str:
    full = round(share * width)
    return "━" * full + "╌" * (width - full)


def _new_share(counters: Counters, done: float) -> float:
    """The share of all work that was done now (what was replayed costs neither time nor money)."""
    if not counters.annotations:
        return 0.0
    return done * (1 - counters.replayed / counters.annotations)


def _time_left(counters: Counters, done: float) -> float | None:
    share = _new_share(counters, done)
    return counters.seconds * (1 - done) / share if share > 0 and done < 1 else None


def _projected(counters: Counters, done: float) -> float | None:
    """What all that was missing will have cost: in proportion to what was done here."""
    share = _new_share(counters, done)
    own = share - done * counters.elsewhere / counters.annotations if counters.annotations else 0.0
    return counters.cost * (share + 1 - done) / own if own > 0 else None
