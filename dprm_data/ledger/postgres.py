"""A ledger in PostgreSQL: many processes read and write it at once, and a commit counts once it is on the server's disk.

A lost connection is replaced and its work retried; a commit whose acknowledgement was lost with the connection takes effect only once.
"""

from __future__ import annotations

import itertools
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from dprm_data.core.errors import LedgerError, RunBusy
from dprm_data.core.ledger_address import LedgerAddress
from dprm_data.ledger.postgres_codec import array_placeholders, column_type, decode_row, encode, to_columns
from dprm_data.ledger.postgres_errors import translated_errors
from dprm_data.ledger.postgres_pool import RetryingConnection, RetryingPool, connect, open_pool, with_connection
from dprm_data.ledger.postgres_schema import columns_of, migrate, version_of
from dprm_data.ledger.store import (
    CALL,
    CHECKED,
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

if TYPE_CHECKING:
    from dprm_data.ledger.postgres_pool import Connection

_COLUMNS = ", ".join(CALL)
_INSERT_CALLS = (
    f"INSERT INTO calls ({_COLUMNS}) "
    f"SELECT key, COALESCE((SELECT MAX(attempt) + 1 FROM calls AS older WHERE older.key = new.key), 0), {', '.join(CALL[2:])} "
    f"FROM unnest({array_placeholders(CALL)}) AS new ({_COLUMNS}) ON CONFLICT DO NOTHING RETURNING key"
)
_INSERT_FAILURES = f"INSERT INTO failures ({', '.join(FAILURE)}) SELECT * FROM unnest({array_placeholders(FAILURE)})"
_DELETE_DONE = "DELETE FROM done USING unnest(%b::bytea[], %b::bytea[]) AS gone (plan, item) WHERE done.plan = gone.plan AND done.item = gone.item"
_INSERT_DONE = "INSERT INTO done SELECT * FROM unnest(%b::bytea[], %b::bytea[]) ON CONFLICT DO NOTHING"
# Returns no row if this commit was made already. The row's lock makes it wait until the lost connection's transaction has ended.
_SIGN_COMMIT = (
    "INSERT INTO writers (run, writer, cost, last_commit) VALUES (%s, %s, %s, %s) ON CONFLICT (run, writer) DO UPDATE "
    "SET cost = writers.cost + excluded.cost, last_commit = excluded.last_commit "
    "WHERE writers.last_commit <> excluded.last_commit RETURNING 1"
)
_SET_HOLD = (
    "INSERT INTO holds (run, writer, held, created_at) VALUES (%s, %s, %s, %s) "
    "ON CONFLICT (run, writer) DO UPDATE SET held = excluded.held, created_at = excluded.created_at"
)
_DROP_HOLD = "DELETE FROM holds WHERE run = %s AND writer = %s"
# Workers at work have a row, whose ceiling covers their hold.
_HOLDS = (
    "SELECT run, writer, held, created_at FROM holds WHERE NOT EXISTS (SELECT 1 FROM workers WHERE workers.run = holds.run "
    "AND workers.writer::text = holds.writer AND workers.expires_at > clock_timestamp()) ORDER BY run, created_at"
)
_BATCH_LOCK = 0x5348454C  # with the run's hash: the advisory lock for changing its batches
_COPIED = uuid.UUID(int=0)  # the writer of copied totals
_LOOKUP = 5000  # values in one query


@ledger_store("postgresql", "postgres")
class PostgresStore(LedgerStore):
    """A ledger in a database. Raises `LedgerError` if it cannot be reached, is no ledger or is newer than this program."""

    coordinator = "dprm_data.engine.shared.postgres_coordinator:PostgresCoordinator"

    def __init__(self, address: LedgerAddress, *, readonly: bool) -> None:
        self.address = address
        if not readonly:
            with_connection(address, lambda db: migrate(db, address))
        elif not self.exists(address):
            raise LedgerError(f"no ledger at {address.shown}", hint="Give a database that dprm has used as a ledger.")
        self.pool = open_pool(address, readonly=readonly)
        self._retrying = RetryingPool(self.pool, address)
        self._columns = {table: self._retrying.run(partial(columns_of, table=table)) for table in CHECKED}
        self.writer = uuid.uuid4()  # identifies this store's commits; their costs are summed under it
        self._committing = threading.Lock()
        self._batch_writer: RetryingConnection | None = None

    @classmethod
    def exists(cls, address: LedgerAddress) -> bool:
        return with_connection(address, lambda db: version_of(db, address), readonly=True) > 0

    @property
    def location(self) -> str:
        return self.address.shown

    def close(self) -> None:
        if self._batch_writer:
            self._batch_writer.close()
        self.pool.close()

    # -- reading ------------------------------------------------------------------------------------------------------

    def find(self, keys: Sequence[bytes]) -> dict[bytes, CallRow]:
        query = (
            f"SELECT DISTINCT ON (key) {_COLUMNS} FROM {self.relation('calls')} WHERE key = ANY(%b::bytea[]) "
            "ORDER BY key, attempt DESC"
        )
        rows = (decode_row(row) for some in chunked(keys, _LOOKUP) for row in self._select(query, (list(some),)))
        return {row.key: row for row in map(CallRow._make, rows)}

    def find_done(self, plan: bytes, items: Sequence[bytes]) -> set[bytes]:
        query = "SELECT item FROM done WHERE plan = %b AND item = ANY(%b::bytea[])"
        return {item for some in chunked(items, _LOOKUP) for (item,) in self._select(query, (plan, list(some)))}

    def spent(self, run: str) -> float:
        return float(self._select("SELECT COALESCE(SUM(cost), 0) FROM writers WHERE run = %s", (encode(run),))[0][0])

    def holds(self, run: str | None = None) -> list[HoldRow]:
        rows = self._select(_HOLDS) if self.has("holds") else []
        return [hold for hold in map(HoldRow._make, map(decode_row, rows)) if run in (None, hold.run)]

    def count(self, table: str) -> int:
        return int(self._select(f"SELECT COUNT(*) FROM {table}")[0][0])

    def failures_by_kind(self, run: str) -> dict[str, int]:
        query = "SELECT kind, COUNT(*) FROM failures WHERE run = %s GROUP BY kind ORDER BY kind"
        return dict(map(decode_row, self._select(query, (encode(run),))))

    def state(self) -> str | None:
        """Every writer's last commit: calls may become visible out of order."""
        return repr(self._select("SELECT run, writer::text, last_commit::text FROM writers ORDER BY run, writer"))

    def _select(self, query: str, values: Sequence[object] = ()) -> list[Row]:
        return self._retrying.run(lambda db: db.execute(query, values, binary=True).fetchall())

    # -- writing ------------------------------------------------------------------------------------------------------

    def commit(self, transaction: Transaction) -> None:
        # Sorted, so that two writers of the same calls lock in the same order.
        calls, failures = sorted(transaction.calls, key=lambda row: row.key), transaction.failures
        undone, done = sorted(set(transaction.undone)), sorted(set(transaction.done))

        def work(db: Connection) -> None:
            with db.transaction():
                signed = db.execute(
                    _SIGN_COMMIT, (encode(transaction.run), self.writer, transaction.cost, transaction.id)
                ).fetchone()
                if not signed:
                    return
                _insert_calls(db, calls)
                if failures:
                    db.execute(_INSERT_FAILURES, to_columns(FAILURE, failures))
                if undone:
                    db.execute(_DELETE_DONE, to_columns(("plan", "item"), undone))
                if done:
                    db.execute(_INSERT_DONE, to_columns(("plan", "item"), done))
                if transaction.held is not None:
                    mine = encode(transaction.run), str(self.writer)
                    db.execute(
                        *(
                            (_SET_HOLD, (*mine, transaction.held, time.time()))
                            if transaction.held
                            else (_DROP_HOLD, mine)
                        )
                    )
                for hold in transaction.settled:
                    db.execute(_DROP_HOLD, (encode(hold.run), hold.writer))
                if transaction.collected:
                    db.execute("DELETE FROM batch_rows WHERE batch = ANY(%s)", (transaction.collected,))
                    db.execute("DELETE FROM batches WHERE id = ANY(%s)", (transaction.collected,))

        with self._committing:
            self._retrying.run(work)

    # -- batch mode -----------------------------------------------------------------------------------------------------

    def lock_pending_batches(self, run: str) -> None:
        """Take an advisory lock on a separate connection, and change batches only on that: a process that loses the lock with the connection
        changes nothing."""

        def lock(db: Connection) -> None:
            locked = db.execute("SELECT pg_try_advisory_lock(%s, hashtext(%s))", (_BATCH_LOCK, encode(run))).fetchone()
            if not locked or not locked[0]:
                raise RunBusy(
                    f"another process is collecting the batches of {run} in {self.location}",
                    hint="Wait for it or stop it: only one process at a time may run in batch mode.",
                )

        self._batch_writer = RetryingConnection(self.address, lock)
        self._batch_writer.run(lambda db: None)

    def batches(self, run: str) -> list[PendingBatch]:
        query = "SELECT id, tag, batch_id, rows, reserved, created_at FROM batches WHERE run = %s ORDER BY id"
        return [PendingBatch(*row) for row in self._select(query, (encode(run),))]

    def batch_rows(self, number: int) -> dict[bytes, bytes]:
        return dict(self._select("SELECT key, item FROM batch_rows WHERE batch = %s", (number,)))

    def items_in_batches(self, items: Sequence[bytes]) -> set[bytes]:
        query = "SELECT DISTINCT item FROM batch_rows WHERE item = ANY(%b::bytea[])"
        return {item for some in chunked(items, _LOOKUP) for (item,) in self._select(query, (list(some),))}

    def add_batch(self, run: str, tag: str, calls: Sequence[tuple[bytes, bytes]], reserved: float, now: float) -> int:
        def work(db: Connection) -> int:
            committed = db.execute("SELECT id FROM batches WHERE tag = %s", (tag,)).fetchone()
            if committed:  # its acknowledgement was lost with the connection
                return int(committed[0])
            added = db.execute(
                "INSERT INTO batches (run, tag, rows, reserved, created_at) VALUES (%s, %s, %s, %s, %s) RETURNING id",
                (encode(run), tag, len(calls), reserved, now),
            ).fetchone()
            assert added
            with db.cursor().copy("COPY batch_rows (batch, key, item) FROM STDIN") as copy:
                for key, item in calls:
                    copy.write_row((added[0], key, item))
            return int(added[0])

        assert self._batch_writer, "lock_pending_batches comes first"
        return self._batch_writer.run(work)

    def confirm_batch(self, number: int, batch_id: str) -> None:
        assert self._batch_writer, "lock_pending_batches comes first"
        statement = "UPDATE batches SET batch_id = %s WHERE id = %s"
        self._batch_writer.run(lambda db: db.execute(statement, (batch_id, number)))

    # -- dprm ledger --------------------------------------------------------------------------------------------------

    @contextmanager
    def snapshot(self) -> Iterator[Select]:
        with translated_errors(self.address), connect(self.address, readonly=True) as db, db.transaction():
            db.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            numbers = itertools.count()

            def select(query: str) -> Iterator[Row]:
                with db.cursor(
                    f"s{next(numbers)}"
                ) as cursor:  # a cursor on the server, for a few thousand rows at a time
                    cursor.itersize = _LOOKUP
                    yield from map(decode_row, cursor.execute(query, binary=True))

            yield select

    def relation(self, table: str) -> str:
        return with_all_columns(table, self._columns.get(table, ()))

    def has(self, table: str) -> bool:
        return bool(self._select("SELECT to_regclass(%s) IS NOT NULL", (f"dprm.{table}",))[0][0])

    def between(self, table: str, first: int, last: int) -> list[Row]:
        query = f"SELECT {', '.join(TABLES[table])} FROM {table} WHERE id BETWEEN %s AND %s ORDER BY id"
        return [decode_row(row) for row in self._select(query, (first, last))]

    def put(self, table: str, rows: Sequence[Row]) -> None:
        names = TABLES[table]
        types = [column_type(names, name) for name in names]
        described = ", ".join(f"{name} {kind}" for name, kind in zip(names, types, strict=True))

        def work(db: Connection) -> None:
            with db.transaction():
                db.execute("SET LOCAL search_path = dprm, pg_temp")
                db.execute(f"CREATE TEMPORARY TABLE incoming ({described}) ON COMMIT DROP")
                with db.cursor().copy("COPY incoming FROM STDIN (FORMAT BINARY)") as copy:
                    copy.set_types(types)
                    for row in rows:
                        copy.write_row([encode(value) if isinstance(value, str) else value for value in row])
                db.execute(f"INSERT INTO {table} ({', '.join(names)}) SELECT * FROM incoming ON CONFLICT DO NOTHING")
                if names[0] == "id":  # so that the next new row comes after these
                    db.execute(
                        f"SELECT setval(pg_get_serial_sequence('dprm.{table}', 'id'), GREATEST(MAX(id), 1)) FROM {table}"
                    )

        self._retrying.run(work)

    def clear(self, table: str) -> None:
        self._retrying.run(lambda db: db.execute(f"DELETE FROM {table}"))

    def totals(self) -> dict[str, float]:
        return dict(map(decode_row, self._select("SELECT run, SUM(cost) FROM writers GROUP BY run")))

    def set_totals(self, totals: dict[str, float]) -> None:
        def work(db: Connection) -> None:
            with db.transaction():
                db.execute("DELETE FROM writers")
                for run, cost in totals.items():
                    db.execute(_SIGN_COMMIT, (encode(run), _COPIED, cost, uuid.uuid4()))

        self._retrying.run(work)

    def bytes_on_disk(self) -> int:
        query = (
            "SELECT COALESCE(SUM(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c "
            "WHERE c.relnamespace = to_regnamespace('dprm') AND c.relkind = 'r'"
        )
        return int(self._select(query)[0][0])

    def faults(self) -> list[str]:
        settings = ("fsync", "full_page_writes")
        query = "SELECT name FROM pg_settings WHERE name = ANY(%s) AND setting <> 'on'"
        return [
            f"the server runs with {name} off: a power cut may undo acknowledged commits"
            for (name,) in self._select(query, (list(settings),))
        ]


def _insert_calls(db: Connection, calls: Iterable[CallRow]) -> None:
    """Insert every call as the next attempt of its key; retry if another writer takes that number at the same moment."""
    left = list(calls)
    while left:
        now = list({row.key: row for row in reversed(left)}.values())[::-1]  # the first row of each key
        there = db.execute(_INSERT_CALLS, to_columns(CALL, now), binary=True).fetchall()
        in_it = {key: True for (key,) in there}
        left = [row for row in left if not in_it.pop(row.key, False)]
