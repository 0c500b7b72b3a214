"""The ledger in PostgreSQL: many processes read and write it at once, each commit on the server's disk before it counts.

A connection that is lost in the middle is made again, with patience; a commit whose acknowledgement was lost with it is not made twice.
"""

from __future__ import annotations

import itertools
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from dprm_data.core.errors import LedgerError, RunBusy
from dprm_data.core.ledger_address import shown
from dprm_data.ledger.postgres_codec import arrays, back, columns, kept, type_of
from dprm_data.ledger.postgres_pool import Patient, Speaking, begin, connect, dial, open_pool, patiently
from dprm_data.ledger.postgres_schema import STEPS, bring_up_to_date, version_of
from dprm_data.ledger.store import (
    CALL,
    FAILURE,
    TABLES,
    CallRow,
    Commit,
    PendingBatch,
    Row,
    Select,
    parts,
    with_estimated,
)

if TYPE_CHECKING:
    from dprm_data.ledger.postgres_pool import Connection

T = TypeVar("T")

_COLUMNS = ", ".join(CALL)
_INSERT_CALLS = (
    f"INSERT INTO calls ({_COLUMNS}) "
    f"SELECT key, COALESCE((SELECT MAX(attempt) + 1 FROM calls AS older WHERE older.key = new.key), 0), {', '.join(CALL[2:])} "
    f"FROM unnest({arrays(CALL)}) AS new ({_COLUMNS}) ON CONFLICT DO NOTHING RETURNING key"
)
_INSERT_FAILURES = f"INSERT INTO failures ({', '.join(FAILURE)}) SELECT * FROM unnest({arrays(FAILURE)})"
_DELETE_DONE = "DELETE FROM done USING unnest(%b::bytea[], %b::bytea[]) AS gone (plan, item) WHERE done.plan = gone.plan AND done.item = gone.item"
_INSERT_DONE = "INSERT INTO done SELECT * FROM unnest(%b::bytea[], %b::bytea[]) ON CONFLICT DO NOTHING"
# No row comes back where this very commit is there already. The row's lock makes it wait for the lost connection's transaction to end.
_SIGN = (
    "INSERT INTO writers (run, writer, cost, last_commit) VALUES (%s, %s, %s, %s) ON CONFLICT (run, writer) DO UPDATE "
    "SET cost = writers.cost + excluded.cost, last_commit = excluded.last_commit "
    "WHERE writers.last_commit <> excluded.last_commit RETURNING 1"
)
_SHELF = 0x5348454C  # the advisory locks under which a run's batches are changed: "SHEL", and the run
_NOBODY = uuid.UUID(int=0)  # the writer of what was copied
_LOOKUP = 5000  # values in one query


