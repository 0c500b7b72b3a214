"""Limits: never faster than allowed, one cooldown for everyone, and a window that adapts."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.virtual_time import virtual_run
from dprm_data.core.ledger_address import LedgerAddress
from dprm_data.engine.budget import Budget
from dprm_data.engine.cancellation import Cancellation
from dprm_data.engine.client import RetryingClient
from dprm_data.engine.coordinator import LeaseLost
from dprm_data.engine.counters import Counters
from dprm_data.ledger.call import Call
from dprm_data.ledger.ledger import Ledger
from dprm_data.providers.function_provider import FunctionProvider
from dprm_data.providers.limits import Limiter, TokenBucket
from dprm_data.providers.rate_headers import seconds_until
from dprm_data.providers.request import Answer, Request
from dprm_data.recipe.recipe import LimitsConfig
from tests.engine.helpers import FREE, label


@given(
    per_minute=st.integers(1, 3000),
    pauses=st.lists(st.floats(0, 30), min_size=0, max_size=30),
    amounts=st.lists(st.integers(1, 3), min_size=1, max_size=5),
)
@settings(max_examples=150, deadline=None)
def test_no_minute_sees_more_than_the_limit(per_minute: int, pauses: list[float], amounts: list[int]) -> None:
    """Greedy callers with pauses between them; every window of 60 s is looked at, wherever it begins."""
    bucket, now = TokenBucket(per_minute, 0.0), 0.0
    taken: list[tuple[float, int]] = []
    for turn in range(600):
        amount = min(amounts[turn % len(amounts)], per_minute)
        now = bucket.reserve(amount, now)
        taken.append((now, amount))
        if pauses and turn % 20 == 0:
            now += pauses[turn // 20 % len(pauses)]
    start = total = 0
    for at, amount in taken:
        total += amount
        while taken[start][0] <= at - 60:
            total -= taken[start][1]
            start += 1
        # An amount larger than the burst is granted as a whole when its last unit may go.
        assert total <= per_minute + max(amounts) - 1


@pytest.mark.parametrize("per_minute", [1, 2, 10, 60, 600, 30_000])
def test_the_limit_is_used(per_minute: int) -> None:
    bucket, now, count = TokenBucket(per_minute, 0.0), 0.0, 0
    while now < 600:
        now = bucket.reserve(1, now)
        count += 1
    assert count >= 10 * per_minute * 0.97


def test_what_is_given_back_may_be_used_again() -> None:
    bucket, other = TokenBucket(60, 0.0), TokenBucket(60, 0.0)
    bucket.reserve(30, 0.0)
    bucket.give_back(20)
    other.reserve(10, 0.0)
    assert bucket.reserve(1, 0.0) == pytest.approx(other.reserve(1, 0.0))
    bucket.give_back(-5)  # it was more than was reserved
    other.reserve(5, 0.0)
    assert bucket.reserve(1, 0.0) == pytest.approx(other.reserve(1, 0.0))


def test_the_tokens_of_a_call_that_is_not_sent_are_given_back() -> None:
    """A minute's worth of tokens is reserved by a call that is cancelled: the next one does not wait for that minute."""

    async def go() -> None:
        limiter = Limiter(concurrency=8, tpm=6000)
        cancelled = asyncio.create_task(limiter.acquire(6000))
        await asyncio.sleep(0.01)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        await asyncio.wait_for(limiter.acquire(50), 5)
        limiter.release()

    asyncio.run(go())


class _LostLease:
    good = False

    async def confirm(self) -> None:
        raise LeaseLost


def test_the_tokens_of_a_call_about_a_lost_item_are_given_back(tmp_path: Path) -> None:
    async def complete(request: Request) -> Answer:
        return label()

    async def go() -> None:
        message = {"role": "user", "content": "x" * 800}
        long = Call.of("openai", Request("m", (message,), {"max_tokens": 5}), 0)  # type: ignore[arg-type]
        limiter = Limiter(concurrency=8, tpm=6000)
        with Ledger(LedgerAddress.parse(str(tmp_path / "ledger.sqlite"))) as ledger:
            client = RetryingClient(
                provider=FunctionProvider(complete),
                ledger=ledger,
                prices=FREE,
                budget=Budget(None),
                limits=LimitsConfig(),
                limiter=limiter,
                counters=Counters(),
                stop=Cancellation(),
            )
            with pytest.raises(LeaseLost):
                await asyncio.wait_for(client.reply(long, missing=True, lease=_LostLease()), 5)
        begun = time.monotonic()
        await limiter.acquire(100)  # a second's worth
        limiter.release()
        assert time.monotonic() - begun < 0.7

    asyncio.run(go())


