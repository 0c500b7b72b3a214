"""Copy a ledger into another store: every row, under its number.

A copy may be interrupted and restarted, or repeated after the source has grown: only missing rows are written. A destination with a row
that the source lacks is another ledger, and is refused.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

from dprm_data.core.errors import InputError, LedgerError
from dprm_data.core.ledger_address import LedgerAddress
from dprm_data.ledger.factory import open_store
from dprm_data.ledger.store import TABLES, LedgerStore, Row, Select

_CHUNK = 5000  # rows in one transaction


@dataclass(frozen=True)
class Copied:
    """Rows per table in the copy, and how many of them this copy wrote."""

    calls: int
    failures: int
    done: int
    batches: int
    written: int

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


def copy_ledger(
    source: LedgerAddress, destination: LedgerAddress, *, on_progress: Callable[[int], None] = lambda rows: None
) -> Copied:
    """Copy everything. on_progress: called with the number of rows read so far. Memory does not grow with the ledger.

    Reads one snapshot of the source, which may be in use. Raises `InputError` if both are the same, `LedgerError` if the destination
    holds another ledger.
    """
    if source.absolute() == destination.absolute():
        raise InputError(f"cannot copy {source.shown} into itself")
    old = open_store(source, readonly=True)
    try:
        new = open_store(destination)
        try:
            with old.snapshot() as select:
                return _Copy(old, new, select, on_progress).run()
        finally:
            new.close()
    finally:
        old.close()


class _Copy:
    def __init__(self, old: LedgerStore, new: LedgerStore, select: Select, on_progress: Callable[[int], None]) -> None:
        self._old, self._new, self._select, self._on_progress = old, new, select, on_progress
        self._read = self._written = 0
        self._counts = dict.fromkeys(TABLES, 0)

    def run(self) -> Copied:
        for table in ("calls", "failures"):
            self._refuse_other_rows(table)
        self._refuse_other_batches()
        # These first: a batch whose rows are missing would be submitted again, and what is held must not be spent.
        for table in ("batch_rows", "batches", "holds"):
            self._new.clear(table)
            if self._old.has(table):
                self._put_all(table)
        for table in ("calls", "failures"):
            self._numbered(table)
        self._put_all("done")
        if self._new.count("done") != self._counts["done"]:  # some items are no longer done
            self._new.clear("done")
            self._put_all("done")
        self._new.set_totals(self._old.totals())
        counts = {name: self._counts[name] for name in ("calls", "failures", "done", "batches")}
        return Copied(**counts, written=self._written)

    def _refuse_other_rows(self, table: str) -> None:
        """Before writing: check that the destination's first and last rows are rows of the source."""
        with self._new.snapshot() as select:
            ((first, last),) = select(f"SELECT MIN(id), MAX(id) FROM {table}")
        for number in () if first is None else (first, last):
            mine = list(
                self._select(
                    f"SELECT {', '.join(TABLES[table])} FROM {self._old.relation(table)} WHERE id = {int(number)}"
                )
            )
            if mine != self._new.between(table, number, number):
                raise self._other_ledger()

    def _refuse_other_batches(self) -> None:
        """Check that each of the destination's pending batches is pending in the source, or has been collected there."""
        known = {tag for (tag,) in self._select("SELECT tag FROM batches")} if self._old.has("batches") else set()
        with self._new.snapshot() as select:
            others = [number for number, tag in select("SELECT id, tag FROM batches") if tag not in known]
        for number in others:
            keys = list(self._new.batch_rows(number))
            if len(self._old.find(keys)) < len(keys):
                raise self._other_ledger()

    def _numbered(self, table: str) -> None:
        before = -(2**62)
        for rows in self._chunks(table, "id"):
            last = _number(rows[-1])
            there = {_number(row): row for row in self._new.between(table, before + 1, last)}
            missing = [row for row in rows if _number(row) not in there]
            if len(there) != len(rows) - len(missing) or any(there.get(_number(row), row) != row for row in rows):
                raise self._other_ledger()
            if missing:
                self._new.put(table, missing)
                self._written += len(missing)
            before = last

    def _put_all(self, table: str) -> None:
        self._counts[table] = 0
        for rows in self._chunks(table, ", ".join(TABLES[table][:2])):
            self._new.put(table, rows)

    def _chunks(self, table: str, order: str) -> Iterator[list[Row]]:
        rows = self._select(f"SELECT {', '.join(TABLES[table])} FROM {self._old.relation(table)} ORDER BY {order}")
        while some := list(itertools.islice(rows, _CHUNK)):
            self._counts[table] += len(some)
            self._read += len(some)
            self._on_progress(self._read)
            yield some

    def _other_ledger(self) -> LedgerError:
        return LedgerError(
            f"{self._new.location} holds calls that {self._old.location} lacks: it is another ledger",
            hint="Nothing was changed. Copy into an empty ledger; two ledgers are never merged.",
        )


def _number(row: Row) -> int:
    """The number of a call or failure in the store: its first column (`TABLES`)."""
    number, *_ = row
    return int(number)
