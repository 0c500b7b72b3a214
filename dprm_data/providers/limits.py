"""Limits: as fast as allowed, and never faster.

All calls of a run pass one `Limiter`. A call waits for five things:

    the cooldown    common to all calls: set when a share of a round trip is refused (obeying `Retry-After`), or by rate-limit headers that say
                    nothing is left
    the opening     at the start and after a cooldown, 8 calls may be sent, and two more for every answer; after a second, twice as many
                    every tenth of a second, however long answers take
    the window      of calls in flight, which narrows when a share of them is refused (`window`)
    the allowance   requests that are left, as the provider's headers say
    the rate        requests and tokens per minute, by token buckets; those of tokens are corrected once the real number is known

A single refusal holds up nobody else: its call waits by itself (`engine.client`), and its place stays empty for a moment.

The buckets hold one second's worth, and refill so that no window of 60 s exceeds the limit, wherever it begins.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import random
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from dprm_data.providers.rate_headers import LONGEST_WAIT, remaining
from dprm_data.providers.window import Window

_FIRST = 8  # calls at once at the start and after a cooldown
_DOUBLES_AFTER, _DOUBLES_IN = 1.0, 0.1  # seconds
CAUTION = 0.998  # share of the rate to use: clocks and networks are not exact to the millisecond
_LONGEST_BACKOFF = 60.0
_SHORTEST_WAIT = 0.05  # seconds after a 429, whatever the provider says
_TRUSTED = 3  # round trips in a row for which a wait that proves too short is taken at the provider's word
_ROUNDING = 1e-6  # a timer may ring that much too early
_REST = (0.5, 1.0)  # seconds for which the place of a refused call stays empty: by default, and at most


class TokenBucket:
    """At most `per_minute` units in any 60 seconds (generic cell rate algorithm; each amount is granted from a time on, in order).

    After a pause, a burst is granted at once and then a unit every 1/r seconds, so any 60 s see at most burst + 60 r - 1 units. The burst is
    one second's worth (at least one unit), and r is chosen to keep the limit.
    """

    def __init__(self, per_minute: float, now: float) -> None:
        self._burst = max(1.0, per_minute / 60)
        self._rate = (per_minute + 1 - self._burst) * CAUTION / 60
        self._full_at = now - self._burst / self._rate  # the time at which the bucket was (or will be) full

    def reserve(self, amount: float, now: float) -> float:
        """Take `amount`. Returns the time from which it may be used."""
        start = max(self._full_at, now - self._burst / self._rate)
        self._full_at = start + amount / self._rate
        return max(now, self._full_at)

    def give_back(self, amount: float) -> None:
        """Return `amount` that was taken in excess; if negative, take that much more."""
        self._full_at -= amount / self._rate


@dataclass(frozen=True, slots=True)
class Permit:
    """When a call may be sent: not before `at`, and not after `until` (seconds of `time.monotonic`)."""

    at: float
    until: float = math.inf


class RateLimit(Protocol):
    """Grants the turns that the limits per minute allow."""

    counts_tokens: bool

    async def turn(self, tokens: float) -> Permit:
        """Wait for a turn for one call of about this many tokens."""

    def correct(self, tokens: float) -> None:
        """Return this many tokens that were taken in excess; if negative, take that many more."""


class LocalRateLimit:
    """The rate limit of one process."""

    def __init__(self, rpm: float | None, tpm: float | None) -> None:
        now = time.monotonic()
        self._requests = TokenBucket(rpm, now) if rpm else None
        self._tokens = TokenBucket(tpm, now) if tpm else None
        self.counts_tokens = tpm is not None

    async def turn(self, tokens: float) -> Permit:
        now = time.monotonic()
        requests_at = self._requests.reserve(1, now) if self._requests else now
        tokens_at = self._tokens.reserve(tokens, now) if self._tokens else now
        return Permit(max(requests_at, tokens_at))

    def correct(self, tokens: float) -> None:
        if self._tokens:
            self._tokens.give_back(tokens)


class Limiter:
    """Holds up every call until it may be sent. Times are seconds of `time.monotonic`.

    rate_limit: replaces rpm and tpm if other processes share these limits; on_cooldown: called with the seconds of every cooldown met here.
    """

    def __init__(
        self,
        *,
        concurrency: int,
        rpm: float | None = None,
        tpm: float | None = None,
        rate_limit: RateLimit | None = None,
        on_cooldown: Callable[[float], None] | None = None,
    ) -> None:
        self._rate_limit = rate_limit or LocalRateLimit(rpm, tpm)
        self._on_cooldown = on_cooldown
        self._window = Window(concurrency)
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.Handle | None = None  # for when the clock may let somebody through
        self._rings_at = 0.0
        self._cool_until = 0.0
        self._flowing_since: float | None = None  # since when calls wait, at the start or after a cooldown
        self._granted = self._answers = 0  # places and answers since the start or the last cooldown
        self._congestions = 0  # round trips in a row with a congestion
        self._resting: list[float] = []  # until when places stay empty whose calls were refused (a heap)
        self._allowance = Allowance()
        self.in_flight = 0  # places taken
        self._sent = 0  # those of them that are at the provider

    # -- a call's path -------------------------------------------------------------------------------------------------

    async def acquire(self, tokens: float) -> float:
        """Wait until a call of about this many tokens may be sent. Returns until when it may (`Permit.until`). `release` must follow."""
        turn: Permit | None = None
        while True:
            await self._place()
            try:
                if turn and turn.until < time.monotonic():
                    self._give_back(tokens)
                    turn = None
                turn = turn or await self._rate_limit.turn(tokens)
                await _wait_until(turn.at)
                if self._may_send(turn):
                    return turn.until
            except BaseException:
                if turn:
                    self._give_back(tokens)
                self._leave()
                raise
            self._leave()

    def _may_send(self, turn: Permit) -> bool:
        """Send the call that has its turn, unless another has met a cooldown meanwhile, or the window has narrowed."""
        now = time.monotonic()
        if not self._cool_until <= now <= turn.until or self.in_flight + len(self._resting) > self._window.size:
            return False
        if not self._allowance.take(now):
            return False
        self._sent += 1
        self._window.entered(self._sent)
        return True

    def release(self, unused_tokens: float = 0.0) -> None:
        """The call is over, whatever its result. unused_tokens: the tokens acquired, if it was not sent."""
        self._sent -= 1
        self._give_back(unused_tokens)
        self._leave()

    def _give_back(self, tokens: float) -> None:
        if tokens and self._rate_limit.counts_tokens:
            self._rate_limit.correct(tokens)

    def _leave(self) -> None:
        self.in_flight -= 1
        self._wake()

    def succeeded(self, reserved_tokens: float, real_tokens: float | None) -> None:
        """The call was answered. real_tokens: None if the server does not report them."""
        if real_tokens is not None:
            self._give_back(reserved_tokens - real_tokens)
        self._congestions = 0
        self._answers += 1
        self._window.answered()
        self._wake()

    def congested(self, sent: float, retry_after: float | None) -> None:
        """The provider said "too fast" (429, 529) to a call that was sent at that time. All calls cool down where it said so to a share of
        a round trip. retry_after: seconds that the provider asks for; without it (or 0), or if such waits have not helped for some round
        trips in a row, all wait longer with every round trip."""
        now = time.monotonic()
        if self._window.refused(sent, max(0, self._sent - 1), now):
            self._congestions += 1
            if not retry_after or self._congestions > _TRUSTED:
                self.cool_down(backoff(self._congestions if not retry_after else self._congestions - _TRUSTED))
        elif not self._window.is_congested(sent):
            default, longest = _REST
            heapq.heappush(self._resting, now + min(retry_after or default, longest))
            return
        if retry_after:
            self.cool_down(max(retry_after, _SHORTEST_WAIT))

    def cool_down(self, seconds: float) -> None:
        """Hold up all calls for this long, and report it to `on_cooldown`."""
        self.join_cooldown(seconds)
        if self._on_cooldown:
            self._on_cooldown(seconds)

    def join_cooldown(self, seconds: float) -> None:
        """Hold up all calls for this long: another process met a cooldown."""
        self._cool_until = max(self._cool_until, time.monotonic() + min(seconds, LONGEST_WAIT))
        if self._cool_until > (self._flowing_since or 0.0):
            self._flowing_since, self._granted, self._answers = None, 0, 0

    def obey(self, headers: Mapping[str, str]) -> None:
        """Obey the rate-limit headers: send no more requests before the reset than the provider says are left."""
        for unit in ("requests", "tokens", "input-tokens", "output-tokens"):
            left, reset = remaining(headers, unit)
            if left is None or not reset:
                continue
            if left <= 0:
                self.cool_down(reset)
            if unit == "requests":
                # The provider may not have counted the other calls in flight yet.
                self._allowance.learn(left, max(0.0, left - self._sent + 1), reset, time.monotonic())
        self._wake()

    @property
    def counts_tokens(self) -> bool:
        """Whether there is a limit on tokens."""
        return self._rate_limit.counts_tokens

    @property
    def cooling(self) -> float:
        """Seconds of cooldown left."""
        return max(0.0, self._cool_until - time.monotonic())

    @property
    def at_provider(self) -> int:
        """Calls that were sent and have not ended."""
        return self._sent

    @property
    def window(self) -> int:
        """Calls that may be in flight at present."""
        return int(min(self._window.size, self.in_flight + max(0.0, self._opening(time.monotonic()) - self._granted)))

    def room_at(self, count: int) -> float:
        """When one call more than `count` may be in flight, as far as only the clock decides it; infinite if other calls must end first."""
        if count + 1 > self._window.size:
            return math.inf
        wanted, open_now = self._granted + 1 + count - self.in_flight, self._open_at_once
        if wanted <= open_now:
            return self._cool_until
        return self._begin(time.monotonic()) + _DOUBLES_AFTER + _DOUBLES_IN * math.log2(wanted / open_now)

    def _begin(self, now: float) -> float:
        """Somebody has to wait: from now on the opening grows by the clock, too. Returns since when it does."""
        if self._flowing_since is None:
            self._flowing_since = max(now, self._cool_until)
        return self._flowing_since

    # -- waiting -------------------------------------------------------------------------------------------------------

    @property
    def _open_at_once(self) -> int:
        """Calls that may be sent since the start or the last cooldown, whatever the clock says."""
        return _FIRST + 2 * self._answers

    def _opening(self, now: float) -> float:
        flowing = now - self._flowing_since if self._flowing_since is not None else 0.0
        doublings = min(30.0, max(0.0, flowing - _DOUBLES_AFTER) / _DOUBLES_IN)
        return float(self._open_at_once * 2**doublings) + _ROUNDING

    def _room(self, now: float) -> float:
        """Places that may be taken now."""
        while self._resting and self._resting[0] <= now:
            heapq.heappop(self._resting)
        if now < self._cool_until:
            return 0.0
        return min(
            self._window.size - self.in_flight - len(self._resting),
            self._opening(now) - self._granted,
            self._allowance.left(now, self._sent) - (self.in_flight - self._sent),
        )

    def _look_again_at(self, now: float) -> float:
        """When the clock may have let somebody through."""
        if now < self._cool_until:
            return self._cool_until
        moments = [self.room_at(self.in_flight), self._allowance.until, *self._resting[:1]]
        return min((moment for moment in moments if moment > now), default=math.inf)

    async def _place(self) -> None:
        now = time.monotonic()
        if not self._waiting and self._room(now) >= 1:
            self._grant()
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._begin(now)
        self._wake()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # the place was granted at the same moment
                self._leave()
            raise

    def _grant(self) -> None:
        self.in_flight += 1
        self._granted += 1

    def _wake(self) -> None:
        if not self._waiting:
            return
        now = time.monotonic()
        room = self._room(now)
        while self._waiting and room >= 1:
            turn = self._waiting.popleft()
            if not turn.done():
                self._grant()
                room -= 1
                turn.set_result(None)
        if self._waiting and (moment := self._look_again_at(now)) < math.inf:
            self._wake_at(moment, now)

    def _wake_at(self, moment: float, now: float) -> None:
        if self._timer:
            if self._rings_at <= moment:
                return
            self._timer.cancel()
        self._rings_at = moment
        self._timer = asyncio.get_running_loop().call_later(moment - now, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._wake()


class Allowance:
    """Requests that the provider says are left before its next reset."""

    def __init__(self) -> None:
        self._left = math.inf
        self.until = math.inf  # of the reset
        self._fresh: tuple[float, float] | None = None  # the most that was left since the last reset, and for how long

    def learn(self, left: float, usable: float, reset: float, now: float) -> None:
        """A reply says so. usable: how many of them may be sent."""
        reset = min(reset, LONGEST_WAIT)
        if not self._fresh or left > self._fresh[0]:
            self._fresh = left, reset
        self._left, self.until = usable, now + reset

    def left(self, now: float, sent: int) -> float:
        """How many requests may be sent now. After a reset: as many as were left after the last one, until the first reply says more.
        sent: requests under way, whose replies will."""
        if now >= self.until:
            fresh, self._fresh = self._fresh, None
            self._left, self.until = (fresh[0], now + fresh[1]) if fresh else (math.inf, math.inf)
            self._left = max(1.0, self._left - sent)
        return self._left

    def take(self, now: float) -> bool:
        """Take one, if there is one."""
        if self._left < 1 and now < self.until:
            return False
        self._left -= 1
        return True


async def _wait_until(moment: float) -> None:
    while (left := moment - time.monotonic()) > 0:  # noqa: ASYNC110 - a sleep may end early
        await asyncio.sleep(left)


def backoff(failures: int, longest: float = _LONGEST_BACKOFF) -> float:
    """Seconds to wait after this many failures in a row."""
    return min(longest, 0.25 * 2.0 ** min(failures, 12)) * random.uniform(0.5, 1.0)
