"""Batch mode: submit all missing calls in batches, at half the price, and collect the results when the provider has finished.

    items ─▶ those not done, with no call pending ─▶ missing calls ─▶ batches ─▶ pending (in the ledger) ─▶ provider
      ▲                                                                                                       │
      └── replies and failures, in the transaction that ends the pending batch ◀── results, in any order ◀────┘

This repeats until nothing is missing: the next pass re-asks where an answer cannot be read, and resubmits rows that failed or expired.
The process may stop at any moment and restart a day later: it then collects the pending batches.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from dprm_data.core.errors import BudgetReached, ProviderUnusable
from dprm_data.elicit.work import Work
from dprm_data.engine.budget import Budget
from dprm_data.engine.cancellation import Cancellation, Cancelled
from dprm_data.engine.client import failure_reply, refusal_error, reply_of
from dprm_data.engine.counters import Counters
from dprm_data.engine.early_stopping import RoundPolicy
from dprm_data.engine.missing_calls import MissingCalls, requests_of
from dprm_data.engine.pending_batches import PendingBatch, PendingBatches
from dprm_data.engine.prices import Prices
from dprm_data.ingest.items import Item
from dprm_data.ledger.call import Reply
from dprm_data.ledger.ledger import FailedAttempt, Ledger
from dprm_data.providers.batch_api import BatchProvider, BatchStatus
from dprm_data.providers.request import UNREPORTED, Answer, CallFailed, Request, Usage
from dprm_data.providers.token_estimates import reported
from dprm_data.recipe.recipe import LimitsConfig

_CLOCK_SKEW = 300.0  # seconds by which the provider's clock may differ from ours
_MAY_HAVE_ARRIVED = frozenset({"timeout", "connection", "server"})

Load = Callable[[], Iterable[Item]]


@dataclass(slots=True)
class _Draft:
    """A batch that is being filled."""

    rows: list[tuple[bytes, bytes, Request]] = field(default_factory=list)  # call key, item id, request
    size: int = 0  # bytes
    reserved: float = 0.0  # dollars


class BatchEngine:
    """Runs the work of one recipe through a provider's batch API.

    retry_failed: retry annotations that ended without a label.
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
        self._max_requests = provider.max_requests  # per batch; lowered when the provider refuses a batch of that size
        self._failures: Counter[bytes] = Counter()  # failures so far, by call key
        self._silent_since: float | None = None  # when the provider stopped responding
        self._stop = Cancellation()

    def stop(self, reason: BaseException) -> None:
        """Submit nothing more. The run then raises `reason`; pending batches stay pending."""
        self._stop.because(reason)

    async def run(self, work: Work, load: Load) -> None:
        """Submit and collect until nothing is missing. Raises what stopped the run before that (a `DprmError`).

        load: opens the items from the first one; each pass reads them once.
        """
        missing = MissingCalls(
            work,
            ledger=self._ledger,
            pending=self._pending,
            rounds=self._rounds,
            counters=self.counters,
            retry_failed=self._retry_failed,
        )
        for batch in self._pending.batches():
            self._budget.hold(batch.reserved)
        try:
            while True:
                await self._recover_unconfirmed()
                found, budget_error = await self._submit_missing(missing, load())
                if self._pending.batches():
                    await self._collect(work, load)
                elif found or missing.postponed:  # refused by the provider, or after the pilot
                    continue
                elif budget_error:
                    raise budget_error
                else:
                    break
        except Cancelled:
            pass
        finally:
            await self._ledger.flush()
        if self._stop.reason:
            raise self._stop.reason

    # -- submitting ---------------------------------------------------------------------------------------------------

    async def _submit_missing(self, missing: MissingCalls, items: Iterable[Item]) -> tuple[bool, BudgetReached | None]:
        """Submit all missing calls. Returns whether there were any, and the budget's error if it covers only some of them."""
        draft = _Draft()
        found, budget_error = False, None
        for item_id, call in missing.find(items):
            need = self._budget.need(self._prices.worst(call.request))
            if not self._budget.has_room_for(draft.reserved + need):
                budget_error = self._budget.reached(need)
                break
            size = self._provider.row_bytes(call.key.hex(), call.request)
            if draft.rows and (len(draft.rows) >= self._max_requests or draft.size + size > self._provider.max_bytes):
                await self._submit(draft)
                draft = _Draft()
            found = True
            draft.rows.append((call.key, item_id, call.request))
            draft.size += size
            draft.reserved += need
        if draft.rows:
            await self._submit(draft)
        return found, budget_error

    async def _submit(self, draft: _Draft) -> None:
        batch = self._pending.put([(key, item_id) for key, item_id, _ in draft.rows], draft.reserved)
        self._budget.hold(draft.reserved)
        self._show([])
        try:
            with self._stop.cuts_short():
                rows = ((key.hex(), request) for key, _, request in draft.rows)
                batch_id = await self._provider.submit(rows, tag=batch.tag)
        except CallFailed as error:
            if error.kind in _MAY_HAVE_ARRIVED and error.sent:
                await self._wait(error)  # `_recover_unconfirmed` looks for it later
            else:
                await self._refused(batch, error)
        else:
            self._silent_since = None
            self._pending.confirm(batch, batch_id)

    async def _refused(self, batch: PendingBatch, error: CallFailed) -> None:
        """Handle a batch that was refused whole: nothing in it ran or was billed. A single call fails; several are missing again."""
        if error.kind == "rejected" and batch.rows == 1:
            [key] = self._pending.rows(batch)
            self._finish(batch, {key: failure_reply(error)}, [])
            return
        self._pending.drop(batch)
        self._budget.settle(batch.reserved, 0.0)
        if error.fatal:
            raise refusal_error(error)
        if error.kind in ("rejected", "rate_limit"):
            self._max_requests = max(1, batch.rows // 2)
        if error.kind != "rejected":
            await self._wait(error)

    async def _recover_unconfirmed(self) -> None:
        """Confirm the batches without an id that did reach the provider, and drop those that did not."""
        unconfirmed = [batch for batch in self._pending.batches() if batch.batch_id is None]
        while unconfirmed:
            try:
                with self._stop.cuts_short():
                    listed = await self._provider.recent(min(batch.created_at for batch in unconfirmed) - _CLOCK_SKEW)
                break
            except CallFailed as error:
                await self._wait(error)
        confirmed = {batch.batch_id for batch in self._pending.batches()}
        for batch in unconfirmed:
            match = next(
                (each for each in reversed(listed) if each.id not in confirmed and _matches(batch, each)), None
            )
            if match:
                confirmed.add(match.id)
                self._pending.confirm(batch, match.id)
            else:
                self._pending.drop(batch)
                self._budget.settle(batch.reserved, 0.0)

    # -- collecting ---------------------------------------------------------------------------------------------------

    async def _collect(self, work: Work, load: Load) -> None:
        """Wait until at least one batch has ended, and keep its results."""
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
        """A batch's status; None if it was refused whole after all."""
        assert batch.batch_id
        while True:
            try:
                with self._stop.cuts_short():
                    status = await self._provider.poll(batch.batch_id)
            except CallFailed as error:
                if error.status is None and error.kind in ("rejected", "rate_limit", "billing"):
                    await self._refused(batch, error)
                    return None
                await self._wait(error)
            else:
                self._silent_since = None
                return status

    async def _fetch(self, batch: PendingBatch, work: Work, load: Load) -> bool:
        """Keep a batch's results. Returns False if they cannot be read yet."""
        assert batch.batch_id
        rows = self._pending.rows(batch)
        # Answers to calls that the recipe no longer makes were paid for: they are kept, too.
        requests = dict.fromkeys(rows, Request(work.elicitation.model, (), {}))
        requests |= requests_of(work, self._ledger, load(), rows)
        replies: dict[bytes, Reply] = {}
        failures: list[FailedAttempt] = []
        fatal: CallFailed | None = None
        try:
            with self._stop.cuts_short():
                by_id = {key.hex(): request for key, request in requests.items()}
                async for custom_id, result in self._provider.results(batch.batch_id, by_id):
                    key = bytes.fromhex(custom_id)
                    if isinstance(result, Answer):
                        usage = reported(result.usage, requests[key], result.text)
                        replies[key] = reply_of(result, usage, self._cost(batch, requests[key], usage), 0.0)
                        continue
                    failures.append(self._failure(batch, key, requests[key], result))
                    if result.fatal:
                        fatal = result
                    elif not result.retryable or self._failures[key] >= self._limits.attempts:
                        replies[key] = failure_reply(result)
        except CallFailed as error:
            await self._wait(error)
            return False
        self._finish(batch, replies, failures)
        if fatal:
            raise refusal_error(fatal)
        return True

    def _cost(self, batch: PendingBatch, request: Request, usage: Usage) -> float | None:
        """Dollars for one row of the batch. Without a reported usage, what the row reserved (for a request that the recipe no longer makes:
        an equal share of the batch). None if no price is known."""
        if not usage.estimated:
            return self._prices.cost(usage)
        worst = self._prices.worst(request)
        return worst if worst is None or request.messages else batch.reserved / batch.rows

    def _failure(self, batch: PendingBatch, key: bytes, request: Request, error: CallFailed) -> FailedAttempt:
        self._failures[key] += 1
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

    # -- waiting ------------------------------------------------------------------------------------------------------

    async def _wait(self, error: CallFailed) -> None:
        """Wait after a failure of the provider itself. Raises if waiting is pointless or `give_up_after` has passed."""
        if error.fatal:
            raise refusal_error(error)
        self.counters.failed_attempt(error.kind, error.message, error.usage, 0.0)
        now = time.monotonic()
        self._silent_since = self._silent_since or now
        if now - self._silent_since > self._limits.give_up_after:
            raise ProviderUnusable(
                f"the batch API has been unreachable for {now - self._silent_since:.0f} s; last failure: {self.counters.last_failure}",
                hint="Submitted batches stay at the provider. Run again to collect them.",
            )
        # No shorter than a round trip, whatever the provider asks for, and no longer than the run waits.
        await self._sleep(min(error.retry_after or min(self._limits.poll_every, 10.0), self._limits.give_up_after))

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


def _matches(batch: PendingBatch, status: BatchStatus) -> bool:
    """Whether a batch that the provider lists is this pending one."""
    if status.tag is not None:
        return status.tag == batch.tag
    return status.total == batch.rows and status.created >= batch.created_at - _CLOCK_SKEW