def now() -> float:
    return asyncio.get_running_loop().time()


class Server:
    """Calls in flight at a limiter, by hand: each is sent when it can be, and ended by the test."""

    def __init__(self, concurrency: int) -> None:
        self.limiter = Limiter(concurrency=concurrency)
        self.sent: list[float] = []

    async def fill(self, seconds: float = 2.0) -> int:
        """Send as many as may be sent within so long. Returns how many are in flight."""
        end = now() + seconds
        with suppress(TimeoutError):
            while True:
                await asyncio.wait_for(self.limiter.acquire(0), end - now())
                self.sent.append(now())
        return len(self.sent)

    def answer(self, count: int) -> None:
        for _ in range(count):
            self.sent.pop(0)
            self.limiter.succeeded(0, 0)
            self.limiter.release()

    def refuse(self, count: int, retry_after: float | None = None) -> None:
        """The last ones are refused."""
        for _ in range(count):
            self.limiter.congested(self.sent.pop(), retry_after)
            self.limiter.release()


def test_one_refusal_narrows_nothing_and_holds_up_nobody() -> None:
    async def go() -> None:
        server = Server(100)
        assert await server.fill() == 100
        server.refuse(1, retry_after=60.0)
        assert server.limiter.cooling == 0
        assert await server.fill(1.2) == 100, "its place is taken again a moment later"
        server.answer(50)
        server.refuse(5)
        assert await server.fill(1.2) == 100

    virtual_run(go())


def test_the_window_narrows_to_what_is_not_refused_and_stays_there() -> None:
    """A server that holds 100: of 150 calls 50 are refused; later, one now and then."""

    async def go() -> None:
        server, refused, most = Server(150), 0, 0
        for _ in range(40):
            in_flight = await server.fill(2.0)
            most = max(most, in_flight)
            excess = max(0, in_flight - 100)
            server.refuse(excess)
            refused += excess
            assert await server.fill(0.0) >= 90
            server.answer(min(100, len(server.sent)))
        assert most == 150 and refused < 150

    virtual_run(go())


def test_after_a_storm_the_window_returns_fast_to_what_held() -> None:
    async def go() -> None:
        server = Server(64)
        for _ in range(6):  # it holds
            assert await server.fill() == 64
            server.answer(64)
        for _ in range(4):
            await server.fill(2.0)
            server.refuse(len(server.sent))
        found = []
        for _ in range(6):
            found.append(await server.fill(5.0))
            server.answer(found[-1])
        assert found[0] < 32 and found[3] == 64, found

    virtual_run(go())


def test_a_burst_of_429s_is_one_congestion() -> None:
    """Sixty-four calls of one round trip meet a 429 without any advice: the cooldown is the first ones', not the sixty-fourth's."""

    async def go() -> None:
        server = Server(64)
        assert await server.fill() == 64
        server.refuse(64)
        assert 0 < server.limiter.cooling <= 0.5

    virtual_run(go())


def test_one_cooldown_for_everyone() -> None:
    async def go() -> None:
        server = Server(64)
        await server.fill()
        server.refuse(64, retry_after=20.0)
        begun = now()
        assert await server.fill(19.9) == 0
        assert 1 <= await server.fill(0.2) <= 8, "and then not all at once"
        assert await server.fill(3.0) == 32
        assert now() - begun < 24

    virtual_run(go())


def test_where_the_clock_has_to_wait_nobody_looks_all_the_time() -> None:
    """A cooldown of an hour with five hundred calls that wait: one timer, not five hundred."""

    async def go() -> int:
        limiter = Limiter(concurrency=500)
        limiter.cool_down(3600.0)
        waiting = [asyncio.create_task(limiter.acquire(0)) for _ in range(500)]
        await asyncio.sleep(1800)
        timers = len(asyncio.get_running_loop()._scheduled)  # type: ignore[attr-defined]
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert limiter.in_flight == 0
        return timers

    assert virtual_run(go()) <= 2


