"""The ledger: every call ever paid for, on disk before it counts.

SQLite in WAL mode with full synchronisation: a reply is acknowledged only after its transaction is on disk, so neither `kill -9` nor a
power cut takes back what was acknowledged. One writer per process commits whatever has gathered, in batches; one process at a time holds
the ledger (a lock beside the file that dies with its holder).

    calls      one row per (key, attempt): the newest attempt counts; older ones stay for ever
    failures   one row per failed attempt that was retried: what it said and what it cost
    done       items all of whose calls are answered under one plan: resuming skips them without looking at each call
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from filelock import FileLock, Timeout

from dprm_data.annotate.call import Reply
from dprm_data.errors import LedgerError, RunBusy
from dprm_data.providers.base import Usage

_APPLICATION_ID = 0x4450524D  # "DPRM": says in the file itself whose it is
_VERSION = 1

_SCHEMA = """
CREATE TABLE calls (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL,
    attempt INTEGER NOT NULL,
    run TEXT NOT NULL,
    status TEXT NOT NULL,
    text TEXT NOT NULL,
    finish TEXT NOT NULL,
    logprobs BLOB,
    model TEXT NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL,
    cost REAL,
    latency REAL NOT NULL,
    created_at REAL NOT NULL,
    reason TEXT NOT NULL,
    price_table TEXT NOT NULL,
    UNIQUE (key, attempt)
);
CREATE TABLE failures (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL,
    run TEXT NOT NULL,
    kind TEXT NOT NULL,
    status INTEGER,
    message TEXT NOT NULL,
    cost REAL,
    created_at REAL NOT NULL
);
CREATE TABLE done (plan BLOB NOT NULL, item BLOB NOT NULL, PRIMARY KEY (plan, item)) WITHOUT ROWID;
"""
_COLUMNS = "key, attempt, run, status, text, finish, logprobs, model, input_tokens, output_tokens, cached_tokens, cache_write_tokens, cost, latency, created_at, reason, price_table"
_INSERT_CALL = f"INSERT INTO calls ({_COLUMNS}) VALUES (?, (SELECT COALESCE(MAX(attempt) + 1, 0) FROM calls WHERE key = ?), {', '.join('?' * 15)})"
_INSERT_FAILURE = (
    "INSERT INTO failures (key, run, kind, status, message, cost, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_INSERT_DONE = "INSERT OR IGNORE INTO done (plan, item) VALUES (?, ?)"
_LOOKUP = 500  # keys in one query

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """One attempt that failed and was (or could have been) tried again."""

    key: bytes
    kind: str
    status: int | None
    message: str
    cost: float | None


class Ledger:
    """One ledger file, opened for reading and writing. Use as a context manager.

    run: the name under which this process's calls are counted against a budget.
    Raises `LedgerError` where the file is no ledger, is newer than this program, or cannot be written; `RunBusy` where another process
    holds it.
    """

    def __init__(self, path: Path, *, run: str = "", price_table: str = "", readonly: bool = False) -> None:
        self.path = path
        self._run = run
        self._price_table = price_table
        self._lock: FileLock | None = None
        if not readonly:
            self._lock = _hold(path)
        try:
            self._db = _open(path, readonly)
            # Commits happen in a thread of their own; a connection of their own keeps half a transaction out of the readers' sight.
            self._writer_db = None if readonly else _open(path, readonly)
        except BaseException:
            self._release()
            raise
        self._pending: list[tuple[str, Row]] = []
        self._written: asyncio.Future[None] | None = None
        self._writer: asyncio.Task[None] | None = None

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        with _speaking(self.path):
            if self._pending:
                self._commit(self._pending)
                self._pending = []
            if self._writer_db:
                self._writer_db.close()
            self._db.close()
        self._release()

    def _release(self) -> None:
        if self._lock:
            self._lock.release()

    # -- reading ------------------------------------------------------------------------------------------------------

    def find(self, keys: Sequence[bytes]) -> dict[bytes, Reply]:
        """The newest reply to each of these calls, where there is one."""
        found: dict[bytes, tuple[int, Reply]] = {}
        for start in range(0, len(keys), _LOOKUP):
            some = keys[start : start + _LOOKUP]
            query = f"SELECT {_COLUMNS} FROM calls WHERE key IN ({', '.join('?' * len(some))})"
            with _speaking(self.path):
                rows = self._db.execute(query, some).fetchall()
            for row in rows:
                key, attempt = row[0], row[1]
                if key not in found or found[key][0] < attempt:
                    found[key] = attempt, _reply(row)
        return {key: reply for key, (_, reply) in found.items()}

    def find_done(self, plan: bytes, items: Sequence[bytes]) -> set[bytes]:
        """Those of the items (ids as bytes) that need no further call under this plan."""
        done: set[bytes] = set()
        for start in range(0, len(items), _LOOKUP):
            some = items[start : start + _LOOKUP]
            with _speaking(self.path):
                rows = self._db.execute(
                    f"SELECT item FROM done WHERE plan = ? AND item IN ({', '.join('?' * len(some))})", (plan, *some)
                )
                done.update(row[0] for row in rows)
        return done

    def spent(self) -> float:
        """Dollars that this run's calls and failed attempts have cost so far (unknown prices count nothing)."""
        with _speaking(self.path):
            (calls,) = self._db.execute(
                "SELECT COALESCE(SUM(cost), 0) FROM calls WHERE run = ?", (self._run,)
            ).fetchone()
            (failures,) = self._db.execute(
                "SELECT COALESCE(SUM(cost), 0) FROM failures WHERE run = ?", (self._run,)
            ).fetchone()
        return float(calls + failures)

    def counts(self) -> dict[str, int]:
        """Rows of every table."""
        with _speaking(self.path):
            return {
                table: self._db.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0]
                for table in ("calls", "failures", "done")
            }

    def failures_by_kind(self) -> dict[str, int]:
        """How many attempts failed, by kind (for the summary)."""
        with _speaking(self.path):
            return dict(
                self._db.execute(
                    "SELECT kind, COUNT(*) FROM failures WHERE run = ? GROUP BY kind ORDER BY kind", (self._run,)
                ).fetchall()
            )

    # -- writing ------------------------------------------------------------------------------------------------------

    async def record(self, key: bytes, reply: Reply) -> None:
        """Keep a reply. Returns when it is on disk."""
        await self._put(_INSERT_CALL, self._call_row(key, reply))

    def record_now(self, replies: Sequence[tuple[bytes, Reply]]) -> None:
        """Keep replies in one transaction (outside an event loop)."""
        with _speaking(self.path):
            self._commit([(_INSERT_CALL, self._call_row(key, reply)) for key, reply in replies])

    def note_failure(self, failed: FailedAttempt) -> None:
        """Keep a failed attempt; it is written with the next batch, and nobody waits for it."""
        self._enqueue(
            _INSERT_FAILURE,
            (failed.key, self._run, failed.kind, failed.status, failed.message[:2000], failed.cost, time.time()),
        )

    def note_done(self, plan: bytes, item: bytes) -> None:
        """Keep that an item needs no further call; written with the next batch."""
        self._enqueue(_INSERT_DONE, (plan, item))

    def _call_row(self, key: bytes, reply: Reply) -> Row:
        usage = reply.usage
        logprobs = None if reply.top_logprobs is None else zlib.compress(orjson.dumps(reply.top_logprobs), 1)
        counts = (usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.cache_write_tokens)
        said = (self._run, reply.status, reply.text, reply.finish, logprobs, reply.model)
        return (key, key, *said, *counts, reply.cost, reply.latency, reply.created_at, reply.reason, self._price_table)

    async def _put(self, statement: str, row: Row) -> None:
        written = self._enqueue(statement, row)
        await asyncio.shield(written)

    def _enqueue(self, statement: str, row: Row) -> asyncio.Future[None]:
        """Add a row to the gathering batch; the batch's future is done when it is on disk."""
        loop = asyncio.get_running_loop()
        self._pending.append((statement, row))
        if self._written is None:
            self._written = loop.create_future()
            # A failure is raised to whoever waits; a batch nobody waits for must not complain about that.
            self._written.add_done_callback(lambda future: future.cancelled() or future.exception())
        if self._writer is None or self._writer.done():
            self._writer = loop.create_task(self._write())
        return self._written

    async def _write(self) -> None:
        """Commit batch after batch until nothing is pending. Rows that come while a batch is being written gather for the next."""
        loop = asyncio.get_running_loop()
        while self._pending:
            batch, written = self._pending, self._written
            self._pending, self._written = [], None
            assert written is not None
            try:
                await loop.run_in_executor(None, self._commit, batch)
            except sqlite3.Error as error:
                written.set_exception(_cannot_write(self.path, error))
            else:
                written.set_result(None)

    async def flush(self) -> None:
        """Wait until everything noted is on disk."""
        while self._writer is not None and not self._writer.done():
            await asyncio.shield(self._writer)

    def _commit(self, batch: Sequence[tuple[str, Row]]) -> None:
        assert self._writer_db is not None, "opened for reading only"
        with self._writer_db as db:  # one transaction: all of it or nothing
            db.execute("BEGIN IMMEDIATE")
            for statement, row in batch:
                db.execute(statement, row)


