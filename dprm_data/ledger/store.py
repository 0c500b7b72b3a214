"""Ledger stores: where a ledger keeps its rows. `ledger.py` gathers rows and waits until they are written; a store writes and finds them.

A class is registered for the schemes of the addresses that it serves:

    @ledger_store("mysql")
    class MySQLStore(LedgerStore): ...
"""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, TypeVar

from dprm_data.core.errors import InputError, LedgerError
from dprm_data.core.ledger_address import LedgerAddress
from dprm_data.core.registry import LEDGER_STORES
from dprm_data.ledger.hold import NOTHING

Row = tuple[Any, ...]


class CallRow(NamedTuple):
    """A call as the store keeps it, without its number. attempt: the store counts it at the commit. estimated: 1 if the server did not
    report all tokens; cost is then the most that the call can have cost. checksum: None in rows of earlier versions. reasoning_tokens: of
    the output tokens; None for none."""

    key: bytes
    attempt: int
    run: str
    status: str
    text: str
    finish: str
    logprobs: bytes | None
    model: str
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    cost: float | None
    latency: float
    created_at: float
    reason: str
    price_table: str
    estimated: int
    checksum: bytes | None = None
    reasoning_tokens: int | None = None


class FailureRow(NamedTuple):
    """A failed attempt as the store keeps it, without its number."""

    key: bytes
    run: str
    kind: str
    status: int | None
    message: str
    cost: float | None
    created_at: float
    checksum: bytes | None = None


class HoldRow(NamedTuple):
    """A process's hold (`hold.py`) as the store keeps it. writer: the process; held: dollars; created_at: of its last change."""

    run: str
    writer: str
    held: float
    created_at: float


CALL, FAILURE = CallRow._fields, FailureRow._fields
# The tables with all their columns, as `dprm ledger copy` copies them.
TABLES: dict[str, tuple[str, ...]] = {
    "calls": ("id", *CALL),
    "failures": ("id", *FAILURE),
    "done": ("plan", "item"),
    "batches": ("id", "run", "tag", "batch_id", "rows", "reserved", "created_at"),
    "batch_rows": ("batch", "key", "item"),
    "holds": HoldRow._fields,
}
# Columns that older ledgers lack, with their values there.
_ADDED = {
    "calls": {"estimated": "0", "checksum": "NULL", "reasoning_tokens": "CAST(NULL AS bigint)"},
    "failures": {"checksum": "NULL"},
}
CHECKED = ("calls", "failures")  # tables whose rows have a checksum
INT = 2**63 - 1  # the largest integer that a store must keep


@dataclass(slots=True)
class Transaction:
    """What one transaction writes.

    calls: the store counts the attempts; done and undone: (plan, item); collected: numbers of batches that are no longer pending; cost:
    dollars of these calls and failures together; held: the writing process's new hold in dollars (`hold.py`), None to leave it;
    settled: holds of processes that are gone, to delete; id: the same in every attempt at the commit, so that only one takes effect.
    """

    run: str
    calls: list[CallRow] = field(default_factory=list)
    failures: list[FailureRow] = field(default_factory=list)
    undone: list[Row] = field(default_factory=list)
    done: list[Row] = field(default_factory=list)
    collected: list[int] = field(default_factory=list)
    cost: float = 0.0
    held: float | None = None
    settled: list[HoldRow] = field(default_factory=list)
    id: uuid.UUID = field(default_factory=uuid.uuid4)

    def __bool__(self) -> bool:
        content = self.calls or self.failures or self.undone or self.done or self.collected or self.settled
        return bool(content) or self.held is not None


@dataclass(frozen=True, slots=True)
class PendingBatch:
    """A batch that was submitted to a provider and is not collected yet.

    number: in the ledger; batch_id: at the provider, None if it may not have arrived; reserved: dollars; created_at: seconds since 1970.
    """

    number: int
    tag: str
    batch_id: str | None
    rows: int
    reserved: float
    created_at: float


def chunked(values: Sequence[bytes], size: int) -> Iterator[Sequence[bytes]]:
    """Slices of at most `size` values: what one query can hold."""
    return (values[start : start + size] for start in range(0, len(values), size))


def with_all_columns(table: str, present: Collection[str]) -> str:
    """A store's `relation`, for a table that has these columns."""
    missing = [f"{value} AS {name}" for name, value in _ADDED.get(table, {}).items() if name not in present]
    return f"(SELECT {table}.*, {', '.join(missing)} FROM {table}) AS {table}" if missing else table


Select = Callable[[str], Iterator[Row]]
S = TypeVar("S", bound="type[LedgerStore]")


def ledger_store(*schemes: str) -> Callable[[S], S]:
    """A decorator that registers a store class for addresses with these schemes (`LEDGER_STORES`)."""

    def register(store: S) -> S:
        for scheme in schemes:
            LEDGER_STORES.register(scheme)(store)
        return store

    return register


