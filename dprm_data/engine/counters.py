"""Counters: what a run counts, for the live view, the summary and `--json`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from dprm_data.elicit.elicitation import Outcome
from dprm_data.ledger.call import Reply
from dprm_data.providers.request import Usage

if TYPE_CHECKING:
    from dprm_data.providers.endpoint import Standing


@dataclass(slots=True)
class Counters:
    """What one process counts. Items and annotations include replayed ones; calls, tokens and dollars only what this run sent."""

    total_items: int | None = None
    items: int = 0
    annotations: int = 0
    replayed: int = 0  # annotations that needed no call in this run
    elsewhere: int = 0  # annotations that other workers made during this run
    workers: int = 1  # working on the run at present
    calls_together: int = 0  # calls answered to all of them
    statuses: Counter[str] = field(default_factory=Counter)
    calls: int = 0  # answered in this run
    retries: Counter[str] = field(default_factory=Counter)  # failed attempts, by kind
    reasks: int = 0
    usage: Usage = field(default_factory=Usage)
    cost: float = 0.0
    cost_known: bool = True
    estimated_calls: int = 0  # calls whose tokens the server did not report
    possibly_billed: float = 0.0  # dollars, by earlier processes that were killed with calls in flight
    in_flight: int = 0
    window: int = 0
    cooling: float = 0.0  # seconds of cooldown left
    batches: str = ""  # the batches at the provider, in words
    waiting: str = ""  # why no answers arrive at the moment
    last_failure: str = ""
    endpoints: Sequence[Standing] = ()  # of a fleet
    models: Mapping[str, Counters] = field(default_factory=dict)  # of a jury, by the model's id
    started: float = field(default_factory=time.monotonic)

    def answered(self, reply: Reply) -> None:
        self.calls += 1
        self.estimated_calls += reply.usage.estimated
        self.paid(reply.usage, reply.cost)

    def failed_attempt(self, kind: str, message: str, usage: Usage, cost: float | None) -> None:
        self.retries[kind] += 1
        self.last_failure = f"{kind.replace('_', ' ')}: {message}"
        self.paid(usage, cost)

    def paid(self, usage: Usage, cost: float | None) -> None:
        if usage.input_tokens or usage.output_tokens:
            self.usage += usage
        self.cost += cost or 0.0
        self.cost_known = self.cost_known and cost is not None

    def skipped(self, items: int, annotations_each: int) -> None:
        """Count items that the ledger marks as done."""
        self.items += items
        self.annotations += items * annotations_each
        self.replayed += items * annotations_each

    def done_elsewhere(self, items: int, annotations_each: int) -> None:
        """Count items that other workers held and have finished."""
        self.items += items
        self.annotations += items * annotations_each
        self.elsewhere += items * annotations_each

    def forget(self, outcomes: Iterable[Outcome], *, replayed: int) -> None:
        """Uncount an item that was lost to another worker; it is counted when it is done. replayed: how many outcomes needed no call."""
        for outcome in outcomes:
            self.annotations -= 1
            self.statuses[outcome.status] -= 1
        self.replayed -= replayed

    def only_calls(self) -> None:
        """Uncount calibration tasks: their calls count, but they are not annotations."""
        self.annotations = self.replayed = 0
        self.statuses.clear()

    def ended(self, outcome: Outcome, *, replayed: bool) -> None:
        self.annotations += 1
        self.statuses[outcome.status] += 1
        self.replayed += replayed

    # -- adding up ----------------------------------------------------------------------------------------------------

    def add_calls(self, other: Counters) -> None:
        """Add another's calls, failed attempts, tokens and dollars."""
        self.calls += other.calls
        self.retries += other.retries
        self.reasks += other.reasks
        self.usage += other.usage
        self.cost += other.cost
        self.estimated_calls += other.estimated_calls
        self.cost_known = self.cost_known and other.cost_known
        self.last_failure = other.last_failure or self.last_failure

    def add_done(self, other: Counters) -> None:
        """Add another's finished items and annotations."""
        self.items += other.items
        self.annotations += other.annotations
        self.replayed += other.replayed
        self.elsewhere += other.elsewhere
        self.statuses += other.statuses

    def add_state(self, other: Counters) -> None:
        """Add another's present state."""
        self.in_flight += other.in_flight
        self.window += other.window
        self.cooling = max(self.cooling, other.cooling)
        self.waiting = self.waiting or other.waiting

    def mirror(self, other: Counters) -> None:
        """Copy another's counts, but keep this one's clock and total number of items."""
        for name in {each.name for each in fields(self)} - {"total_items", "possibly_billed", "started"}:
            setattr(self, name, getattr(other, name))

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "items": self.items,
            "annotations": self.annotations,
            "replayed": self.replayed,
            "elsewhere": self.elsewhere,
            "statuses": dict(self.statuses),
            "calls": self.calls,
            "retries": dict(self.retries),
            "failures": {status: count for status, count in self.statuses.items() if status != "ok"},
            "reasks": self.reasks,
            "input_tokens": self.usage.input_tokens,
            "output_tokens": self.usage.output_tokens,
            "cached_tokens": self.usage.cached_tokens,
            "reasoning_tokens": self.usage.reasoning_tokens,
            "estimated_calls": self.estimated_calls,
            "possibly_billed": self.possibly_billed,
            "cost": self.cost if self.cost_known else None,
            "seconds": round(self.seconds, 3),
            **({"endpoints": {each.name: each.as_dict() for each in self.endpoints}} if self.endpoints else {}),
            **({"models": {id_: each.as_dict() for id_, each in self.models.items()}} if self.models else {}),
        }