def _reply(row: Row) -> Reply:
    logprobs = (
        None if row[6] is None else tuple((token, logprob) for token, logprob in orjson.loads(zlib.decompress(row[6])))
    )
    return Reply(
        status=row[3],
        text=row[4],
        finish=row[5],
        top_logprobs=logprobs,
        model=row[7],
        usage=Usage(row[8], row[9], row[10], row[11]),
        cost=row[12],
        latency=row[13],
        created_at=row[14],
        reason=row[15],
    )


def _hold(path: Path) -> FileLock:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{path}.lock")
        lock.acquire(timeout=0)
    except Timeout as error:
        raise RunBusy(
            f"another process is using the ledger {path}",
            hint="Wait for it, or stop it; two runs never share a ledger at one time.",
        ) from error
    except OSError as error:
        raise LedgerError(
            f"cannot write in {path.parent}: {error.strerror or error}",
            hint="Choose another output folder, or make this one writable.",
        ) from error
    return lock


def _open(path: Path, readonly: bool) -> sqlite3.Connection:
    if readonly and not path.is_file():
        raise LedgerError(f"no ledger at {path}")
    with _speaking(path):
        mode = "ro" if readonly else "rwc"
        db = sqlite3.connect(
            f"file:{_quoted(path)}?mode={mode}", uri=True, check_same_thread=False, timeout=30, isolation_level=None
        )
        try:
            _check_identity(db, path)
            if not readonly:
                db.execute("PRAGMA journal_mode = WAL")
                db.execute("PRAGMA synchronous = FULL")
                _create(db)
        except BaseException:
            db.close()
            raise
    return db


