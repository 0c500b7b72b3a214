"""Progress: a live line on a terminal, plain lines where the output is piped. Both go to stderr, so that stdout stays clean for `--json`."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager

from rich.console import Console
from rich.live import Live
from rich.text import Text

from dprm_data.core.text import visible
from dprm_data.engine.counters import Tally
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

    def tally(self, tally: Tally) -> None:
        self._line(_tally_text(tally))

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


def _tally_text(tally: Tally) -> Text:
    done = tally.items / tally.total_items if tally.total_items else 0.0
    seconds = max(tally.seconds, 1e-9)
    text = Text()
    text.append(_bar(done), style="green")
    text.append(f" {tally.items:,}/{tally.total_items or 0:,} items", style="bold")
    text.append(f"  {tally.calls:,} calls ({tally.calls / seconds:.1f}/s)")
    if tally.workers > 1:
        text.append(f" of the {tally.calls_together:,} of {tally.workers} workers")
    cost = tally.cost if tally.cost_known else None
    text.append(f"  {money(cost)}")
    projected = _projected(tally, done)
    if projected is not None and cost:
        text.append(f" of about {money(projected)}")
    if tally.batches:
        text.append(f"  {tally.batches}")
    else:
        text.append(f"  {tally.in_flight} in flight of {tally.window}")
    left = _time_left(tally, done)
    if left is not None:
        text.append(f"  {clock(left)} left")
    for counts, what in ((_failed(tally), ""), (tally.retries, " tried again")):
        if counts:
            listed = ", ".join(f"{count:,} {kind.replace('_', ' ')}" for kind, count in counts.items())
            text.append(f"  {listed}{what}", style="yellow")
    for endpoint in tally.endpoints:
        if endpoint.out:
            text.append(
                f"  {endpoint.name} is out for {max(0.0, endpoint.back_at - time.monotonic()):.0f} s", style="yellow"
            )
    if tally.waiting:
        text.append(f"\n{tally.waiting}", style="bold yellow")
    elif tally.cooling >= 1:
        text.append(f"  cooling down for {tally.cooling:.0f} s", style="yellow")
    return text


def _failed(tally: Tally) -> dict[str, int]:
    """Annotations that ended without a label, by status."""
    return {status: count for status, count in tally.statuses.items() if status != "ok"}


def _bar(share: float, width: int = 20) -> str:
    full = round(share * width)
    return "━" * full + "╌" * (width - full)


def _new_share(tally: Tally, done: float) -> float:
    """The share of all work that was done now (what was replayed costs neither time nor money)."""
    if not tally.annotations:
        return 0.0
    return done * (1 - tally.replayed / tally.annotations)


def _time_left(tally: Tally, done: float) -> float | None:
    share = _new_share(tally, done)
    return tally.seconds * (1 - done) / share if share > 0 and done < 1 else None


def _projected(tally: Tally, done: float) -> float | None:
    """What all that was missing will have cost: in proportion to what was done here."""
    share = _new_share(tally, done)
    own = share - done * tally.elsewhere / tally.annotations if tally.annotations else 0.0
    return tally.cost * (share + 1 - done) / own if own > 0 else None
