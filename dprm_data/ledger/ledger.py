"""The ledger: every call ever paid for, on disk before it counts.

A reply is acknowledged only after its transaction is on disk, so neither `kill -9` nor a power cut loses an acknowledged reply. One writer
per process commits the rows that have gathered, many in one transaction. The store (`store.py`) decides where they are kept: in a file, with
one writing process at a time, or in PostgreSQL, which many processes may share. `sqlite_file.py` describes the tables.
"""

from __future__ import annotations

import asyncio
import math
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from dprm_data.core.errors import LedgerError
from dprm_data.core.ledger_address import LedgerAddress
from dprm_data.ledger.call import Reply
from dprm_data.ledger.checksum import checksum_of
from dprm_data.ledger.factory import open_store
from dprm_data.ledger.hold import Hold
from dprm_data.ledger.store import INT, CallRow, FailureRow, HoldRow, Transaction, write_error
from dprm_data.providers.request import Usage

_OFF = -math.inf  # a log-probability that JSON cannot hold
_MOST_LOGPROBS = 2**26  # bytes of them, decompressed


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """A failed attempt that was, or could have been, retried."""

    key: bytes
    kind: str
    status: int | None
    message: str
    cost: float | None


class Ledger:
    """A ledger, open for reading and writing. Use as a context manager.

    run: the name under which this process's calls count against a budget. Raises `LedgerError` if the address has no ledger, has one that
    is newer than this program, or cannot be reached or written; `RunBusy` if another process is writing to the file.
    """

    def __init__(self, address: LedgerAddress, *, run: str = "", price_table: str = "", readonly: bool = False) -> None:
        self.run = run
        self.store = open_store(address, readonly=readonly)
        self.hold = Hold()
        self._price_table = price_table
        self._next = Transaction(run)
        self._writing: Transaction | None = None  # being committed, or failed to be
        self._broken: LedgerError | None = None  # why nothing more can be written
        self._written: asyncio.Future[None] | None = None
        self._writer: asyncio.Task[None] | None = None

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Write what is left, give back what is held and not open, and close the store. Raises `LedgerError` if it cannot be written.

        A transaction that failed is tried once more: its replies are paid for, and there may be room by now.
        """
        try:
            for transaction in (self._writing, self._next):
                if transaction:
                    self._commit(transaction)
            self._hold_what_is_open()
        except MemoryError as error:
            raise write_error(self.store.location, error) from error
        finally:
            self.store.close()

    # -- reading ------------------------------------------------------------------------------------------------------

    def find(self, keys: Sequence[bytes]) -> dict[bytes, Reply]:
        """The newest reply to each of these calls, if there is one. Raises `LedgerError` if it cannot be read."""
        rows = self.store.find(keys)
        try:
            return {key: reply_of(row) for key, row in rows.items()}
        except (zlib.error, ValueError, TypeError) as error:
            raise LedgerError(
                f"the ledger {self.store.location} is damaged: the log-probabilities of a call cannot be read ({error})",
                hint="`dprm ledger check` names the calls. Restore the ledger from a backup.",
            ) from error

    def find_done(self, plan: bytes, items: Sequence[bytes]) -> set[bytes]:
        """The items, among these (ids as bytes), that need no further call under this plan."""
        return self.store.find_done(plan, items)

    def spent(self) -> float:
        """Dollars that this run's calls and failed attempts have cost so far, or may have. Unknown prices count as 0."""
        return self.store.spent(self.run) + self.possibly_billed()

    def possibly_billed(self) -> float:
        """Of `spent`: what processes that were killed may have been billed for calls that they did not record."""
        return self.store.possibly_billed().get(self.run, 0.0)

    def counts(self) -> dict[str, int]:
        """The number of rows in each table."""
        return {table: self.store.count(table) for table in ("calls", "failures", "done")}

    def failures_by_kind(self) -> dict[str, int]:
        """The number of failed attempts, by kind (for the summary)."""
        return self.store.failures_by_kind(self.run)

    # -- writing ------------------------------------------------------------------------------------------------------

    async def cover(self) -> None:
        """Hold all that the budget has drawn and that is not recorded. Returns once that is on disk: then a call may be sent.

        Raises `LedgerError` if it cannot be written.
        """
        while not self.hold.covers:
            self._next.held = self.hold.open
            await asyncio.shield(self._schedule())

    async def give_back(self) -> None:
        """Hold no more than is open, after the last call."""
        await self.flush()
        if not self._broken:
            await asyncio.to_thread(self._hold_what_is_open)

    async def record(self, key: bytes, reply: Reply) -> None:
        """Keep a reply. Returns once it is on disk. Raises `LedgerError` if it cannot be written."""
        row = self._call_row(key, reply)
        self._next.calls.append(row)
        self._next.cost += row.cost or 0.0
        await asyncio.shield(self._schedule())

    def record_now(
        self,
        replies: Sequence[tuple[bytes, Reply]],
        failures: Sequence[FailedAttempt] = (),
        *,
        collected: int | None = None,
        settled: Sequence[HoldRow] = (),
    ) -> None:
        """Keep replies and failed attempts in one transaction, now rather than through the writer's task.

        collected: the number of the batch that they come from, which stops being pending; settled: holds that they replace.
        """
        transaction = Transaction(self.run, calls=[self._call_row(key, reply) for key, reply in replies])
        transaction.failures = [self._failure_row(failed) for failed in failures]
        costs = [call.cost for call in transaction.calls] + [failure.cost for failure in transaction.failures]
        transaction.cost = sum(cost or 0.0 for cost in costs)
        transaction.settled = list(settled)
        transaction.collected = [collected] if collected is not None else []
        self.store.commit(transaction)

    def note_failure(self, failed: FailedAttempt) -> None:
        """Keep a failed attempt. The next transaction writes it; nobody waits for it."""
        row = self._failure_row(failed)
        self._next.failures.append(row)
        self._next.cost += row.cost or 0.0
        self._schedule()

    def note_done(self, plan: bytes, item: bytes) -> None:
        """Mark an item as needing no further call. The next transaction writes the mark."""
        self._next.done.append((plan, item))
        self._schedule()

    def note_undone(self, plan: bytes, item: bytes) -> None:
        """Remove an item's mark: it is asked again. The next transaction does so, and thus before any new reply about the item."""
        self._next.undone.append((plan, item))
        self._schedule()

    def _call_row(self, key: bytes, reply: Reply) -> CallRow:
        usage = reply.usage
        row = CallRow(
            key=key,
            attempt=0,
            run=self.run,
            status=reply.status,
            text=_utf8(reply.text),
            finish=reply.finish,
            logprobs=None if reply.top_logprobs is None else zlib.compress(orjson.dumps(reply.top_logprobs), 1),
            model=_utf8(reply.model),
            input_tokens=_bounded(usage.input_tokens),
            output_tokens=_bounded(usage.output_tokens),
            cached_tokens=_bounded(usage.cached_tokens),
            cache_write_tokens=_bounded(usage.cache_write_tokens),
            cost=_finite(reply.cost),
            latency=_finite(reply.latency) or 0.0,
            created_at=_finite(reply.created_at) or 0.0,
            reason=_utf8(reply.reason),
            price_table=self._price_table,
            estimated=int(usage.estimated),
            reasoning_tokens=_bounded(usage.reasoning_tokens) or None,
        )
        return row._replace(checksum=checksum_of(row))

    def _failure_row(self, failed: FailedAttempt) -> FailureRow:
        row = FailureRow(
            key=failed.key,
            run=self.run,
            kind=failed.kind,
            status=failed.status,
            message=_utf8(failed.message[:2000]),
            cost=_finite(failed.cost),
            created_at=time.time(),
        )
        return row._replace(checksum=checksum_of(row))

    def _schedule(self) -> asyncio.Future[None]:
        """Start the writer if it is idle. Returns a future that is done once the rows gathered so far are on disk."""
        if self._broken:
            raise self._broken
        if self._written is None:
            self._written = asyncio.get_running_loop().create_future()
            # Whoever waits gets the exception. If nobody waits, asyncio must not log that it was never retrieved.
            self._written.add_done_callback(lambda future: future.cancelled() or future.exception())
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        return self._written

    async def _write(self) -> None:
        """Commit until nothing is left. Rows that arrive during a commit gather for the next one."""
        loop = asyncio.get_running_loop()
        while self._next and not self._broken:
            written = self._written
            assert written is not None
            try:
                following = Transaction(self.run)
                self._writing, self._next, self._written = self._next, following, None
                self._writing.held = self.hold.next(self._writing.cost)
                await loop.run_in_executor(None, self._commit, self._writing)
            except Exception as error:  # any error: nobody may be left waiting
                self._broken = error if isinstance(error, LedgerError) else write_error(self.store.location, error)
                written.set_exception(self._broken)
            else:
                written.set_result(None)
        if self._broken and self._written and not self._written.done():
            self._written.set_exception(self._broken)
            self._written = None

    async def flush(self) -> None:
        """Wait until everything noted is on disk or has failed to be written."""
        while self._writer is not None and not self._writer.done():
            await asyncio.shield(self._writer)

    def _commit(self, transaction: Transaction) -> None:
        self.store.commit(transaction)
        self._writing = None
        self.hold.written(transaction.cost, transaction.held)

    def _hold_what_is_open(self) -> None:
        if self.hold.on_disk != self.hold.open:
            self._commit(Transaction(self.run, held=self.hold.open))