def _quoted(path: Path) -> str:
    return str(path.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _check_identity(db: sqlite3.Connection, path: Path) -> None:
    (tables,) = db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if tables and application != _APPLICATION_ID:
        raise LedgerError(
            f"{path} is a database, but not a ledger of dprm-data",
            hint="It was left as it is. Name another file in the recipe (ledger: ...).",
        )
    if version > _VERSION:
        raise LedgerError(
            f"{path} was written by a newer dprm-data (ledger version {version}, this one reads up to {_VERSION})",
            hint="Upgrade dprm-data.",
        )


def _create(db: sqlite3.Connection) -> None:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version == 0:
        db.executescript(
            f"BEGIN IMMEDIATE; PRAGMA application_id = {_APPLICATION_ID}; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;"
        )


def _cannot_write(path: Path, error: sqlite3.Error) -> LedgerError:
    return LedgerError(
        f"the ledger {path} cannot be written: {error}",
        hint="What was acknowledged is safe. Make room (or the folder writable) and run again: it goes on from there.",
    )


@contextmanager
def _speaking(path: Path) -> Iterator[None]:
    """SQLite's errors in words that say what to do."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        if "not a database" in str(error) or "malformed" in str(error):
            raise LedgerError(
                f"{path} is not a ledger: {error}",
                hint="It was left as it is. Move it away, or name another file in the recipe (ledger: ...).",
            ) from error
        if "unable to open" in str(error) and not os.access(path.parent, os.W_OK):
            raise LedgerError(
                f"cannot write in {path.parent}", hint="Choose another output folder, or make this one writable."
            ) from error
        raise _cannot_write(path, error) from error
