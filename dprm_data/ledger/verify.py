"""Verify a ledger: each row, the rows against each other, and the database itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from dprm_data.ledger.checksum import checksum_of
from dprm_data.ledger.ledger import reply_of
from dprm_data.ledger.store import CALL, FAILURE, CallRow, FailureRow, LedgerStore, Select

_STATUSES = frozenset({"answered", "rejected", "exhausted"})
_KEY = 32  # bytes
_NAMED = 5  # broken rows listed one by one


@dataclass(frozen=True)
class Check:
    """The result of a check. faults: one sentence each; empty if the ledger is intact. without_checksum: calls and failed attempts that an
    earlier version has written, so that a change to them may go unnoticed."""

    ledger: str
    calls: int
    without_checksum: int
    faults: list[str]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"whole": not self.faults}


def check_ledger(store: LedgerStore) -> Check:
    """Read every row once, holding a few in memory. Raises `LedgerError` if the ledger cannot be read at all."""
    faults = store.faults()
    totals = store.totals()
    with store.snapshot() as select:
        rows = select(f"SELECT {', '.join(CALL)}, id FROM {store.relation('calls')}")
        calls = _Rows("call", ((CallRow._make(content), number) for *content, number in rows))
        attempts = select(f"SELECT {', '.join(FAILURE)}, id FROM {store.relation('failures')}")
        failures = _Rows("failed attempt", ((FailureRow._make(content), number) for *content, number in attempts))
        faults += [*calls.faults(), *failures.faults()]
        faults += _attempts(select)
        faults += _sums(select, totals)
        if store.has("batches"):
            faults += _pending_batches(select)
    return Check(store.location, calls.count, calls.without_checksum + failures.without_checksum, faults)


class _Rows:
    """The rows of a table, each under its number, and what is wrong with them."""

    def __init__(self, name: str, rows: Iterator[tuple[CallRow | FailureRow, int]]) -> None:
        self._name = name
        self._rows = rows
        self.count = self.without_checksum = 0

    def faults(self) -> Iterator[str]:
        """Read all rows, and name the first that are broken."""
        broken = 0
        for row, number in self._rows:
            self.count += 1
            self.without_checksum += row.checksum is None
            if wrong := _wrong(row):
                broken += 1
                if broken <= _NAMED:
                    yield f"{self._name} {number} of {row.run!r}: {wrong}"
        if broken > _NAMED:
            yield f"and {broken - _NAMED:,} more such {self._name}s"


def _wrong(row: CallRow | FailureRow) -> str | None:
    return (_wrong_call(row) if isinstance(row, CallRow) else None) or _wrong_checksum(row)


def _wrong_call(row: CallRow) -> str | None:
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


def _wrong_checksum(row: CallRow | FailureRow) -> str | None:
    if row.checksum is not None and row.checksum != checksum_of(row):
        return "it was changed after it was written (its checksum does not match)"
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
