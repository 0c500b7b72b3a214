"""Verify a ledger: each row, the rows against each other, and the database itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from dprm_data.ledger.ledger import reply_of
from dprm_data.ledger.store import CALL, CallRow, LedgerStore, Select

_STATUSES = frozenset({"answered", "rejected", "exhausted"})
_KEY = 32  # bytes
_NAMED = 5  # broken rows listed one by one


@dataclass(frozen=True)
class Check:
    """The result of a check. faults: one sentence each; empty if the ledger is intact."""

    ledger: str
    calls: int
    faults: list[str]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"whole": not self.faults}


def check_ledger(store: LedgerStore) -> Check:
    """Read every row once, holding a few in memory. Raises `LedgerError` if the ledger cannot be read at all."""
    faults = store.faults()
    totals = store.totals()
    with store.snapshot() as select:
        calls, unreadable = _unreadable(select, store.relation("calls"))
        faults += unreadable
        faults += _attempts(select)
        faults += _sums(select, totals)
        if store.has("batches"):
            faults += _pending_batches(select)
    return Check(store.location, calls, faults)


def _unreadable(select: Select, calls_table: str) -> tuple[int, list[str]]:
    calls = broken = 0
    named: list[str] = []
    for row in select(f"SELECT {', '.join(CALL)}, id FROM {calls_table}"):
        calls += 1
        *content, number = row
        call = CallRow._make(content)
        wrong = _wrong(call)
        if wrong:
            broken += 1
            if broken <= _NAMED:
                named.append(f"call {number} of {call.run!r}: {wrong}")
    return calls, named + ([f"and {broken - _NAMED:,} more such calls"] if broken > _NAMED else [])


def _wrong(row: CallRow) -> str | None:
    if not isinstance(row.key, bytes) or len(row.key) != _KEY:
        return "its key is not a hash of 32 bytes"
    if row.status not in _STATUSES:
        return f"its status is {row.status!r}"
    try:
        reply = reply_of(row)
    except Exception as error:
        return f"its log-probabilities cannot be read ({error})"
    if min(reply.usage.input_tokens, reply.usage.output_tokens) < 0 or (reply.cost or 0.0) < 0:
        return "it has a negative number of tokens or dollars"
    return None


def _attempts(select: Select) -> Iterator[str]:
    """The attempts at a call are numbered from 0; a gap is a lost row."""
    query = "SELECT COUNT(*) FROM (SELECT key FROM calls GROUP BY key HAVING MAX(attempt) + 1 <> COUNT(*)) AS gaps"
    ((gaps,),) = select(query)
    if gaps:
        yield f"{gaps:,} calls lack an attempt"


def _sums(select: Select, totals: dict[str, float]) -> Iterator[str]:
    """A run's total, which its budget uses, must equal the sum of its rows, up to rounding."""
    sums: Counter[str] = Counter()
    rows: Counter[str] = Counter()
    for table in ("calls", "failures"):
        for run, cost, count in select(f"SELECT run, COALESCE(SUM(cost), 0.0), COUNT(*) FROM {table} GROUP BY run"):
            sums[run] += cost
            rows[run] += count
    for run in sorted(sums.keys() | totals.keys()):
        total, actual = totals.get(run, 0.0), sums[run]
        if abs(total - actual) > 1e-9 * max(1.0, abs(actual)) * max(1.0, rows[run] ** 0.5):
            yield f"the total of {run!r} is {total:.6f} dollars, but its rows add up to {actual:.6f}"


def _pending_batches(select: Select) -> Iterator[str]:
    ((orphans,),) = select("SELECT COUNT(*) FROM batch_rows WHERE batch NOT IN (SELECT id FROM batches)")
    if orphans:
        yield f"{orphans:,} rows of pending batches belong to no batch"
    query = "SELECT tag, rows, (SELECT COUNT(*) FROM batch_rows WHERE batch = batches.id) FROM batches"
    for tag, expected, found in select(query):
        if expected != found:
            yield f"batch {tag} should have {expected:,} rows and has {found:,}"
