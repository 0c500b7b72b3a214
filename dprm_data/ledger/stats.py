"""Statistics of a ledger. Makes no call."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from dprm_data.ledger.store import LedgerStore, Row

_CALLS = (
    "SELECT run, model, status, COUNT(*), SUM(input_tokens * 1.0), SUM(output_tokens * 1.0), SUM(cached_tokens * 1.0), "
    "SUM(cost), COUNT(cost), SUM(CASE WHEN attempt > 0 THEN 1 ELSE 0 END), MIN(created_at), MAX(created_at), SUM(estimated), "
    "SUM(COALESCE(reasoning_tokens, 0) * 1.0) "
    "FROM {calls} GROUP BY run, model, status ORDER BY run, model, status"
)
_FAILURES = "SELECT run, kind, COUNT(*), SUM(cost) FROM failures GROUP BY run, kind ORDER BY run, kind"


@dataclass(frozen=True)
class Group:
    """Calls of one run, answered by one model (as it names itself), with one status.

    cost: dollars; unpriced: calls whose price is unknown; again: calls that were repeated although they had a reply; first and last:
    seconds since 1970; estimated: calls whose tokens the server did not report; reasoning_tokens: thoughts, of the output tokens.
    """

    run: str
    model: str
    status: str
    calls: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cost: float
    unpriced: int
    again: int
    first: float
    last: float
    estimated: int
    reasoning_tokens: int


@dataclass(frozen=True)
class FailureGroup:
    """Failed attempts of one kind. cost: dollars; an attempt that may have been billed counts with its worst case."""

    run: str
    kind: str
    attempts: int
    cost: float


@dataclass(frozen=True)
class Stats:
    """Statistics of a ledger.

    totals: each run's recorded dollars; possibly_billed: dollars that processes which were killed may have been billed besides (of a file:
    and what is in flight now), by run; a run's budget counts both; done: items marked as done, over all plans; batches: pending ones; bytes: on disk.
    """

    ledger: str
    groups: list[Group]
    failures: list[FailureGroup]
    totals: dict[str, float]
    possibly_billed: dict[str, float]
    done: int
    batches: int
    bytes: int

    @property
    def calls(self) -> int:
        return sum(group.calls for group in self.groups)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"calls": self.calls}


def stats_of(store: LedgerStore) -> Stats:
    """Read all rows once. Raises `LedgerError`."""
    with store.snapshot() as select:
        groups = [_group(row) for row in select(_CALLS.format(calls=store.relation("calls")))]
        failures = [
            FailureGroup(run, kind, int(count), float(cost or 0.0)) for run, kind, count, cost in select(_FAILURES)
        ]
        (done,) = _first(select("SELECT COUNT(*) FROM done"))
        (batches,) = _first(select("SELECT COUNT(*) FROM batches")) if store.has("batches") else (0,)
    dollars, counts = (store.totals(), store.possibly_billed()), (int(done), int(batches))
    return Stats(store.location, groups, failures, *dollars, *counts, store.bytes_on_disk())


def _group(row: Row) -> Group:
    run, model, status, calls, inputs, outputs, cached, cost, priced, again, first, last, estimated, thoughts = row
    tokens = (round(inputs), round(outputs), round(cached))
    unpriced = int(calls - priced) if status == "answered" else 0  # a failed call has no cost besides its attempts
    counts = (unpriced, int(again), first, last, int(estimated), round(thoughts))
    return Group(run, model, status, int(calls), *tokens, float(cost or 0.0), *counts)


def _first(rows: Iterable[Row]) -> Row:
    return next(iter(rows))
