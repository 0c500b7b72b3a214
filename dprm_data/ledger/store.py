"""What every store of a ledger can do. `annotate/ledger.py` gathers, names and waits; a store only keeps."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

Row = tuple[Any, ...]


class CallRow(NamedTuple):
    """A call as it is kept, without its number in the store. attempt: in what is to be committed, the store's to count. estimated: 1 where
    the server did not report all of the tokens; then cost is the most that the call can have cost."""

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


class FailureRow(NamedTuple):
    """A failed attempt as it is kept, without its number in the store."""

    key: bytes
    run: str
    kind: str
    status: int | None
    message: str
    cost: float | None
    created_at: float


CALL, FAILURE = CallRow._fields, FailureRow._fields
# The tables with all their columns, as they are copied.
TABLES: dict[str, tuple[str, ...]] = {
    "calls": ("id", *CALL),
    "failures": ("id", *FAILURE),
    "done": ("plan", "item"),
    "batches": ("id", "run", "tag", "batch_id", "rows", "reserved", "created_at"),
    "batch_rows": ("batch", "key", "item"),
}
INT = 2**63 - 1  # the largest whole number that both stores keep


@dataclass(slots=True)
class Commit:
    """What one transaction holds.

    done and undone: (plan, item); collected: numbers of batches that leave the pending; cost: dollars of these calls and failures together. name: one commit is never
    made twice, however often it is tried.
    """

    run: str
    calls: list[CallRow] = field(default_factory=list)
    failures: list[FailureRow] = field(default_factory=list)
    undone: list[Row] = field(default_factory=list)
    done: list[Row] = field(default_factory=list)
    collected: list[int] = field(default_factory=list)
    cost: float = 0.0
    name: uuid.UUID = field(default_factory=uuid.uuid4)

    def __bool__(self) -> bool:
        return bool(self.calls or self.failures or self.undone or self.done or self.collected)


@dataclass(frozen=True, slots=True)
class PendingBatch:
    """A batch on the pending. number: in the ledger; batch_id: at the provider, None where it is not known to have got there; reserved:
    dollars; created_at: seconds since 1970."""

    number: int
    tag: str
    batch_id: str | None
    rows: int
    reserved: float
    created_at: float


def parts(values: Sequence[bytes], size: int) -> Iterator[Sequence[bytes]]:
    """So many values at a time: what one query can hold."""
    return (values[start : start + size] for start in range(0, len(values), size))


def with_estimated(table: str, version: int) -> str:
    """A store's `relation` at a version of its schema. (Both stores have called the same version their third.)"""
    return "(SELECT calls.*, 0 AS estimated FROM calls) AS calls" if table == "calls" and version < 3 else table


Select = Callable[[str], Iterator[Row]]


class Store(Protocol):
    """Where the rows are. Reads may come from one thread and commits from another, one commit at a time.

    All raise `LedgerError` where the store cannot be read or written.
    """

    @property
    def where(self) -> str:
        """The store's address as it may be shown."""
        ...

    def find(self, keys: Sequence[bytes]) -> dict[bytes, CallRow]:
        """The newest attempt at each of these calls, where there is one."""
        ...

    def find_done(self, plan: bytes, items: Sequence[bytes]) -> set[bytes]:
        """Those of the items that are noted as done under this plan."""
        ...

    def spent(self, run: str) -> float:
        """Dollars that the run's calls and failures have cost."""
        ...

    def count(self, table: str) -> int:
        """Rows of a table."""
        ...

    def failures_by_kind(self, run: str) -> dict[str, int]:
        """How many attempts of the run failed, by kind."""
        ...

    def commit(self, commit: Commit) -> None:
        """All of it or nothing; on disk when it returns."""
        ...

    # -- the pending ----------------------------------------------------------------------------------------------------

    def hold_pending_batches(self, run: str) -> None:
        """From now until the store is closed, nobody else changes this run's batches. Raises `RunBusy` where somebody does."""
        ...

    def batches(self, run: str) -> list[PendingBatch]:
        """The run's batches, oldest first."""
        ...

    def batch_rows(self, number: int) -> dict[bytes, bytes]:
        """A batch's calls: key to item."""
        ...

    def items_in_batches(self, items: Sequence[bytes]) -> set[bytes]:
        """Those of the items that have calls in any batch."""
        ...

    def add_batch(self, run: str, tag: str, calls: Sequence[tuple[bytes, bytes]], reserved: float, now: float) -> int:
        """Keep a batch of these (key, item) under a tag of its own; returns its number."""
        ...

    def confirm_batch(self, number: int, batch_id: str) -> None:
        """Keep the provider's id of a batch."""
        ...

    # -- all of it ----------------------------------------------------------------------------------------------------

    def snapshot(self) -> AbstractContextManager[Select]:
        """Statements in it, which both stores understand, see one moment of the ledger; their rows stream."""
        ...

    def relation(self, table: str) -> str:
        """What stands after FROM for a table with all its columns: an older ledger that is only looked at lacks some, which are 0."""
        ...

    def has(self, table: str) -> bool:
        """Whether there is such a table: an old file that is only looked at lacks some."""
        ...

    def between(self, table: str, first: int, last: int) -> list[Row]:
        """The rows of `calls` or `failures` with these numbers, both ends with them: all columns."""
        ...

    def put(self, table: str, rows: Sequence[Row]) -> None:
        """Keep rows with all their columns; those whose number or key is there already are left out. On disk when it returns."""
        ...

    def clear(self, table: str) -> None:
        """Forget all rows of a table."""
        ...

    def totals(self) -> dict[str, float]:
        """What every run has cost, as the commits have added it up."""
        ...

    def set_totals(self, totals: dict[str, float]) -> None:
        """Keep these totals instead of those that are there."""
        ...

    def bytes(self) -> int:
        """What it takes on disk."""
        ...

    def faults(self) -> list[str]:
        """What the database itself finds wrong, a sentence each."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...