class LedgerStore(ABC):
    """An open ledger. Reads may come from one thread and commits from another, one commit at a time.

    All methods raise `LedgerError` where the store cannot be read or written. Direct mode needs the abstract methods; the others, for
    batch mode and `dprm ledger`, may be left out.

    coordinator: the class that coordinates processes sharing a ledger, as "package.module:Class" (see `engine/shared/factory.py`). None: one
    process at a time writes to a ledger, and the constructor raises `RunBusy` for a second one.
    """

    coordinator: ClassVar[str | None] = None

    @abstractmethod
    def __init__(self, address: LedgerAddress, *, readonly: bool) -> None:
        """Open the ledger; unless `readonly`, create it if there is none.

        Raises `LedgerError` if it is no ledger, is newer than this program or cannot be reached, and if `readonly` and there is none.
        """

    @classmethod
    @abstractmethod
    def exists(cls, address: LedgerAddress) -> bool:
        """Whether there is a ledger at this address. Raises `LedgerError` if that cannot be determined."""

    @property
    @abstractmethod
    def location(self) -> str:
        """The address without secrets, for messages."""

    @abstractmethod
    def find(self, keys: Sequence[bytes]) -> dict[bytes, CallRow]:
        """The newest attempt at each of these calls, if there is one."""

    @abstractmethod
    def find_done(self, plan: bytes, items: Sequence[bytes]) -> set[bytes]:
        """The items, among these, that are done under this plan."""

    @abstractmethod
    def spent(self, run: str) -> float:
        """Dollars that the run's calls and failures have cost."""

    def holds(self, run: str | None = None) -> list[HoldRow]:
        """What processes may owe for calls that they did not record: those of one run, or all. A store that keeps no holds has none.

        Where several processes may write, those of processes at work are left out: their own budgets count them.
        """
        return []

    def possibly_billed(self) -> dict[str, float]:
        """Dollars in `holds` for each run, without rounding residues."""
        found: dict[str, float] = {}
        for hold in self.holds():
            if hold.held > NOTHING:
                found[hold.run] = found.get(hold.run, 0.0) + hold.held
        return found

    @abstractmethod
    def count(self, table: str) -> int:
        """The number of rows in a table."""

    @abstractmethod
    def failures_by_kind(self, run: str) -> dict[str, int]:
        """The number of the run's failed attempts, by kind."""

    def state(self) -> str | None:
        """Something that changes with every commit of calls, found in no time; None if the store has nothing like it."""
        return None

    @abstractmethod
    def commit(self, transaction: Transaction) -> None:
        """Write all of it or nothing. Returns once it is on disk."""

    @abstractmethod
    def close(self) -> None:
        """Release the store."""

    # -- batch mode -----------------------------------------------------------------------------------------------------

    def lock_pending_batches(self, run: str) -> None:
        """Keep other processes from changing this run's batches until the store is closed. Raises `RunBusy` if another process has the lock."""
        raise self._unsupported("mode: batch")

    def batches(self, run: str) -> list[PendingBatch]:
        """The run's batches, oldest first."""
        raise self._unsupported("mode: batch")

    def batch_rows(self, number: int) -> dict[bytes, bytes]:
        """A batch's calls: key to item."""
        raise self._unsupported("mode: batch")

    def items_in_batches(self, items: Sequence[bytes]) -> set[bytes]:
        """The items, among these, that have calls in any batch."""
        raise self._unsupported("mode: batch")

    def add_batch(self, run: str, tag: str, calls: Sequence[tuple[bytes, bytes]], reserved: float, now: float) -> int:
        """Keep a batch of these (key, item) under a unique tag. Returns its number."""
        raise self._unsupported("mode: batch")

    def confirm_batch(self, number: int, batch_id: str) -> None:
        """Keep the provider's id of a batch."""
        raise self._unsupported("mode: batch")

    # -- dprm ledger stats, check, export -------------------------------------------------------------------------------

    def snapshot(self) -> AbstractContextManager[Select]:
        """A function that streams the rows of a SELECT statement. All statements see one moment of the ledger.

        The statements are in the SQL that SQLite and PostgreSQL share, on the tables of `TABLES`.
        """
        raise self._unsupported("dprm ledger")

    def relation(self, table: str) -> str:
        """The FROM clause for a table with all its columns. An older ledger that was opened for reading lacks some."""
        return table

    def has(self, table: str) -> bool:
        """Whether the table exists: an old file that was opened for reading lacks some."""
        return table in TABLES

    def totals(self) -> dict[str, float]:
        """Each run's cost in dollars, as the commits have summed it."""
        raise self._unsupported("dprm ledger")

    def bytes_on_disk(self) -> int:
        """The size of the ledger."""
        raise self._unsupported("dprm ledger stats")

    def faults(self) -> list[str]:
        """What the database itself reports as wrong, one sentence each."""
        return []

    # -- dprm ledger copy -----------------------------------------------------------------------------------------------

    def between(self, table: str, first: int, last: int) -> list[Row]:
        """The rows of `calls` or `failures` numbered `first` to `last`, inclusive, with all columns."""
        raise self._unsupported("dprm ledger copy")

    def put(self, table: str, rows: Sequence[Row]) -> None:
        """Write rows with all their columns, except those whose number or key exists. Returns once they are on disk."""
        raise self._unsupported("dprm ledger copy")

    def clear(self, table: str) -> None:
        """Delete all rows of a table."""
        raise self._unsupported("dprm ledger copy")

    def set_totals(self, totals: dict[str, float]) -> None:
        """Replace the totals."""
        raise self._unsupported("dprm ledger copy")

    def _unsupported(self, feature: str) -> InputError:
        return InputError(
            f"{self.location}: this kind of ledger does not support {feature}",
            hint="A SQLite file and a PostgreSQL database do.",
        )


def write_error(location: object, error: Exception) -> LedgerError:
    """The error for a failed transaction."""
    return LedgerError(
        f"the ledger {location} cannot be written: {str(error) or type(error).__name__}",
        hint="All acknowledged answers are safe. Make room (or make the folder writable), then run again to continue.",
    )
