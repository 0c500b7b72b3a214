"""Direct mode: makes the missing calls, and no others.

    items ─▶ those not done, nor leased by others ─▶ tasks (replayed from the ledger) ─▶ scheduler ─▶ client ─▶ provider
                                                                                                        │
                                             done ◀─ outcome ◀─ state.take(reply) ◀─ ledger (on disk) ◀─┘

A reply counts only once it is on disk. A fixed number of coroutines take tasks from the scheduler one by one, so memory does not grow with
the number of items. A fault of one call becomes that call's failure; a fault of the provider ends the run.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress

from dprm_data.core.errors import ProviderUnusable
from dprm_data.elicit.work import Work
from dprm_data.engine.budget import Budget
from dprm_data.engine.canary import Canary
from dprm_data.engine.cancellation import Cancellation, Cancelled
from dprm_data.engine.client import RetryingClient
from dprm_data.engine.coordinator import Coordinator, Lease, LeaseLost
from dprm_data.engine.counters import Counters
from dprm_data.engine.early_stopping import RoundPolicy
from dprm_data.engine.item_queue import ItemQueue
from dprm_data.engine.prices import Prices
from dprm_data.engine.replay import TaskState
from dprm_data.engine.scheduler import Scheduler
from dprm_data.ingest.items import Item
from dprm_data.ledger.call import Call
from dprm_data.ledger.ledger import Ledger
from dprm_data.providers.provider import Provider
from dprm_data.recipe.recipe import LimitsConfig

_SAY_AFTER = 3.0  # seconds of failing attempts without an answer before the live view says so


class Engine:
    """Runs the work of one recipe against one provider.

    retry_failed: retry annotations that ended without a label. began: the start of the run (seconds since 1970; default: now); what failed
    later, at another worker, is not retried. coordinator: needed if other workers may share the ledger. canary: of a run of several engines.
    """

    def __init__(
        self,
        *,
        provider: Provider,
        ledger: Ledger,
        prices: Prices,
        budget: Budget,
        limits: LimitsConfig,
        counters: Counters | None = None,
        retry_failed: bool = False,
        began: float | None = None,
        rounds: RoundPolicy | None = None,
        coordinator: Coordinator | None = None,
        canary: Canary | None = None,
    ) -> None:
        self._rounds = rounds or RoundPolicy()
        self.counters = counters or Counters()
        self._ledger = ledger
        self._limits = limits
        self._retry_failed = retry_failed
        self._coordinator = coordinator or Coordinator()
        self._began = time.time() if began is None else began
        self._canary = canary or Canary(give_up=limits.give_up_unusable, total=None, prices=prices)
        self._stop = Cancellation()
        self._client = RetryingClient(
            provider=provider,
            ledger=ledger,
            prices=prices,
            budget=budget,
            limits=limits,
            limiter=self._coordinator.limiter(limits),
            counters=self.counters,
            stop=self._stop,
        )
        self._idle: deque[asyncio.Future[None]] = deque()  # coroutines without work, the longest idle first

    async def run(self, work: Work, items: Iterable[Item]) -> None:
        """Make all missing calls. Returns when everything has an outcome; raises what stopped the run before that (a `DprmError`).

        Either way, all calls in flight have ended and all replies are on disk.
        """
        queue = ItemQueue(
            work,
            ledger=self._ledger,
            coordinator=self._coordinator,
            rounds=self._rounds,
            counters=self.counters,
            retry_failed=self._retry_failed,
            began=self._began,
            canary=self._canary,
        )
        self._coordinator.on_failure(self.stop)
        watch = asyncio.create_task(self._watch())
        try:
            calibrated = queue.calibrated
            may_begin = self._canary.may_begin
            await self._work_off(
                Scheduler(queue.calibration(), closed=calibrated, lost=calibrated, may_begin=may_begin)
            )
            self.counters.only_calls()
            found, size = queue.items(items), queue.round_size
            await self._work_off(
                Scheduler(found, closed=queue.closed, lost=queue.lost, round_size=size, may_begin=may_begin)
            )
        finally:
            watch.cancel()
            await self._ledger.flush()
            queue.leave()
        if self._stop.reason:
            raise self._stop.reason

    def stop(self, reason: BaseException) -> None:
        """Send nothing more. Calls in flight finish and are kept; the run then raises `reason`."""
        self._stop.because(reason)
        self._wake(len(self._idle))

    # -- coroutines ----------------------------------------------------------------------------------------------------

    async def _work_off(self, scheduler: Scheduler) -> None:
        # A few more coroutines than calls in flight: while some wait for the disk, others keep the connections busy.
        count = self._limits.concurrency + self._limits.concurrency // 4 + 1
        await asyncio.gather(*(self._take_tasks(scheduler) for _ in range(count)))

    async def _take_tasks(self, scheduler: Scheduler) -> None:
        try:
            while not self._stop and not scheduler.finished:
                found = scheduler.next()
                if found:
                    item, state = found
                    try:
                        await self._pursue(state, item.lease)
                    except LeaseLost:
                        item.lost = True
                    scheduler.through(item, state)
                    # One more than there are tasks, who may open items; this coroutine takes one, too.
                    self._wake(scheduler.ready if scheduler.exhausted else scheduler.ready + 1)
                elif (waits := scheduler.holding or scheduler.exhausted) or (rest := scheduler.paused_for):
                    idle = asyncio.get_running_loop().create_future()
                    self._idle.append(idle)
                    try:
                        await asyncio.wait_for(idle, None if waits else rest)
                    except TimeoutError:
                        with suppress(ValueError):
                            self._idle.remove(idle)
                else:
                    await asyncio.sleep(0)
        except Cancelled:
            pass
        except Exception as error:
            self.stop(error)
        finally:
            self._wake(len(self._idle) if self._stop or scheduler.finished else scheduler.ready)

    def _wake(self, count: int) -> None:
        """Wake so many coroutines without work. (To wake all of them at every task's end would cost more than the tasks.)"""
        while self._idle and count > 0:
            idle = self._idle.popleft()
            if not idle.done():
                idle.set_result(None)
                count -= 1

    async def _pursue(self, state: TaskState, lease: Lease | None) -> None:
        """Make a task's calls until it has an outcome."""
        missing = not state.is_repeat  # the replay has found that the ledger lacks this call
        while isinstance(state.step, Call):
            self.counters.reasks += len(state.replies) >= len(state.task.questions)
            await self._canary.permit(state, self._stop)
            try:
                reply = await self._client.reply(state.step, missing=missing, lease=lease)
            except BaseException:
                self._canary.withdrawn(state)
                raise
            state.take(reply)
            if self._canary.took(state, reply):  # all may begin
                self._wake(len(self._idle))
            missing = state.is_restart
        self.counters.ended(state.step, replayed=False)

    # -- patience -----------------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Report when no answers arrive, and give up when that has lasted, or will last, longer than the recipe allows."""
        while True:
            await asyncio.sleep(0.25)
            since, cooling = self._client.failing_since, self._client.limiter.cooling
            silent = time.monotonic() - since if since else 0.0
            self.counters.cooling = cooling
            self._coordinator.report(self.counters)
            self.counters.waiting = self._silence(silent, cooling) if max(silent, cooling) > _SAY_AFTER else ""
            if max(silent, cooling) > self._limits.give_up_after:
                self.stop(
                    ProviderUnusable(
                        self._silence(silent, cooling),
                        hint="All answers are kept; run again to continue. limits: give_up_after sets how long to wait.",
                    )
                )

    def _silence(self, silent: float, cooling: float) -> str:
        parts = [f"no answer for {silent:.0f} s ({self.counters.last_failure})"] if silent else []
        parts += [f"the provider asks to wait: next try in {cooling:.0f} s"] if cooling >= 1 else []
        return "; ".join(parts)
