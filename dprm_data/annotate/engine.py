"""The engine: asks what is not yet answered, and nothing else.

    items ─▶ those not done ─▶ courses (replayed from the ledger) ─▶ calls ─▶ provider
                                                                        │
              done ◀─ outcome ◀─ course.take(reply) ◀─ ledger (on disk) ◀┘

For each item the first call goes ahead, so that the provider's cache holds the shared prefix when the others follow. A reply counts only
when it is on disk. What is wrong with one call is recorded as that call's failure; what is wrong with the provider stops the run:

    a dead key, an empty account, an unknown model       at once
    no answer to anything for `give_up_after` seconds    while it is waiting it says so in the tally
    many calls in a row that no retry could save         the provider is down, not the rows
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_random_exponential

from dprm_data.annotate.call import Call, Reply
from dprm_data.annotate.costs import Budget, Prices, estimated_input_tokens, worst_case
from dprm_data.annotate.ledger import FailedAttempt, Ledger
from dprm_data.annotate.limits import Limiter
from dprm_data.annotate.replay import Course, advance
from dprm_data.annotate.tally import Tally
from dprm_data.annotate.work import Work
from dprm_data.errors import DprmError, ProviderUnusable
from dprm_data.items import Item
from dprm_data.providers.base import Answer, CallFailed, Provider, Usage
from dprm_data.recipe import LimitsConfig

_CHUNK = 64  # items looked up in the ledger at a time
_DOWN_AFTER = 20  # calls given up in a row, without one answer between them
_SAY_AFTER = 3.0  # seconds without an answer, while attempts fail, before the live view says so
# Whose fault a failed attempt is: these are the provider's, whatever the row; they do not use up the row's attempts.
_NOT_THE_ROWS_FAULT = frozenset({"rate_limit", "overloaded", "connection"})
_backoff = wait_random_exponential(multiplier=0.5, max=60)


class _Stopping(Exception):
    """The run is ending: this call is not sent."""


class Engine:
    """Runs the work of one recipe against one provider, once.

    retry_failed: ask again what ended without a label.
    """

    def __init__(
        self,
        *,
        provider: Provider,
        ledger: Ledger,
        prices: Prices,
        budget: Budget,
        limits: LimitsConfig,
        tally: Tally | None = None,
        retry_failed: bool = False,
    ) -> None:
        self._provider = provider
        self._ledger = ledger
        self._prices = prices
        self._budget = budget
        self._config = limits
        self._limiter = Limiter(concurrency=limits.concurrency, rpm=limits.rpm, tpm=limits.tpm)
        self._retry_failed = retry_failed
        self.tally = tally or Tally()
        self._asked: dict[bytes, asyncio.Future[Reply]] = {}  # calls in flight, so that none is sent twice at one time
        self._unsent: set[asyncio.Task[object]] = (
            set()
        )  # tasks that wait to send: the ones to cancel when the run stops
        self._stop_reason: BaseException | None = None
        self._estimated_tokens = self._real_tokens = 1.0  # of all answers so far: how far the estimate is off
        self._congestions = 0  # since the last answer
        self._given_up_in_a_row = 0
        self._ever_answered = False
        self._failing_since: float | None = None

    # -- the run ------------------------------------------------------------------------------------------------------

    async def run(self, work: Work, items: Iterable[Item]) -> None:
        """Ask all that is missing. Returns when everything has an outcome; raises what stopped the run before that (a `DprmError`).

        In either case all calls in flight have ended and all replies are on disk.
        """
        watch = asyncio.create_task(self._watch())
        try:
            await self._pursue_all(advance(work.calibration_tasks(), self._ledger))
            await self._run_items(work, items)
        finally:
            watch.cancel()
            await self._ledger.flush()
        if self._stop_reason:
            raise self._stop_reason

    def stop(self, reason: BaseException) -> None:
        """Send nothing more; what is in flight is finished and kept. The run then raises the reason."""
        if self._stop_reason is None:
            self._stop_reason = reason
            for task in self._unsent:
                task.cancel()

    async def _run_items(self, work: Work, items: Iterable[Item]) -> None:
        plan = work.plan_key()
        places = asyncio.Semaphore(self._config.concurrency)
        active: set[asyncio.Task[None]] = set()

        def ended(task: asyncio.Task[None]) -> None:
            active.discard(task)
            places.release()
            if not task.cancelled() and (error := task.exception()):
                self.stop(error)

        for item, courses in self._open_items(work, plan, items):
            if courses:
                await places.acquire()
                task = asyncio.create_task(self._item(plan, item, courses))
                active.add(task)
                task.add_done_callback(ended)
            else:
                await asyncio.sleep(0)  # a long replay must not starve the live view
            if self._stop_reason:
                break
        if active:
            await asyncio.wait(active)

    def _open_items(self, work: Work, plan: bytes, items: Iterable[Item]) -> Iterator[tuple[Item, list[Course]]]:
        """Every item with the courses of its tasks; none where nothing is missing (those are tallied here)."""
        items = iter(items)
        while chunk := list(itertools.islice(items, _CHUNK)):
            done = set() if self._retry_failed else self._ledger.find_done(plan, [_row_id(item) for item in chunk])
            todo = [item for item in chunk if _row_id(item) not in done]
            self.tally.skipped(len(chunk) - len(todo), work.annotations_per_item)
            per_item = [work.tasks(item) for item in todo]
            all_courses = iter(advance(itertools.chain.from_iterable(per_item), self._ledger))
            for item, tasks in zip(todo, per_item, strict=True):
                courses = list(itertools.islice(all_courses, len(tasks)))
                if any(map(self._is_open, courses)):
                    yield item, courses
                else:
                    self._close(plan, item, courses)
                    yield item, []

    def _is_open(self, course: Course) -> bool:
        return course.outcome is None or (self._retry_failed and course.outcome.status != "ok")

    def _close(self, plan: bytes, item: Item, courses: Sequence[Course] = ()) -> None:
        """Nothing is missing for this item any more; `courses` needed no call."""
        for course in courses:
            if course.outcome:
                self.tally.ended(course.outcome, replayed=True)
        self.tally.items += 1
        self._ledger.note_done(plan, _row_id(item))

    async def _item(self, plan: bytes, item: Item, courses: Sequence[Course]) -> None:
        missing = [course for course in courses if self._is_open(course)]
        settled = [course for course in courses if not self._is_open(course)]
        await self._pursue_all(missing, warm_up=not settled)
        if all(course.outcome for course in courses) and not self._stop_reason:
            self._close(plan, item, settled)

    async def _pursue_all(self, courses: Sequence[Course], *, warm_up: bool = False) -> None:
        """Bring all courses to their outcomes; with `warm_up` the first one goes ahead alone."""
        ahead, rest = (courses[:1], courses[1:]) if warm_up else ((), courses)
        for some in (ahead, rest):
            results = await asyncio.gather(
                *(asyncio.create_task(self._pursue(course)) for course in some), return_exceptions=True
            )
            for result in results:
                if isinstance(result, BaseException) and not isinstance(result, _Stopping | asyncio.CancelledError):
                    raise result

    async def _pursue(self, course: Course) -> None:
        anew = course.outcome is not None  # it failed before, and is asked again from the beginning
        if anew:
            course.calls, course.replies, course.step = [], [], course.task.next(())
        looked_up = True  # the courses come from the ledger: their next call is not there
        while isinstance(course.step, Call):
            self.tally.reasks += len(course.replies) >= len(course.task.questions)
            course.take(await self._reply(course.step, missing=anew or looked_up))
            looked_up = False
        self.tally.ended(course.step, replayed=False)

    # -- one call -----------------------------------------------------------------------------------------------------

    async def _reply(self, call: Call, *, missing: bool) -> Reply:
        """The reply to a call: from the ledger (unless it is known to be missing there), from a call in flight, or from the provider."""
        if not missing and (known := self._ledger.find([call.key]).get(call.key)):
            return known
        if call.key in self._asked:
            return await asyncio.shield(self._asked[call.key])
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._asked[call.key] = future
        try:
            reply = await self._send(call)
            await self._ledger.record(call.key, reply)
        except DprmError as error:
            self.stop(error)
            raise _Stopping from error
        else:
            future.set_result(reply)
            self._count(reply)
            return reply
        finally:
            del self._asked[call.key]
            future.cancel()  # nothing happens where there is a result

    def _count(self, reply: Reply) -> None:
        if reply.status == "answered":
            self.tally.answered(reply)
            self._ever_answered = True
            self._given_up_in_a_row = self._congestions = 0
            self._failing_since = None

    async def _send(self, call: Call) -> Reply:
        """Send until it is answered, or until trying again is pointless: then the reply says why."""
        attempts = itertools.count(1)

        def try_again(error: BaseException) -> bool:
            if not isinstance(error, CallFailed) or not error.retryable or self._stop_reason:
                return False
            if error.kind in _NOT_THE_ROWS_FAULT and (self._ever_answered or error.kind != "connection"):
                return True
            return next(attempts) < self._config.attempts

        retrying = AsyncRetrying(retry=retry_if_exception(try_again), wait=_wait, sleep=self._sleep, reraise=True)
        try:
            return await retrying(self._attempt, call)
        except CallFailed as error:
            return self._given_up(error)

    async def _attempt(self, call: Call) -> Reply:
        tokens = self._estimate(call)
        with self._until_sent():
            await self._limiter.acquire(tokens)
        try:
            with self._until_sent():
                reserved = await self._budget.reserve(self._prices.of(worst_case(call.request)))
            return await self._exchange(call, reserved, tokens)
        finally:
            self._limiter.release()
            self.tally.window = self._limiter.window

    async def _exchange(self, call: Call, reserved: float, tokens: float) -> Reply:
        cost: float | None = reserved  # what is not known to be less is taken to be the worst
        sent = time.monotonic()
        self.tally.in_flight += 1
        try:
            answer = await self._provider.complete(call.request)
            cost = self._prices.of(answer.usage)
        except CallFailed as error:
            cost = self._failed(call, error, sent, reserved)
            raise
        finally:
            self.tally.in_flight -= 1
            self._budget.settle(reserved, cost)
        self._learn(call, answer, tokens)
        return _answered(answer, cost, time.monotonic() - sent)

    def _learn(self, call: Call, answer: Answer, reserved: float) -> None:
        """What an answer teaches: how long such texts are in tokens, and what the provider still allows."""
        self._estimated_tokens += estimated_input_tokens(call.request)
        self._real_tokens += answer.usage.input_tokens
        self._limiter.succeeded(reserved, answer.usage.input_tokens + answer.usage.output_tokens)
        self._limiter.obey(answer.headers)

    def _estimate(self, call: Call) -> float:
        return estimated_input_tokens(call.request) * self._real_tokens / self._estimated_tokens + float(
            call.request.params.get("max_tokens", 0)
        )

    # -- failures -----------------------------------------------------------------------------------------------------

    def _failed(self, call: Call, error: CallFailed, sent: float, reserved: float) -> float | None:
        """Take note of a failed attempt; returns what it cost.

        An attempt that timed out may have been answered and billed: it is taken to have cost what it could.
        """
        cost = reserved if error.kind == "timeout" and error.usage == Usage() else self._prices.of(error.usage)
        self.tally.retries[error.kind] += 1
        self.tally.paid(error.usage, cost)
        self._failing_since = self._failing_since or time.monotonic()
        self.tally.last_failure = f"{error.kind.replace('_', ' ')}: {error.message}"
        self._ledger.note_failure(FailedAttempt(call.key, error.kind, error.status, error.message, cost))
        if error.kind in ("rate_limit", "overloaded"):
            self._congestions += 1
            backoff = min(60.0, 0.25 * 2.0 ** min(self._congestions, 12)) * random.uniform(0.5, 1.0)
            self._limiter.congested(sent, error.retry_after if error.retry_after is not None else backoff)
        self._limiter.obey(error.headers)
        return cost

    def _given_up(self, error: CallFailed) -> Reply:
        """What a call that cannot be answered leaves behind; raises where the fault is not the call's own."""
        if self._stop_reason:
            raise _Stopping
        if error.fatal:
            raise ProviderUnusable(f"the provider refuses every call: {error.message}", hint=_HINTS[error.kind])
        self._given_up_in_a_row += 1
        if not self._ever_answered and error.kind == "connection":
            raise ProviderUnusable(
                f"the provider cannot be reached: {error.message}",
                hint="Check base_url and the network. What was answered is kept; run again to go on.",
            )
        if self._given_up_in_a_row >= _DOWN_AFTER:
            raise ProviderUnusable(
                f"{self._given_up_in_a_row} calls in a row failed for good, the last one with: {error.message}",
                hint="The provider is down or does not take such requests. Mend that and run again with --retry-failed.",
            )
        status = f"{error.status} " if error.status else ""
        return Reply(
            status="rejected" if error.kind == "rejected" else "exhausted",
            reason=f"{status}{error.kind}: {error.message}",
            created_at=time.time(),
        )

    async def _watch(self) -> None:
        """Say when nothing comes, and give up when that has lasted as long as the recipe allows."""
        while True:
            await asyncio.sleep(0.25)
            silent = time.monotonic() - self._failing_since if self._failing_since else 0.0
            cooling = f"; next try in {self._limiter.cooling:.0f} s" if self._limiter.cooling >= 1 else ""
            self.tally.waiting = (
                f"no answer for {silent:.0f} s ({self.tally.last_failure}){cooling}" if silent > _SAY_AFTER else ""
            )
            if silent > self._config.give_up_after:
                self.stop(
                    ProviderUnusable(
                        f"no answer for {silent:.0f} s; the last failure was {self.tally.last_failure}",
                        hint="What was answered is kept; run again to go on. limits: give_up_after says how long to wait.",
                    )
                )

    # -- stopping -----------------------------------------------------------------------------------------------------

    @contextmanager
    def _until_sent(self) -> Iterator[None]:
        """Around every wait before a call is sent: when the run stops, the wait ends."""
        if self._stop_reason:
            raise _Stopping
        task = asyncio.current_task()
        assert task
        self._unsent.add(task)
        try:
            yield
        finally:
            self._unsent.discard(task)

    async def _sleep(self, seconds: float) -> None:
        with self._until_sent():
            await asyncio.sleep(seconds)


_HINTS = {
    "key": "Check the key (and that it may use this model). Nothing further was sent; run again to go on.",
    "billing": "The account has no money or quota left. Nothing further was sent; run again to go on.",
    "not_found": "Check the model's name and base_url. Nothing further was sent; run again to go on.",
}


def _wait(state: RetryCallState) -> float:
    """Seconds before the next attempt: what the provider asks for, or growing with jitter."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, CallFailed) else None
    return asked if asked is not None else float(_backoff(state))


def _row_id(item: Item) -> bytes:
    return item.item_id.encode()


def _answered(answer: Answer, cost: float | None, latency: float) -> Reply:
    return Reply(
        status="answered",
        text=answer.text,
        finish=answer.finish,
        top_logprobs=answer.top_logprobs,
        model=answer.model,
        usage=answer.usage,
        cost=cost,
        latency=latency,
        created_at=time.time(),
    )