class PostgresStore:
    """A ledger in the database at a URL. Raises `LedgerError` where it cannot be reached, is no ledger or is newer than this program."""

    def __init__(self, url: str, *, readonly: bool) -> None:
        self.url = url
        if not readonly:
            begin(url, lambda db: bring_up_to_date(db, url))
        self._version = begin(url, lambda db: version_of(db, url), readonly=True) if readonly else len(STEPS)
        if not self._version:
            raise LedgerError(f"no ledger at {shown(url)}")
        self.pool = open_pool(url, readonly=readonly)
        self._patient = Patient(self.pool, url)
        self.writer = uuid.uuid4()  # under which this store's commits are signed, and their costs summed
        self._committing = threading.Lock()
        self._shelf: Connection | None = None
        self._shelf_run: str | None = None

    @property
    def where(self) -> str:
        return shown(self.url)

    def close(self) -> None:
        if self._shelf:
            self._shelf.close()
        self.pool.close()

    # -- reading ------------------------------------------------------------------------------------------------------

    def find(self, keys: Sequence[bytes]) -> dict[bytes, CallRow]:
        query = (
            f"SELECT DISTINCT ON (key) {_COLUMNS} FROM {self.relation('calls')} WHERE key = ANY(%b::bytea[]) "
            "ORDER BY key, attempt DESC"
        )
        rows = (back(row) for some in parts(keys, _LOOKUP) for row in self._select(query, (list(some),)))
        return {row.key: row for row in map(CallRow._make, rows)}

    def find_done(self, plan: bytes, items: Sequence[bytes]) -> set[bytes]:
        query = "SELECT item FROM done WHERE plan = %b AND item = ANY(%b::bytea[])"
        return {item for some in parts(items, _LOOKUP) for (item,) in self._select(query, (plan, list(some)))}

    def spent(self, run: str) -> float:
        return float(self._select("SELECT COALESCE(SUM(cost), 0) FROM writers WHERE run = %s", (kept(run),))[0][0])

    def count(self, table: str) -> int:
        return int(self._select(f"SELECT COUNT(*) FROM {table}")[0][0])

    def failures_by_kind(self, run: str) -> dict[str, int]:
        query = "SELECT kind, COUNT(*) FROM failures WHERE run = %s GROUP BY kind ORDER BY kind"
        return dict(map(back, self._select(query, (kept(run),))))

    def _select(self, query: str, values: Sequence[object] = ()) -> list[Row]:
        return self._patient(lambda db: db.execute(query, values, binary=True).fetchall())

    # -- writing ------------------------------------------------------------------------------------------------------

    def commit(self, commit: Commit) -> None:
        # Sorted, so that two writers who keep the same calls wait for each other in one order.
        calls, failures = sorted(commit.calls, key=lambda row: row.key), commit.failures
        undone, done = sorted(set(commit.undone)), sorted(set(commit.done))

        def work(db: Connection) -> None:
            with db.transaction():
                signed = db.execute(_SIGN, (kept(commit.run), self.writer, commit.cost, commit.name)).fetchone()
                if not signed:
                    return
                _insert_calls(db, calls)
                if failures:
                    db.execute(_INSERT_FAILURES, columns(FAILURE, failures))
                if undone:
                    db.execute(_DELETE_DONE, columns(("plan", "item"), undone))
                if done:
                    db.execute(_INSERT_DONE, columns(("plan", "item"), done))
                if commit.collected:
                    db.execute("DELETE FROM batch_rows WHERE batch = ANY(%s)", (commit.collected,))
                    db.execute("DELETE FROM batches WHERE id = ANY(%s)", (commit.collected,))

        with self._committing:
            self._patient(work)

    # -- the pending ----------------------------------------------------------------------------------------------------

    def hold_pending_batches(self, run: str) -> None:
        """Under an advisory lock of a connection of its own, on which all of the pending's changes are made: who has lost the lock with the
        connection changes nothing."""
        self._shelf_run = run
        self._on_shelf(lambda db: None)

    def _on_shelf(self, work: Callable[[Connection], T]) -> T:
        def once() -> T:
            try:
                self._shelf = self._shelf or self._locked()
                with self._shelf.transaction():
                    return work(self._shelf)
            except RunBusy:
                raise
            except BaseException:
                if self._shelf:
                    self._shelf.close()
                    self._shelf = None
                raise

        return patiently(once, self.url)

    def _locked(self) -> Connection:
        db = dial(self.url)
        got = db.execute(
            "SELECT pg_try_advisory_lock(%s, hashtext(%s))", (_SHELF, kept(self._shelf_run or ""))
        ).fetchone()
        if got and got[0]:
            return db
        db.close()
        raise RunBusy(
            f"another process collects the batches of {self._shelf_run} in {self.where}",
            hint="Wait for it, or stop it; a run in batch mode is one process at a time.",
        )

    def batches(self, run: str) -> list[PendingBatch]:
        query = "SELECT id, tag, batch_id, rows, reserved, created_at FROM batches WHERE run = %s ORDER BY id"
        return [PendingBatch(*row) for row in self._select(query, (kept(run),))]

    def batch_rows(self, number: int) -> dict[bytes, bytes]:
        return dict(self._select("SELECT key, item FROM batch_rows WHERE batch = %s", (number,)))

    def items_in_batches(self, items: Sequence[bytes]) -> set[bytes]:
        query = "SELECT DISTINCT item FROM batch_rows WHERE item = ANY(%b::bytea[])"
        return {item for some in parts(items, _LOOKUP) for (item,) in self._select(query, (list(some),))}

    def add_batch(self, run: str, tag: str, calls: Sequence[tuple[bytes, bytes]], reserved: float, now: float) -> int:
        def work(db: Connection) -> int:
            there = db.execute("SELECT id FROM batches WHERE tag = %s", (tag,)).fetchone()
            if there:  # committed, and the connection lost before we heard of it
                return int(there[0])
            made = db.execute(
                "INSERT INTO batches (run, tag, rows, reserved, created_at) VALUES (%s, %s, %s, %s, %s) RETURNING id",
                (kept(run), tag, len(calls), reserved, now),
            ).fetchone()
            assert made
            with db.cursor().copy("COPY batch_rows (batch, key, item) FROM STDIN") as copy:
                for key, item in calls:
                    copy.write_row((made[0], key, item))
            return int(made[0])

        return self._on_shelf(work)

    def confirm_batch(self, number: int, batch_id: str) -> None:
        self._on_shelf(lambda db: db.execute("UPDATE batches SET batch_id = %s WHERE id = %s", (batch_id, number)))

    # -- all of it ----------------------------------------------------------------------------------------------------

    @contextmanager
    def snapshot(self) -> Iterator[Select]:
        with Speaking(self.url), connect(self.url, readonly=True) as db, db.transaction():
            db.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            numbers = itertools.count()

            def select(query: str) -> Iterator[Row]:
                with db.cursor(f"s{next(numbers)}") as cursor:  # on the server: the rows come a few thousand at a time
                    cursor.itersize = _LOOKUP
                    yield from map(back, cursor.execute(query, binary=True))

            yield select

    def relation(self, table: str) -> str:
        return with_estimated(table, self._version)

    def has(self, table: str) -> bool:
        return bool(self._select("SELECT to_regclass(%s) IS NOT NULL", (f"dprm.{table}",))[0][0])

    def between(self, table: str, first: int, last: int) -> list[Row]:
        query = f"SELECT {', '.join(TABLES[table])} FROM {table} WHERE id BETWEEN %s AND %s ORDER BY id"
        return [back(row) for row in self._select(query, (first, last))]

    def put(self, table: str, rows: Sequence[Row]) -> None:
        names = TABLES[table]
        types = [type_of(names, name) for name in names]
        described = ", ".join(f"{name} {kind}" for name, kind in zip(names, types, strict=True))

        def work(db: Connection) -> None:
            with db.transaction():
                db.execute("SET LOCAL search_path = dprm, pg_temp")
                db.execute(f"CREATE TEMPORARY TABLE given ({described}) ON COMMIT DROP")
                with db.cursor().copy("COPY given FROM STDIN (FORMAT BINARY)") as copy:
                    copy.set_types(types)
                    for row in rows:
                        copy.write_row([kept(value) if isinstance(value, str) else value for value in row])
                db.execute(f"INSERT INTO {table} ({', '.join(names)}) SELECT * FROM given ON CONFLICT DO NOTHING")
                if names[0] == "id":  # the next of our own comes after
                    db.execute(
                        f"SELECT setval(pg_get_serial_sequence('dprm.{table}', 'id'), GREATEST(MAX(id), 1)) FROM {table}"
                    )

        self._patient(work)

    def clear(self, table: str) -> None:
        self._patient(lambda db: db.execute(f"DELETE FROM {table}"))

    def totals(self) -> dict[str, float]:
        return dict(map(back, self._select("SELECT run, SUM(cost) FROM writers GROUP BY run")))

    def set_totals(self, totals: dict[str, float]) -> None:
        def work(db: Connection) -> None:
            with db.transaction():
                db.execute("DELETE FROM writers")
                for run, cost in totals.items():
                    db.execute(_SIGN, (kept(run), _NOBODY, cost, uuid.uuid4()))

        self._patient(work)

    def bytes(self) -> int:
        query = (
            "SELECT COALESCE(SUM(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c "
            "WHERE c.relnamespace = to_regnamespace('dprm') AND c.relkind = 'r'"
        )
        return int(self._select(query)[0][0])

    def faults(self) -> list[str]:
        settings = ("fsync", "full_page_writes")
        query = "SELECT name FROM pg_settings WHERE name = ANY(%s) AND setting <> 'on'"
        return [
            f"the server runs with {name} off: a power cut may take back what was acknowledged"
            for (name,) in self._select(query, (list(settings),))
        ]


def _insert_calls(db: Connection, calls: Iterable[CallRow]) -> None:
    """Every call under the next number of its key. Another writer may take the number at the same moment: then it is the one after."""
    left = list(calls)
    while left:
        now = list({row.key: row for row in reversed(left)}.values())[::-1]  # the first of each key
        there = db.execute(_INSERT_CALLS, columns(CALL, now), binary=True).fetchall()
        in_it = {key: True for (key,) in there}
        left = [row for row in left if not in_it.pop(row.key, False)]
