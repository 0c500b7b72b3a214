"""Batch mode: all missing calls are submitted in batches, at half the price, and collected when the provider is done with them.

    items ─▶ those not done, with no call pending ─▶ missing calls ─▶ batches ─▶ pending (in the ledger) ─▶ provider
      ▲                                                                                                       │
      └── replies and failures, in the transaction that ends the pending batch ◀── results, in any order ◀────┘

This repeats until nothing is missing: answers that cannot be read are asked again in the next pass, rows that failed or expired are
submitted again. The process may end at any moment and start again a day later: pending batches are collected then.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from dprm_data.core.errors import BudgetReached, ProviderUnusable
from dprm_data.elicit.work import Work
from dprm_data.engine.cancellation import Cancellation, Cancelled
from dprm_data.engine.client import answered, failure_reply, refused
from dprm_data.engine.costs import Budget, Prices
from dprm_data.engine.counters import Counters
from dprm_data.engine.early_stopping import RoundPolicy
from dprm_data.engine.pending_batches import PendingBatch, PendingBatches
from dprm_data.engine.replay import TaskState, advance, chunks, row_id, states_of
from dprm_data.ingest.items import Item
from dprm_data.ledger.call import Call, Reply
from dprm_data.ledger.ledger import FailedAttempt, Ledger
from dprm_data.providers.batch_api import BatchProvider, BatchStatus
from dprm_data.providers.request import UNREPORTED, Answer, CallFailed, Request, Usage
from dprm_data.providers.token_estimates import reported
from dprm_data.recipe.recipe import LimitsConfig

_LOOK_UP = 500  # items at a time
_OPEN = 512  # annotations rendered at a time
_CLOCKS = 300.0  # seconds by which the provider's clock may differ from ours
_MAYBE_TAKEN = frozenset({"timeout", "connection", "server"})

Load = Callable[[], Iterable[Item]]


@dataclass(slots=True)
class _Batch:
    """A batch in the making."""

    rows: list[tuple[bytes, bytes, Request]] = field(default_factory=list)  # key, item id, request
    size: int = 0  # bytes
    reserved: float = 0.0


class BatchEngine:
    """Runs the work of one recipe through a provider's batches.

    retry_failed: ask again what ended without a label.
    """

    def __init__(
        self,
        *,
        provider: BatchProvider,
        ledger: Ledger,
        prices: Prices,
        budget: Budget,
        limits: LimitsConfig,
        counters: Counters | None = None,
        retry_failed: bool = False,
        rounds: RoundPolicy | None = None,
    ) -> None:
        self.counters = counters or Counters()
        self._provider = provider
        self._ledger = ledger
        self._pending = PendingBatches(ledger)
        self._prices = prices
        self._budget = budget
        self._limits = limits
        self._retry_failed = retry_failed
        self._rounds = rounds or RoundPolicy()
        self._walked = False  # through all items, at least once
        self._opened = 0  # items in this walk
        self._left_closed = False  # whether there were more, for which it is too early
        self._begun_anew: set[bytes] = set()  # first calls that were asked again, once
        self._most = provider.max_requests  # of one batch; less where the provider refuses so many
        self._failed: Counter[bytes] = Counter()  # times each call has failed
        self._silent_since: float | None = None  # when the provider was last heard of, while it cannot be reached
        self._stop = Cancellation()

    def stop(self, reason: BaseException) -> None:
        """Submit nothing more. The run then raises the reason; pending batches stay pending."""
        self._stop.because(reason)

    async def run(self, work: Work, load: Load) -> None:
        """Hand over and collect until nothing is missing. Raises what stopped the run before that (a `DprmError`).

        load: gives the items, from the first; they are walked through once a round.
        """
        for batch in self._pending.batches():
            self._budget.hold(batch.reserved)
        try:
            while True:
                await self._find_again()
                short = await self._hand_over(work, load())
                if not self._pending.batches():
                    if short:
                        raise short
                    if self._left_closed:
                        continue
                    break
                await self._collect(work, load)
        except Cancelled:
            pass
        finally:
            await self._ledger.flush()
        if self._stop.reason:
            raise self._stop.reason

    # -- handing over -------------------------------------------------------------------------------------------------

    async def _hand_over(self, work: Work, items: Iterable[Item]) -> BudgetReached | None:
        """Hand over all that is missing; returns the budget's refusal where it did not suffice for all."""
        parcel = _Batch()
        short: BudgetReached | None = None
        for item, call in self._missing(work, items):
            need = self._budget.need(self._prices.worst(call.request))
            if not self._budget.has_room_for(parcel.reserved + need):
                short = self._budget.reached(need)
                break
            size = self._provider.row_bytes(call.key.hex(), call.request)
            if parcel.rows and (len(parcel.rows) >= self._most or parcel.size + size > self._provider.max_bytes):
                await self._submit(parcel)
                parcel = _Batch()
            parcel.rows.append((call.key, item, call.request))
            parcel.size += size
            parcel.reserved += need
        if parcel.rows:
            await self._submit(parcel)
        return short

    async def _submit(self, parcel: _Batch) -> None:
        batch = self._pending.put([(key, item) for key, item, _ in parcel.rows], parcel.reserved)
        self._budget.hold(parcel.reserved)
        self._show([])
        try:
            with self._stop.cuts_short():
                rows = ((key.hex(), request) for key, _, request in parcel.rows)
                batch_id = await self._provider.submit(rows, tag=batch.tag)
        except CallFailed as error:
            if error.kind in _MAYBE_TAKEN and error.sent:
                await self._wait(error)  # it is looked for later
            else:
                await self._not_taken(batch, error)
        else:
            self._silent_since = None
            self._pending.confirm(batch, batch_id)

    async def _not_taken(self, batch: PendingBatch, error: CallFailed) -> None:
        """A batch was refused as a whole: nothing of it was run or billed. Its calls are missing again, or have failed if it was one."""
        if error.kind == "rejected" and batch.rows == 1:
            [key] = self._pending.rows(batch)
            self._finish(batch, {key: failure_reply(error)}, [])
            return
        self._pending.drop(batch)
        self._budget.settle(batch.reserved, 0.0)
        if error.fatal:
            raise refused(error)
        if error.kind in ("rejected", "rate_limit"):
            self._most = max(1, batch.rows // 2)
        if error.kind != "rejected":
            await self._wait(error)

    async def _find_again(self) -> None:
        """Batches that may have reached the provider without our hearing of it: take up those that did, forget those that did not."""
        lost = [batch for batch in self._pending.batches() if batch.batch_id is None]
        while lost:
            try:
                with self._stop.cuts_short():
                    there = await self._provider.recent(min(batch.created_at for batch in lost) - _CLOCKS)
                break
            except CallFailed as error:
                await self._wait(error)
        known = {batch.batch_id for batch in self._pending.batches()}
        for batch in lost:
            found = next((s for s in reversed(there) if s.id not in known and _is_it(batch, s)), None)
            if found:
                known.add(found.id)
                self._pending.confirm(batch, found.id)
            else:
                self._pending.drop(batch)
                self._budget.settle(batch.reserved, 0.0)

    # -- collecting ---------------------------------------------------------------------------------------------------

    async def _collect(self, work: Work, load: Load) -> None:
        """Wait until the provider is through with at least one batch, and keep its results."""
        while True:
            statuses: list[BatchStatus] = []
            collected = False
            for batch in self._pending.batches():
                if batch.batch_id is None:
                    return
                status = await self._poll(batch)
                if status is None:
                    return
                statuses.append(status)
                if status.state == "ended":
                    collected |= await self._fetch(batch, work, load)
            self._show(statuses)
            if collected:
                return
            await self._sleep(self._limits.poll_every)

    async def _poll(self, batch: PendingBatch) -> BatchStatus | None:
        """Where a batch stands; None where it was refused as a whole after all."""
        assert batch.batch_id
        while True:
            try:
                with self._stop.cuts_short():
                    status = await self._provider.poll(batch.batch_id)
            except CallFailed as error:
                if error.status is None and error.kind in ("rejected", "rate_limit", "billing"):
                    await self._not_taken(batch, error)
                    return None
                await self._wait(error)
            else:
                self._silent_since = None
                return status

    async def _fetch(self, batch: PendingBatch, work: Work, load: Load) -> bool:
        """Keep a batch's results; False where they could not be read this time."""
        assert batch.batch_id
        rows = self._pending.rows(batch)
        unknown = Request(work.elicitation.model, (), {})  # what the recipe no longer asks was paid for: it is kept
        requests = dict.fromkeys(rows, unknown) | _requests(work, self._ledger, load(), rows)
        replies: dict[bytes, Reply] = {}
        failures: list[FailedAttempt] = []
        fatal: CallFailed | None = None
        try:
            with self._stop.cuts_short():
                named = {key.hex(): request for key, request in requests.items()}
                async for custom_id, result in self._provider.results(batch.batch_id, named):
                    key = bytes.fromhex(custom_id)
                    if isinstance(result, Answer):
                        usage = reported(result.usage, requests[key], result.text)
                        replies[key] = answered(result, usage, self._cost(batch, requests[key], usage), 0.0)
                        continue
                    failures.append(self._failure(batch, key, requests[key], result))
                    if result.fatal:
                        fatal = result
                    elif not result.retryable or self._failed[key] >= self._limits.attempts:
                        replies[key] = failure_reply(result)
        except CallFailed as error:
            await self._wait(error)
            return False
        self._finish(batch, replies, failures)
        if fatal:
            raise refused(fatal)
        return True

    def _cost(self, batch: PendingBatch, request: Request, usage: Usage) -> float | None:
        """Dollars for one of the batch's rows; where its usage was not reported, what it reserved (of a request that the recipe no longer
        makes: its share of the batch). None where no price is known."""
        if not usage.estimated:
            return self._prices.cost(usage)
        worst = self._prices.worst(request)
        return worst if worst is None or request.messages else batch.reserved / batch.rows

    def _failure(self, batch: PendingBatch, key: bytes, request: Request, error: CallFailed) -> FailedAttempt:
        self._failed[key] += 1
        usage = UNREPORTED if error.usage == Usage() and error.kind == "broken" else error.usage
        cost = self._cost(batch, request, usage) or 0.0
        self.counters.failed_attempt(error.kind, error.message, error.usage, cost if self._prices.known else None)
        return FailedAttempt(key, error.kind, error.status, error.message, cost)

    def _finish(self, batch: PendingBatch, replies: dict[bytes, Reply], failures: Sequence[FailedAttempt]) -> None:
        self._ledger.record_now(list(replies.items()), failures, collected=batch.number)
        for reply in replies.values():
            if reply.status == "answered":
                self.counters.answered(reply)
        costs = [reply.cost for reply in replies.values() if reply.status == "answered"]
        paid = sum(cost or 0.0 for cost in costs) + sum(failed.cost or 0.0 for failed in failures)
        self._budget.settle(batch.reserved, None if None in costs else paid)

    # -- items --------------------------------------------------------------------------------------------------------

    def _missing(self, work: Work, items: Iterable[Item]) -> Iterator[tuple[bytes, Call]]:
        """The calls that can be made now, with their items' ids. Closes (and counts) items with nothing left to ask."""
        plan = work.plan_key()
        first_time, self._walked = not self._walked, True
        self._opened, self._left_closed = 0, False
        waiting = [call for state in advance(work.calibration_tasks(), self._ledger) if (call := state.waits_for)]
        if waiting and not self._pending.holds([b"calibration"]):
            yield from ((b"calibration", call) for call in waiting)
        for some in chunks(items, _LOOK_UP):
            ids = [row_id(item) for item in some]
            done = set() if self._retry_failed else self._ledger.find_done(plan, ids)
            held = self._pending.holds(ids)
            if first_time:
                self.counters.skipped(len(done), work.annotations_per_item)
            left = (item for item in some if row_id(item) not in done and row_id(item) not in held)
            for few in chunks(left, max(1, _OPEN // max(1, work.annotations_per_item))):
                for item, states in zip(few, states_of(work, self._ledger, few), strict=True):
                    begun = [self._begun(state) for state in states]
                    yield from self._missing_of(plan, item, begun, replayed=first_time)

    def _missing_of(
        self, plan: bytes, item: Item, states: list[TaskState], *, replayed: bool
    ) -> Iterator[tuple[bytes, Call]]:
        settled = [state for state in states if state.outcome]
        waiting = [state for state in states if state.waits_for]
        begun = [state for state in waiting if state.replies or state.begun_anew]
        fresh = [state for state in waiting if not (state.replies or state.begun_anew)]
        if fresh and not begun and not self._rounds.may_open(self._opened):
            self._left_closed = True
            return
        self._opened += bool(waiting)
        if fresh and (size := self._rounds.size(settled=settled, waiting=fresh)) is not None:
            fresh = [] if begun else self._rounds.ordered(item, fresh)[:size]  # a round ends before the next begins
        keys: set[bytes] = set()
        for state in [*begun, *fresh]:
            call = state.waits_for
            if call and call.key not in keys:
                keys.add(call.key)
                yield row_id(item), call
        if not keys:
            self.counters.items += 1
            for state in settled:
                if state.outcome:
                    self.counters.ended(state.outcome, replayed=replayed)
            self._rounds.closed(settled, in_full=not waiting)
            self._ledger.note_done(plan, row_id(item))
        elif self._retry_failed:
            self._ledger.note_undone(plan, row_id(item))

    def _begun(self, state: TaskState) -> TaskState:
        """The task, from its beginning if it failed and failures are retried (once)."""
        if not (self._retry_failed and state.outcome and state.outcome.status != "ok"):
            return state
        first = state.calls[0].key
        if first in self._begun_anew:
            return state
        self._begun_anew.add(first)
        return state.anew()

    # -- patience -----------------------------------------------------------------------------------------------------

    async def _wait(self, error: CallFailed) -> None:
        """After a failure of the provider as a whole. Raises where waiting is pointless, or has lasted long enough."""
        if error.fatal:
            raise refused(error)
        self.counters.failed_attempt(error.kind, error.message, error.usage, 0.0)
        now = time.monotonic()
        self._silent_since = self._silent_since or now
        if now - self._silent_since > self._limits.give_up_after:
            raise ProviderUnusable(
                f"the batch API has not been reached for {now - self._silent_since:.0f} s; the last failure was {self.counters.last_failure}",
                hint="What was handed over stays there. Run again to collect it.",
            )
        await self._sleep(error.retry_after if error.retry_after is not None else min(self._limits.poll_every, 10.0))

    async def _sleep(self, seconds: float) -> None:
        with self._stop.cuts_short():
            await asyncio.sleep(seconds)

    def _show(self, statuses: Sequence[BatchStatus]) -> None:
        batches = self._pending.batches()
        total, done = sum(batch.rows for batch in batches), sum(status.done for status in statuses)
        word = "batch" if len(batches) == 1 else "batches"
        self.counters.batches = (
            f"{len(batches)} {word} at the provider, {done:,} of {total:,} requests done" if batches else ""
        )


def _is_it(batch: PendingBatch, status: BatchStatus) -> bool:
    """Whether a batch that the provider lists is this one of ours."""
    if status.tag is not None:
        return status.tag == batch.tag
    return status.total == batch.rows and status.created >= batch.created_at - _CLOCKS


def _requests(work: Work, ledger: Ledger, items: Iterable[Item], rows: dict[bytes, bytes]) -> dict[bytes, Request]:
    """The requests of these calls, made again from their items."""
    ids = set(rows.values())
    found: dict[bytes, Request] = {}

    def look(states: Iterable[TaskState]) -> None:
        for state in states:
            for call in (state.waits_for, state.anew().waits_for if state.outcome else None):
                if call and call.key in rows:
                    found[call.key] = call.request

    if b"calibration" in ids:
        look(advance(work.calibration_tasks(), ledger))
    for few in chunks((item for item in items if row_id(item) in ids), _OPEN // 16):
        look(itertools.chain.from_iterable(states_of(work, ledger, few)))
        if len(found) == len(rows):
            break
    return found