def test_after_a_cooldown_only_as_many_go_on_as_the_narrowed_window_has_room_for() -> None:
    async def go() -> None:
        server = Server(8)
        assert await server.fill() == 8
        server.refuse(4, retry_after=0.05)
        assert await server.fill() == 4
        server.answer(1)
        assert await server.fill() == 4

    virtual_run(go())


def test_a_cancelled_wait_gives_its_place_back() -> None:
    async def go() -> None:
        limiter = Limiter(concurrency=1)
        await limiter.acquire(0)
        waiting = [asyncio.create_task(limiter.acquire(0)) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        limiter.release()  # the slot is given to the first in line, which is being cancelled in the same moment
        waiting[1].cancel()
        async with asyncio.timeout(5):
            await waiting[2]
        limiter.release()
        assert limiter.in_flight == 0

    asyncio.run(go())


def test_nothing_left_says_the_provider() -> None:
    async def go() -> None:
        limiter = Limiter(concurrency=8)
        limiter.obey({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "150ms"})
        begun = time.monotonic()
        await limiter.acquire(0)
        assert time.monotonic() - begun >= 0.15

    asyncio.run(go())


@pytest.mark.parametrize("name", ["tokens", "requests"])
def test_anthropic_s_headers(name: str) -> None:
    limiter = Limiter(concurrency=8)
    reset = (datetime.now(UTC) + timedelta(seconds=30)).isoformat()
    limiter.obey({f"anthropic-ratelimit-{name}-remaining": "0", f"anthropic-ratelimit-{name}-reset": reset})
    assert 28 < limiter.cooling <= 30


def test_no_more_than_what_is_left_before_the_reset() -> None:
    async def go() -> None:
        limiter = Limiter(concurrency=8)
        limiter.obey({"x-ratelimit-remaining-requests": "3", "x-ratelimit-reset-requests": "0.2"})
        begun = time.monotonic()
        times = []
        for _ in range(6):
            await limiter.acquire(0)
            times.append(time.monotonic() - begun)
            limiter.release()
        assert sum(at < 0.2 for at in times) <= 4  # three, and the one whose answer said so

    asyncio.run(go())


def test_waiting_for_an_allowance_does_not_outlast_newer_word() -> None:
    async def go() -> None:
        limiter = Limiter(concurrency=8)
        await limiter.acquire(0)
        limiter.obey({"x-ratelimit-remaining-requests": "0.5", "x-ratelimit-reset-requests": "60"})
        waiting = asyncio.create_task(limiter.acquire(0))
        await asyncio.sleep(0.01)
        limiter.obey({"x-ratelimit-remaining-requests": "500", "x-ratelimit-reset-requests": "60"})
        async with asyncio.timeout(5):
            await waiting

    asyncio.run(go())


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("12ms", 0.012), ("1m30s", 90), ("6m0s", 360), ("2.5", 2.5), ("1h", 3600), ("", None), ("soon", None)],
)
def test_words_for_a_reset(text: str, seconds: float | None) -> None:
    assert seconds_until(text) == seconds


def test_who_is_cancelled_with_a_slot_in_hand_has_sent_nothing() -> None:
    """Else the provider's word for what is left would be taken for one request more."""

    async def go() -> None:
        limiter = Limiter(concurrency=1)
        await limiter.acquire(0)
        second = asyncio.create_task(limiter.acquire(0))
        await asyncio.sleep(0)
        limiter.release()  # the slot is the second's,
        second.cancel()  # which hears of both at once
        with pytest.raises(asyncio.CancelledError):
            await second
        assert limiter.in_flight == 0
        limiter.obey({"x-ratelimit-remaining-requests": "1", "x-ratelimit-reset-requests": "60s"})
        for _ in range(2):  # what is left, and one that the provider may not have counted
            await asyncio.wait_for(limiter.acquire(0), 10)
            limiter.release()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(limiter.acquire(0), 0.05)

    asyncio.run(go())
