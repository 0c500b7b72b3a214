"""A ledger in a file: SQLite in WAL mode with full synchronisation, so that neither `kill -9` nor a power cut loses a commit.

One process at a time writes to it; any number may read.
"""

from __future__ import annotations

import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from dprm_data.core.ledger_address import LedgerAddress
from dprm_data.ledger.sqlite_file import acquire_lock, columns_of, connect, translated_errors, version_of
from dprm_data.ledger.store import (
    CALL,
    FAILURE,
    TABLES,
    CallRow,
    HoldRow,
    LedgerStore,
    PendingBatch,
    Row,
    Select,
    Transaction,
    chunked,
    ledger_store,
    with_all_columns,
)

_COLUMNS = ", ".join(CALL)
_INSERT_CALL = (
    f"INSERT INTO calls ({_COLUMNS}) VALUES "
    f"(?1, (SELECT COALESCE(MAX(attempt) + 1, 0) FROM calls WHERE key = ?1), {', '.join(f'?{i}' for i in range(3, len(CALL) + 1))})"
)
_INSERT_FAILURE = f"INSERT INTO failures ({', '.join(FAILURE)}) VALUES ({', '.join('?' * len(FAILURE))})"
_ADD_TOTAL = (
    "INSERT INTO totals (run, cost) VALUES (?, ?) ON CONFLICT (run) DO UPDATE SET cost = totals.cost + excluded.cost"
)
_SET_HOLD = (
    "INSERT INTO holds (run, writer, held, created_at) VALUES (?, ?, ?, ?) "
    "ON CONFLICT (run, writer) DO UPDATE SET held = excluded.held, created_at = excluded.created_at"
)
_DROP_HOLD = "DELETE FROM holds WHERE run = ? AND writer = ?"
_LOOKUP = 500  # values in one query