def _finite(number: float | None) -> float | None:
    """The number; None for NaN and infinity, which would spoil every sum."""
    return (
        float(number) + 0.0 if number is not None and math.isfinite(number) else None
    )  # 0.0 for -0.0, as SQLite keeps it


def _bounded(count: int) -> int:
    """The count, clipped to 64 bits: a server may report any number."""
    return max(-INT, min(count, INT))


def _utf8(text: str) -> str:
    """The text with a question mark for each half of a surrogate pair, which no store keeps."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def reply_of(row: CallRow) -> Reply:
    """The reply that a row holds."""
    logprobs = None
    if row.logprobs is not None:
        pairs = orjson.loads(zlib.decompressobj().decompress(row.logprobs, _MOST_LOGPROBS))
        logprobs = tuple((token, _OFF if logprob is None else logprob) for token, logprob in pairs)
    return Reply(
        status=row.status,  # type: ignore[arg-type]
        text=row.text,
        finish=row.finish,  # type: ignore[arg-type]
        top_logprobs=logprobs,
        model=row.model,
        usage=Usage(
            row.input_tokens,
            row.output_tokens,
            row.cached_tokens,
            row.cache_write_tokens,
            bool(row.estimated),
            row.reasoning_tokens or 0,
        ),
        cost=row.cost,
        latency=row.latency,
        created_at=row.created_at,
        reason=row.reason,
    )
