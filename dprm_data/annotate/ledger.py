"""The ledger: every call ever paid for, on disk before it counts.

SQLite in WAL mode with full synchronisation: a reply is acknowledged only after its transaction is on disk, so neither `kill -9` nor a
power cut takes back what was acknowledged. One writer per process commits whatever has gathered, in batches; one process at a time holds
the ledger. What its tables mean is said in `ledgerfile`.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from filelock import FileLock

from dprm_data.annotate.call import Reply
from dprm_data.annotate.ledgerfile import cannot_write, connect, hold, speaking, version_of
from dprm_data.errors import LedgerError
from dprm_data.providers.base import Usage

_COLUMNS = (
    "key, attempt, run, status, text, finish, logprobs, model, input_tokens, output_tokens, cached_tokens, cache_write_tokens, "
    "cost, latency, created_at, reason, price_table"
)
_INSERT_CALL = (
    f"INSERT INTO calls ({_COLUMNS}) VALUES "
    f"(?1, (SELECT COALESCE(MAX(attempt) + 1, 0) FROM calls WHERE key = ?1), {', '.join(f'?{i}' for i in range(2, 17))})"
)
_INSERT_FAILURE = (
    "INSERT INTO failures (key, run, kind, status, message, cost, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_INSERT_DONE = "INSERT OR IGNORE INTO done (plan, item) VALUES (?, ?)"
_DELETE_DONE = "DELETE FROM done WHERE plan = ? AND item = ?"
_ADD_TOTAL = (
    "INSERT INTO totals (run, cost) VALUES (?, ?) ON CONFLICT (run) DO UPDATE SET cost = totals.cost + excluded.cost"
)
_LOOKUP = 500  # keys in one query
_INT = 2**63 - 1  # the largest whole number that SQLite keeps

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """One attempt that failed and was (or could have been) tried again."""

    key: bytes
    kind: str
    status: int | None
    message: str
    cost: float | None


@dataclass(slots=True)
class _Gathered:
    """What the next transaction will hold."""

    calls: list[Row] = field(default_factory=list)
    failures: list[Row] = field(default_factory=list)
    undone: list[Row] = field(default_factory=list)
    done: list[Row] = field(default_factory=list)
    collected: list[Row] = field(default_factory=list)
    cost: float = 0.0

    def __bool__(self) -> bool:
        return bool(self.calls or self.failures or self.undone or self.done)


class Ledger:
    """One ledger file, opened for reading and writing. Use as a context manager.

    run: the name under which this process's calls are counted against a budget.
    Raises `LedgerError` where the file is no ledger, is newer than this program, or cannot be written; `RunBusy` where another process
    holds it.
    """

    def __init__(self, path: Path, *, run: str = "", price_table: str = "", readonly: bool = False) -> None:
        self.path = path
        self.run = run
        self._price_table = price_table
        self._lock: FileLock | None = None if readonly else hold(path)
        try:
            # Commits happen in a thread of their own; a connection of their own keeps half a transaction out of the readers' sight.
            self._writer_db = None if readonly else connect(path, readonly=False)
            self.db = connect(path, readonly=readonly)
        except BaseException:
            self._release()
            raise
        self._gathered = _Gathered()
        self._in_hand: _Gathered | None = None  # what is being written, until it is on disk
        self._broken: LedgerError | None = None  # why nothing can be written any more
        self._committing = threading.Lock()
        self._written: asyncio.Future[None] | None = None
        self._writer: asyncio.Task[None] | None = None

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Write what is still to be written, and let go of the file. Raises `LedgerError` where it cannot be written.

        That is what gathered last, and what could not be written before: it was paid for, and there may be room by now.
        """
        try:
            with speaking(self.path):
                for batch in (self._in_hand, self._gathered):
                    if batch:
                        self._commit(batch)
        finally:
            for db in (self._writer_db, self.db):
                if db:
                    db.close()
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
            with speaking(self.path):
                rows = self.db.execute(query, some).fetchall()
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
            query = f"SELECT item FROM done WHERE plan = ? AND item IN ({', '.join('?' * len(some))})"
            with speaking(self.path):
                done.update(row[0] for row in self.db.execute(query, (plan, *some)))
        return done

    def spent(self) -> float:
        """Dollars that this run's calls and failed attempts have cost so far (unknown prices count nothing)."""
        query = "SELECT cost FROM totals WHERE run = ?1"
        if version_of(self.db) < 2:  # opened for reading only, and so not brought up to date
            both = "SELECT cost, run FROM calls UNION ALL SELECT cost, run FROM failures"
            query = f"SELECT COALESCE(SUM(cost), 0) FROM ({both}) WHERE run = ?1"
        with speaking(self.path):
            found = self.db.execute(query, (self.run,)).fetchone()
        return float(found[0]) if found else 0.0

    def counts(self) -> dict[str, int]:
        """Rows of every table."""
        with speaking(self.path):
            return {
                table: self.db.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0]
                for table in ("calls", "failures", "done")
            }

    def failures_by_kind(self) -> dict[str, int]:
        """How many attempts failed, by kind (for the summary)."""
        query = "SELECT kind, COUNT(*) FROM failures WHERE run = ? GROUP BY kind ORDER BY kind"
        with speaking(self.path):
            return dict(self.db.execute(query, (self.run,)).fetchall())

    # -- writing ------------------------------------------------------------------------------------------------------

    async def record(self, key: bytes, reply: Reply) -> None:
        """Keep a reply. Returns when it is on disk; raises `LedgerError` where it cannot be written."""
        self._gathered.calls.append(self._call_row(key, reply))
        self._gathered.cost += reply.cost or 0.0
        await asyncio.shield(self._soon())

    def record_now(
        self,
        replies: Sequence[tuple[bytes, Reply]],
        failures: Sequence[FailedAttempt] = (),
        *,
        collected: int | None = None,
    ) -> None:
        """Keep replies and failed attempts in one transaction, at once (outside the writer's task). With them goes the note of the batch
        (by its number in the ledger) from which they were collected."""
        batch = _Gathered(calls=[self._call_row(key, reply) for key, reply in replies])
        batch.failures = [self._failure_row(failed) for failed in failures]
        batch.cost = sum(reply.cost or 0.0 for _, reply in replies) + sum(failed.cost or 0.0 for failed in failures)
        batch.collected = [(collected,)] if collected is not None else []
        with speaking(self.path):
            self._commit(batch)

    def note_failure(self, failed: FailedAttempt) -> None:
        """Keep a failed attempt; it is written with the next batch, and nobody waits for it."""
        self._gathered.failures.append(self._failure_row(failed))
        self._gathered.cost += failed.cost or 0.0
        self._soon()

    def note_done(self, plan: bytes, item: bytes) -> None:
        """Keep that an item needs no further call; written with the next batch."""
        self._gathered.done.append((plan, item))
        self._soon()

    def note_undone(self, plan: bytes, item: bytes) -> None:
        """An item that was done is asked again. Written with the next batch, so before any new reply about it."""
        self._gathered.undone.append((plan, item))
        self._soon()

    def _call_row(self, key: bytes, reply: Reply) -> Row:
        usage = reply.usage
        logprobs = None if reply.top_logprobs is None else zlib.compress(orjson.dumps(reply.top_logprobs), 1)
        counts = (usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.cache_write_tokens)
        said = (self.run, reply.status, reply.text, reply.finish, logprobs, reply.model)
        kept = (min(count, _INT) for count in counts)  # a server may say any number
        return (key, *said, *kept, reply.cost, reply.latency, reply.created_at, reply.reason, self._price_table)

    def _failure_row(self, failed: FailedAttempt) -> Row:
        return failed.key, self.run, failed.kind, failed.status, failed.message[:2000], failed.cost, time.time()

    def _soon(self) -> asyncio.Future[None]:
        """What was gathered is written soon; the future is done when it is on disk."""
        if self._broken:
            raise self._broken
        if self._written is None:
            self._written = asyncio.get_running_loop().create_future()
            # A failure is raised to whoever waits; a batch nobody waits for must not complain about that.
            self._written.add_done_callback(lambda future: future.cancelled() or future.exception())
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        return self._written

    async def _write(self) -> None:
        """Commit batch after batch until nothing is left. Rows that come while a batch is being written gather for the next."""
        loop = asyncio.get_running_loop()
        while self._gathered and not self._broken:
            self._in_hand, written = self._gathered, self._written
            self._gathered, self._written = _Gathered(), None
            assert written is not None
            try:
                await loop.run_in_executor(None, self._commit_in_hand)
            except Exception as error:  # whatever it is: nobody may be left waiting
                self._broken = cannot_write(self.path, error)
                written.set_exception(self._broken)
            else:
                written.set_result(None)
        if self._broken and self._written:
            self._written.set_exception(self._broken)
            self._written = None

    async def flush(self) -> None:
        """Wait until everything noted is on disk, or cannot be written."""
        while self._writer is not None and not self._writer.done():
            await asyncio.shield(self._writer)

    def _commit_in_hand(self) -> None:
        assert self._in_hand
        self._commit(self._in_hand)
        self._in_hand = None

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All of what is done inside, or nothing; on disk at the end. One at a time, from whichever thread."""
        assert self._writer_db is not None, "opened for reading only"
        with self._committing, self._writer_db as db:
            db.execute("BEGIN IMMEDIATE")
            yield db

    def _commit(self, batch: _Gathered) -> None:
        with self.transaction() as db:
            db.executemany(_INSERT_CALL, batch.calls)
            db.executemany(_INSERT_FAILURE, batch.failures)
            db.executemany(_DELETE_DONE, batch.undone)
            db.executemany(_INSERT_DONE, batch.done)
            db.executemany("DELETE FROM batch_rows WHERE batch = ?", batch.collected)
            db.executemany("DELETE FROM batches WHERE id = ?", batch.collected)
            if batch.calls or batch.failures:
                db.execute(_ADD_TOTAL, (self.run, batch.cost))


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
