"""The client: sends one call, from the first attempt to the reply that the ledger keeps.

Each attempt waits for the limits, reserves its worst case in the budget, and settles its cost. A fault of one call is recorded as that
call's failure. A fault of the provider is raised, and stops the run; which of the two it is, `evidence` says:

    a dead key, an empty account, an unknown model       if others meet it, too
    calls about many items in a row that no retry could save, without an answer in between

Only failures for which the call itself may be to blame use up attempts. If the provider cannot be reached, or is too busy for everyone,
the client waits (up to `limits: give_up_after`). A single call that is refused for being too fast waits alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_random_exponential

from dprm_data.core.errors import ProviderUnusable
from dprm_data.engine.budget import Budget
from dprm_data.engine.cancellation import Cancellation, Cancelled
from dprm_data.engine.coordinator import Lease, LeaseLost
from dprm_data.engine.counters import Counters
from dprm_data.engine.evidence import Evidence
from dprm_data.engine.latencies import Latencies
from dprm_data.engine.model_list import like_a_sold_one
from dprm_data.engine.prices import Prices
from dprm_data.ledger.call import Call, Reply, with_room
from dprm_data.ledger.ledger import FailedAttempt, Ledger
from dprm_data.providers.limits import Limiter, backoff
from dprm_data.providers.provider import Provider
from dprm_data.providers.request import Answer, CallFailed, Usage
from dprm_data.providers.token_estimates import estimated_input_tokens, output_tokens_cap, reported
from dprm_data.recipe.recipe import LimitsConfig

_CONGESTION = frozenset({"rate_limit", "overloaded"})
_CONGESTED_ATTEMPT = 0.2  # share of an attempt that a 429 uses up while other calls are answered
_LONGEST_WAIT_ALONE = 8.0  # seconds
_SHORTEST_WAIT_ALONE = 0.05
_TRUSTED = 3  # refusals of a call in a row for which a wait that proves too short is taken at the provider's word
_backoff = wait_random_exponential(multiplier=0.5, max=60)


@dataclass(slots=True)
class _Trouble:
    """A call's failures so far. attempts: used up; sent: the last attempt; others: others were answered meanwhile; own: even some that were
    sent later."""

    attempts: float = 0.0
    sent: float = 0.0
    congestions: int = 0
    timeouts: int = 0
    others: bool = False
    own: bool = False


class RetryingClient:
    """Sends calls to one provider. Raises `Cancelled` if the run ends before a call is sent, `DprmError` if the run must end."""

    def __init__(
        self,
        *,
        provider: Provider,
        ledger: Ledger,
        prices: Prices,
        budget: Budget,
        limits: LimitsConfig,
        limiter: Limiter,
        counters: Counters,
        stop: Cancellation,
    ) -> None:
        self._provider = provider
        self._ledger = ledger
        self._prices = prices
        self._budget = budget
        self._most_attempts = limits.attempts
        self._patience = limits.give_up_after
        self.limiter = limiter
        self._counters = counters
        self._stop = stop
        self._asked: dict[bytes, asyncio.Future[Reply]] = {}  # calls in flight, so that none is sent twice at once
        self._estimated_tokens = self._real_tokens = 1.0  # over all answers so far: their ratio corrects the estimate
        self._troubles: dict[bytes, _Trouble] = {}  # of the calls in flight
        self._to_blame: set[str] = set()  # items with a call that was given up while others were answered
        self._evidence = Evidence(lambda: limiter.at_provider, self._ask_again)
        self._last_answered: Call | None = None
        self._latencies = Latencies()
        self._thoughts = self._answers = 0  # tokens of thought in all answers so far, and their number
        self._thinks = False  # the model turned out to think, though nobody said so
        self.failing_since: float | None = None
        self._last_error = ""  # of a call that was given up

    async def reply(self, call: Call, *, missing: bool, lease: Lease | None = None) -> Reply:
        """The reply to a call, on disk: from the ledger (unless it is known to be missing there), from a call in flight, or from
        the provider. Raises `LeaseLost` if another worker took the item before the call was sent."""
        if not missing and (known := self._ledger.find([call.key]).get(call.key)):
            return known
        if call.key in self._asked:
            return await asyncio.shield(self._asked[call.key])
        if self._thinks:
            call = with_room(call)
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._asked[call.key] = future
        try:
            reply = await self._send(call, lease)
            await self._ledger.record(call.key, reply)
            future.set_result(reply)
        except LeaseLost as error:
            future.set_exception(error)
            future.exception()  # nobody may be waiting for it
            raise
        finally:
            del self._asked[call.key]
            self._troubles.pop(call.key, None)
            if not future.done():
                future.set_exception(Cancelled())
                future.exception()  # nobody may be waiting for it
        if reply.status == "answered":
            self._counters.answered(reply)
            self._thinks = self._thinks or reply.thought
        return reply

    # -- attempts -----------------------------------------------------------------------------------------------------

    async def _send(self, call: Call, lease: Lease | None) -> Reply:
        """Send until answered, or until retrying is pointless; the reply then says why."""
        try:
            return await self._attempt(call, lease)
        except CallFailed as error:
            failed = error
        try:
            return await self._again(call, lease, failed)
        except CallFailed as error:
            return await self._give_up(call, error)

    async def _again(self, call: Call, lease: Lease | None, first: CallFailed) -> Reply:
        """Make all attempts after the first, which failed with `first`. (Most calls succeed at once and need none of this.)"""
        trouble = self._troubles[call.key]
        failed: CallFailed | None = first

        async def attempt() -> Reply:
            nonlocal failed
            if failed:
                error, failed = failed, None
                raise error
            return await self._attempt(call, lease)

        def worth_it(error: BaseException) -> bool:
            if not isinstance(error, CallFailed) or not error.retryable or self._stop:
                return False
            if (error.retry_after or 0.0) > self._patience:
                if error.kind not in _CONGESTION or self._evidence.answered_at > trouble.sent:
                    return False  # it would hold up the end of the run
                # It may be meant for all; that ends the run (see `Engine`).
                self.limiter.cool_down(error.retry_after or 0.0)
            trouble.attempts += self._weight(error, trouble)
            return trouble.attempts < self._most_attempts

        def wait(state: RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            if isinstance(error, CallFailed) and error.kind in _CONGESTION:
                return 0.0 if self.limiter.cooling else _wait_alone(error, trouble.congestions)
            return (isinstance(error, CallFailed) and error.retry_after) or float(_backoff(state))  # 0 would be a storm

        retrying = AsyncRetrying(retry=retry_if_exception(worth_it), wait=wait, sleep=self._sleep, reraise=True)
        return await retrying(attempt)

    def _weight(self, error: CallFailed, trouble: _Trouble) -> float:
        """How much of an attempt a failure uses up: nothing if it says more about the provider than about the call."""
        if error.kind in _CONGESTION:
            return _CONGESTED_ATTEMPT if trouble.others else 0.0
        if error.kind == "connection" and not error.sent:
            return 0.0 if self._evidence.answered_at else 1.0
        return 2.0 if error.kind == "timeout" and trouble.own else 1.0

    async def _attempt(self, call: Call, lease: Lease | None) -> Reply:
        tokens = self._estimate(call)
        while True:
            with self._stop.cuts_short():
                if items := await self._evidence.known():
                    raise self._down(items)
                until = await self.limiter.acquire(tokens)
            unused = tokens
            try:
                if self._evidence.holds(self.limiter.at_provider - 1):
                    continue  # meanwhile others have failed
                with self._stop.cuts_short():
                    reserved = await self._budget.reserve(self._prices.worst(call.request))
                    if lease and not lease.good:
                        await self._confirm(lease, reserved)
                if time.monotonic() <= until:
                    unused = 0.0
                    return await self._exchange(call, reserved, tokens)
                self._budget.settle(reserved, 0.0)  # that took too long: the turn has expired
            finally:
                self.limiter.release(unused)
                self._counters.window = self.limiter.window

    async def _confirm(self, lease: Lease, reserved: float) -> None:
        try:
            await lease.confirm()
        except BaseException:
            self._budget.settle(reserved, 0.0)
            raise

    async def _exchange(self, call: Call, reserved: float, tokens: float) -> Reply:
        cost: float | None = reserved  # the worst case, unless it is known to be less
        sent = time.monotonic()
        self._counters.in_flight += 1
        try:
            answer = await self._ask(call)
            usage = reported(answer.usage, call.request, answer.text)
            if not usage.estimated:
                cost = self._prices.cost(usage)
            elif self._prices.worst(call.request) is None:
                cost = None
        except CallFailed as error:
            cost = self._failed(call, error, sent, reserved)
            raise
        finally:
            self._counters.in_flight -= 1
            self._budget.settle(reserved, cost)
        now = time.monotonic()
        self._evidence.answered(sent, now)
        self._latencies.note(now - sent)
        self._last_answered = call
        self._succeeded(call, usage, answer.headers, tokens)
        return reply_of(answer, usage, cost, now - sent)

    async def _ask(self, call: Call) -> Answer:
        """Send the request once, for no longer than is worth it. Raises `CallFailed`."""
        trouble = self._troubles.get(call.key)
        limit = self._latencies.limit(trouble.timeouts if trouble else 0)
        if limit is None:
            return await self._provider.complete(call.request)
        try:
            async with asyncio.timeout(limit):
                return await self._provider.complete(call.request)
        except TimeoutError:
            self._latencies.note(limit, given_up=True)
            message = f"no answer within {limit:.0f} s, far longer than other calls take"
            raise CallFailed("timeout", message) from None

    def _succeeded(self, call: Call, usage: Usage, headers: Mapping[str, str], reserved: float) -> None:
        """Learn from an answer: how many tokens such texts have, and what the provider still allows."""
        self.failing_since = None
        if not usage.estimated:
            self._estimated_tokens += estimated_input_tokens(call.request)
            self._real_tokens += usage.input_tokens
            self._thoughts += usage.reasoning_tokens
            self._answers += 1
        self.limiter.succeeded(reserved, usage.billed)
        if headers:
            self.limiter.obey(headers)

    def _estimate(self, call: Call) -> float:
        """About how many tokens a call will use, for the limit on tokens."""
        if not self.limiter.counts_tokens:
            return 0.0
        tokens = estimated_input_tokens(call.request) * self._real_tokens / self._estimated_tokens
        # The room for thoughts is many times what they take: to reserve it would leave most of the limit unused.
        known = call.request.capabilities.reasoning_tokens
        thoughts = self._thoughts / self._answers if self._answers else known
        return tokens + (output_tokens_cap(call.request.params) or 0) + thoughts

    async def _sleep(self, seconds: float) -> None:
        with self._stop.cuts_short():
            await asyncio.sleep(seconds)

    # -- failures -----------------------------------------------------------------------------------------------------

    def _failed(self, call: Call, error: CallFailed, sent: float, reserved: float) -> float | None:
        """Record a failed attempt. Returns its cost in dollars."""
        unknown = error.usage.estimated or (error.usage == Usage() and _may_be_billed(error))
        cost = reserved if unknown else self._prices.cost(error.usage)
        self._counters.failed_attempt(error.kind, error.message, error.usage, cost if self._prices.known else None)
        trouble = self._troubles.setdefault(call.key, _Trouble())
        trouble.sent = sent
        trouble.timeouts += error.kind == "timeout"
        trouble.congestions += error.kind in _CONGESTION
        to_blame = call.request.cache_hint in self._to_blame
        trouble.others = trouble.others or self._evidence.answered_at > sent or to_blame
        trouble.own = trouble.own or self._evidence.accepted_at > sent or to_blame
        if not (trouble.own and error.kind == "timeout"):
            self.failing_since = self.failing_since or time.monotonic()
        self._ledger.note_failure(FailedAttempt(call.key, error.kind, error.status, error.message, cost))
        if error.kind in _CONGESTION:
            self.limiter.congested(sent, error.retry_after)
        self.limiter.obey(error.headers)
        return cost

    async def _give_up(self, call: Call, error: CallFailed) -> Reply:
        """The reply of a call that cannot be answered. Raises if the call is not to blame."""
        item = call.request.cache_hint
        if error.fatal:
            with self._stop.cuts_short():
                if await self._evidence.is_everybodys(item, time.monotonic(), lambda count: len(self._asked) <= count):
                    raise refusal_error(error, like_a_sold_one(self._provider.family, call.request.model))
            return failure_reply(error)
        if self._stop and error.retryable:
            raise Cancelled
        if error.kind == "connection" and not self._evidence.answered_at:
            raise ProviderUnusable(
                f"the provider cannot be reached: {error.message}",
                hint="Check base_url and the network. All answers are kept; run again to continue.",
            )
        self._evidence.gave_up(item)
        if error.kind == "timeout" or error.kind in _CONGESTION:
            self._to_blame.add(item)
        self._last_error = error.message
        return failure_reply(error)

    async def _ask_again(self) -> bool | None:
        """Ask once more what was answered last. Returns whether it is; None if it fails in a way that may pass."""
        call = self._last_answered
        assert call
        tokens = self._estimate(call)
        await self.limiter.acquire(tokens)
        try:
            reserved = await self._budget.reserve(self._prices.worst(call.request))
            reply = await self._exchange(call, reserved, tokens)
        except CallFailed as error:
            return None if error.retryable else False
        finally:
            self._troubles.pop(call.key, None)
            self.limiter.release()
        message = "asked again, to learn whether the provider refuses every call"
        self._counters.failed_attempt("probe", message, reply.usage, reply.cost)
        self._ledger.note_failure(FailedAttempt(call.key, "probe", None, message, reply.cost))
        return True

    def _down(self, items: int) -> ProviderUnusable:
        return ProviderUnusable(
            f"calls about {items} items in a row failed for good, the last one with: {self._last_error}",
            hint="The provider is down or rejects such requests. Fix that and run again with --retry-failed.",
        )


def refusal_error(error: CallFailed, meant: str = "") -> ProviderUnusable:
    """The error that ends a run when no further call can succeed. meant: another model's name that may have been meant, in words."""
    meant = meant if error.kind == "not_found" else ""
    return ProviderUnusable(f"the provider refuses every call: {error.message}{meant}", hint=_HINTS[error.kind])