@ledger_store("sqlite")
class SqliteStore(LedgerStore):
    """A ledger's file. Raises `LedgerError` if it is no ledger, is newer than this program, or cannot be written; `RunBusy` if another
    process is writing to it."""

    def __init__(self, address: LedgerAddress, *, readonly: bool) -> None:
        self.path = path = address.path
        self._lock: FileLock | None = None if readonly else acquire_lock(path)
        self._committing = threading.Lock()
        self._name = str(uuid.uuid4())  # of this process's hold
        try:
            # Commits run in another thread; with a connection of their own, readers see no unfinished transaction.
            self._writer = None if readonly else connect(path, readonly=False)
            self.db = connect(path, readonly=readonly)
            self._version = version_of(self.db)
            self._columns = {table: columns_of(self.db, table) for table in TABLES}
        except BaseException:
            self._release()
            raise

    @classmethod
    def exists(cls, address: LedgerAddress) -> bool:
        return address.path.is_file()

    @property
    def location(self) -> str:
        return str(self.path)

    def close(self) -> None:
        for db in (self._writer, self.db):
            if db:
                db.close()
        self._release()

    def _release(self) -> None:
        if self._lock:
            self._lock.release()

    # -- reading ------------------------------------------------------------------------------------------------------

    def find(self, keys: Sequence[bytes]) -> dict[bytes, CallRow]:
        found: dict[bytes, CallRow] = {}
        for some in chunked(keys, _LOOKUP):
            rows = self._select(f"SELECT {_COLUMNS} FROM {self.relation('calls')} WHERE key IN ({_marks(some)})", some)
            for row in map(CallRow._make, rows):
                if row.key not in found or found[row.key].attempt < row.attempt:
                    found[row.key] = row
        return found

    def find_done(self, plan: bytes, items: Sequence[bytes]) -> set[bytes]:
        done: set[bytes] = set()
        for some in chunked(items, _LOOKUP):
            query = f"SELECT item FROM done WHERE plan = ? AND item IN ({_marks(some)})"
            done.update(item for (item,) in self._select(query, (plan, *some)))
        return done

    def spent(self, run: str) -> float:
        query = "SELECT cost FROM totals WHERE run = ?1"
        if self._version < 2:  # opened for reading only, and so not migrated
            both = "SELECT cost, run FROM calls UNION ALL SELECT cost, run FROM failures"
            query = f"SELECT COALESCE(SUM(cost), 0) FROM ({both}) WHERE run = ?1"
        found = self._select(query, (run,))
        return float(found[0][0]) if found else 0.0

    def holds(self, run: str | None = None) -> list[HoldRow]:
        if not self.has("holds"):
            return []
        rows = self._select("SELECT run, writer, held, created_at FROM holds ORDER BY run, created_at")
        return [hold for hold in map(HoldRow._make, rows) if run in (None, hold.run)]

    def count(self, table: str) -> int:
        return int(self._select(f"SELECT COUNT(*) FROM {table}")[0][0])

    def failures_by_kind(self, run: str) -> dict[str, int]:
        query = "SELECT kind, COUNT(*) FROM failures WHERE run = ? GROUP BY kind ORDER BY kind"
        return dict(self._select(query, (run,)))

    def state(self) -> str | None:
        """The last call: calls are only ever added, one process at a time."""
        last = "SELECT id, hex(key), hex(checksum), created_at FROM {} ORDER BY id DESC LIMIT 1"
        return repr(self._select(last.format(self.relation("calls"))))

    def _select(self, query: str, values: Sequence[object] = ()) -> list[Row]:
        with translated_errors(self.path):
            return self.db.execute(query, values).fetchall()

    # -- writing ------------------------------------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Write everything inside the block, or nothing; it is on disk at the end. One at a time, from any thread."""
        assert self._writer is not None, "opened for reading only"
        with translated_errors(self.path), self._committing, self._writer as db:
            db.execute("BEGIN IMMEDIATE")
            yield db

    def commit(self, transaction: Transaction) -> None:
        with self.transaction() as db:
            db.executemany(_INSERT_CALL, transaction.calls)
            db.executemany(_INSERT_FAILURE, transaction.failures)
            db.executemany("DELETE FROM done WHERE plan = ? AND item = ?", transaction.undone)
            db.executemany("INSERT OR IGNORE INTO done (plan, item) VALUES (?, ?)", transaction.done)
            collected = [(number,) for number in transaction.collected]
            db.executemany("DELETE FROM batch_rows WHERE batch = ?", collected)
            db.executemany("DELETE FROM batches WHERE id = ?", collected)
            if transaction.calls or transaction.failures:
                db.execute(_ADD_TOTAL, (transaction.run, transaction.cost))
            if transaction.held is not None:
                mine = transaction.run, self._name
                db.execute(
                    *((_SET_HOLD, (*mine, transaction.held, time.time())) if transaction.held else (_DROP_HOLD, mine))
                )
            db.executemany(_DROP_HOLD, [(hold.run, hold.writer) for hold in transaction.settled])

    # -- batch mode -----------------------------------------------------------------------------------------------------

    def lock_pending_batches(self, run: str) -> None:
        """The file's lock is enough."""

    def batches(self, run: str) -> list[PendingBatch]:
        query = "SELECT id, tag, batch_id, rows, reserved, created_at FROM batches WHERE run = ? ORDER BY id"
        return [PendingBatch(*row) for row in self._select(query, (run,))]

    def batch_rows(self, number: int) -> dict[bytes, bytes]:
        return dict(self._select("SELECT key, item FROM batch_rows WHERE batch = ?", (number,)))

    def items_in_batches(self, items: Sequence[bytes]) -> set[bytes]:
        held: set[bytes] = set()
        for some in chunked(items, _LOOKUP):
            query = f"SELECT DISTINCT item FROM batch_rows WHERE item IN ({_marks(some)})"
            held.update(item for (item,) in self._select(query, some))
        return held

    def add_batch(self, run: str, tag: str, calls: Sequence[tuple[bytes, bytes]], reserved: float, now: float) -> int:
        with self.transaction() as db:
            made = db.execute(
                "INSERT INTO batches (run, tag, rows, reserved, created_at) VALUES (?, ?, ?, ?, ?)",
                (run, tag, len(calls), reserved, now),
            )
            number = int(made.lastrowid or 0)
            db.executemany("INSERT INTO batch_rows VALUES (?, ?, ?)", [(number, key, item) for key, item in calls])
        return number

    def confirm_batch(self, number: int, batch_id: str) -> None:
        with self.transaction() as db:
            db.execute("UPDATE batches SET batch_id = ? WHERE id = ?", (batch_id, number))

    # -- dprm ledger ----------------------------------------------------------------------------------------------------

    @contextmanager
    def snapshot(self) -> Iterator[Select]:
        with translated_errors(self.path):
            db = connect(self.path, readonly=True)
            try:
                db.execute("BEGIN")
                yield lambda query: iter(db.execute(query))
            finally:
                db.close()

    def relation(self, table: str) -> str:
        return with_all_columns(table, self._columns[table])

    def has(self, table: str) -> bool:
        return bool(self._select("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)))

    def between(self, table: str, first: int, last: int) -> list[Row]:
        query = f"SELECT {', '.join(TABLES[table])} FROM {table} WHERE id BETWEEN ? AND ? ORDER BY id"
        return self._select(query, (first, last))

    def put(self, table: str, rows: Sequence[Row]) -> None:
        names = TABLES[table]
        with self.transaction() as db:
            db.executemany(
                f"INSERT OR IGNORE INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})", rows
            )

    def clear(self, table: str) -> None:
        with self.transaction() as db:
            db.execute(f"DELETE FROM {table}")

    def totals(self) -> dict[str, float]:
        if self._version < 2:
            return {run: self.spent(run) for (run,) in self._select("SELECT DISTINCT run FROM calls")}
        return dict(self._select("SELECT run, cost FROM totals"))

    def set_totals(self, totals: dict[str, float]) -> None:
        with self.transaction() as db:
            db.execute("DELETE FROM totals")
            db.executemany("INSERT INTO totals (run, cost) VALUES (?, ?)", totals.items())

    def bytes_on_disk(self) -> int:
        files = (self.path, Path(f"{self.path}-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    def faults(self) -> list[str]:
        found = [str(line) for (line,) in self._select("PRAGMA quick_check(20)")]
        return [] if found == ["ok"] else [f"SQLite's quick check: {line}" for line in found]


def _marks(values: Sequence[bytes]) -> str:
    return ", ".join("?" * len(values))
