"""Terminal views of a run's counters: a line while calls are made, and their usage at the end."""

from __future__ import annotations

import time
from collections.abc import Mapping

from rich.text import Text

from dprm_data.core.format import duration, money, percent
from dprm_data.engine.counters import Counters


def progress_line(counters: Counters) -> Text:
    """Items done, calls, cost, time left, failures, and what the run is waiting for."""
    done = counters.items / counters.total_items if counters.total_items else 0.0
    text = Text()
    text.append(_bar(done), style="green")
    text.append(f" {counters.items:,}/{counters.total_items or 0:,} items", style="bold")
    text.append(f"  {counters.calls:,} calls ({counters.calls / max(counters.seconds, 1e-9):.1f}/s)")
    if counters.workers > 1:
        text.append(f" of {counters.calls_together:,} by {counters.workers} workers")
    cost = counters.cost if counters.cost_known else None
    text.append(f"  {money(cost)}")
    projected = _projected_cost(counters, done)
    if projected is not None and cost:
        text.append(f" of about {money(projected)}")
    if counters.estimated_calls:
        text.append(f" (at most: {counters.estimated_calls:,} calls without reported tokens)", style="yellow")
    if counters.usage.reasoning_tokens:
        share = counters.usage.reasoning_tokens / max(1, counters.usage.output_tokens)
        text.append(f"  {percent(share)} of the output is thought")
    most = f" of {counters.window}" if counters.window else ""  # no window before the first call is on its way
    text.append(f"  {counters.batches or f'{counters.in_flight} in flight{most}'}")
    left = _time_left(counters, done)
    if left is not None:
        text.append(f"  {duration(left)} left")
    failed = {status: count for status, count in counters.statuses.items() if status != "ok"}
    for counts, what in ((failed, ""), (counters.retries, "failed attempts: ")):
        if counts:
            text.append(f"  {what}{_listed(counts)}", style="yellow")
    for endpoint in counters.endpoints:
        if endpoint.out:
            seconds = max(0.0, endpoint.back_at - time.monotonic())
            text.append(f"  {endpoint.name} is paused for {seconds:.0f} s", style="yellow")
    if counters.waiting:
        text.append(f"\n{counters.waiting}", style="bold yellow")
    elif counters.cooling >= 1:
        text.append(f"  cooling down for {counters.cooling:.0f} s", style="yellow")
    return text


def usage_line(counters: Counters) -> Text:
    """Calls, tokens, dollars and time of this process."""
    usage = counters.usage
    text = Text(f"this process: {counters.calls:,} calls")
    if counters.replayed:
        text.append(f" ({counters.replayed:,} annotations were in the ledger already)")
    text.append(f", {usage.input_tokens:,} tokens in")
    if usage.cached_tokens:
        text.append(f" ({percent(usage.cached_tokens / max(1, usage.input_tokens))} from the provider's cache)")
    cost = money(counters.cost if counters.cost_known else None)
    text.append(
        f", {usage.output_tokens:,} out{_thoughts(usage.reasoning_tokens)}, {cost}, {duration(counters.seconds)}"
    )
    if counters.estimated_calls:
        text.append(f"\n{estimated_note(counters.estimated_calls)}", style="yellow")
    if counters.possibly_billed:
        text.append(
            f"\n{money(counters.possibly_billed)} may have been billed besides, for calls in flight of processes that were killed "
            "(dprm ledger settle)",
            style="yellow",
        )
    if counters.retries:
        text.append(f"\nfailed attempts: {_listed(counters.retries)}", style="yellow")
    return text


def _thoughts(tokens: int) -> str:
    return f" (of which {tokens:,} thoughts)" if tokens else ""


def estimated_note(calls: int) -> str:
    """The note beside a cost that includes calls whose tokens the server did not report."""
    return f"the server did not report tokens for {calls:,} calls: they are estimated, and each call counts at its highest possible cost"


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {kind.replace('_', ' ')}" for kind, count in counts.items())


def _bar(share: float, width: int = 20) -> str:
    full = round(share * width)
    return "━" * full + "╌" * (width - full)


def _new_share(counters: Counters, done: float) -> float:
    """The share of all work that this process did; replayed annotations took neither time nor money."""
    if not counters.annotations:
        return 0.0
    return done * (1 - counters.replayed / counters.annotations)


def _time_left(counters: Counters, done: float) -> float | None:
    share = _new_share(counters, done)
    return counters.seconds * (1 - done) / share if share > 0 and done < 1 else None


def _projected_cost(counters: Counters, done: float) -> float | None:
    """The cost of the whole run without what was replayed, in proportion to what this process did itself."""
    share = _new_share(counters, done)
    own = share - done * counters.elsewhere / counters.annotations if counters.annotations else 0.0
    return counters.cost * (share + 1 - done) / own if own > 0 else None