_HINTS = {
    "key": "Check that the variable with the key is set, the key itself, and whether it may use this model. Nothing more was sent; run again to continue.",
    "billing": "The account has no money or quota left. Nothing more was sent; run again to continue.",
    "not_found": "Check the model's name and base_url. Nothing more was sent; run again to continue.",
}


def failure_reply(error: CallFailed) -> Reply:
    """The reply to keep for a call that was given up."""
    status = f"{error.status} " if error.status else ""
    return Reply(
        status="exhausted" if error.retryable else "rejected",
        reason=f"{status}{error.kind}: {error.message}",
        created_at=time.time(),
    )


def reply_of(answer: Answer, usage: Usage, cost: float | None, latency: float) -> Reply:
    """The reply to keep for an answer. usage: as `token_estimates.reported` returns it."""
    return Reply(
        status="answered",
        text=answer.text,
        finish=answer.finish,
        top_logprobs=answer.top_logprobs,
        model=answer.model,
        usage=usage,
        cost=cost,
        latency=latency,
        created_at=time.time(),
    )


def _may_be_billed(error: CallFailed) -> bool:
    """Whether the provider may have answered, and billed, although nothing reached us."""
    return error.kind in ("timeout", "broken") or (error.kind == "connection" and error.sent)


def _wait_alone(error: CallFailed, congestions: int) -> float:
    """Seconds before the next attempt of a call that was refused, with so many refusals in a row, while others are not."""
    asked = max(error.retry_after, _SHORTEST_WAIT_ALONE) if error.retry_after else 0.0
    if asked and congestions <= _TRUSTED:
        return asked
    return max(asked, backoff(congestions - _TRUSTED if asked else congestions, _LONGEST_WAIT_ALONE))
