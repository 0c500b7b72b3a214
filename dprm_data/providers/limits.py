"""Limits: as fast as allowed, and never faster.

All calls of a run pass one `Limiter`. A call waits for four things, in this order:

    a slot          in a window that adapts like TCP's: it doubles per round trip until the first 429, then grows by one per round trip and
                    halves at every further 429 (additive increase, multiplicative decrease)
    the cooldown    common to all calls: set by a 429 or 529 (obeying `Retry-After`) or by rate-limit headers that say nothing is left
    requests        per minute, by a token bucket
    tokens          per minute, by a token bucket that is corrected once the real number is known

The buckets hold one second's worth, and refill so that no window of 60 s exceeds the limit, wherever it begins.
"""

from __future__ import annotations

import asyncio
import math
import random
import re
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

_FIRST_WINDOW = 8
CAUTION = 0.998  # share of the rate to use: clocks and networks are not exact to the millisecond
_LONGEST_BACKOFF = 60.0
_SHORTEST_WAIT = 0.05  # seconds after a 429, whatever the provider says
_TRUSTED = 3  # round trips in a row for which a wait that proves too short is taken at the provider's word
LONGEST_WAIT = 86_400.0  # seconds: a provider that asks for more means "not today", or nothing
_LOOK_AGAIN = 0.05  # seconds
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


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
        self._ceiling = concurrency
        self._window = float(min(_FIRST_WINDOW, concurrency))
        self._slow_start = True
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._cool_until = 0.0
        self._narrowed_at = 0.0
        self._congestions = 0  # round trips in a row with a congestion
        self._allowance: tuple[float, float] | None = None  # (requests left, until when), from the provider's headers
        self.in_flight = 0  # slots taken
        self._sent = 0  # those of them that are at the provider

    # -- a call's path -------------------------------------------------------------------------------------------------

    async def acquire(self, tokens: float) -> float:
        """Wait until a call of about this many tokens may be sent. Returns until when it may (`Permit.until`). `release` must follow."""
        turn: Permit | None = None
        while True:
            await self._slot()
            try:
                await self._wait_until(self._cool_until)
                if turn and turn.until < time.monotonic():
                    self._give_back(tokens)
                    turn = None
                turn = turn or await self._rate_limit.turn(tokens)
                await self._wait_until(turn.at)
                # Meanwhile another call may have met a cooldown, or the window may have narrowed.
                if self._cool_until <= time.monotonic() <= turn.until and self.in_flight <= self.window:
                    wait = self._take_allowance()
                    if not wait:
                        self._sent += 1
                        return turn.until
                    await asyncio.sleep(wait)
            except BaseException:
                if turn:
                    self._give_back(tokens)
                self._leave()
                raise
            self._leave()

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
        """The call was answered: grow the window and correct the token bucket. real_tokens: None if the server does not report them."""
        if real_tokens is not None:
            self._give_back(reserved_tokens - real_tokens)
        self._congestions = 0
        self._window = min(self._ceiling, self._window + (1.0 if self._slow_start else 1.0 / self._window))
        self._wake()

    def congested(self, sent_at: float, retry_after: float | None) -> None:
        """The provider said "too fast" (429, 529) to a call that was sent at that time. All calls cool down, once for all of one round trip,
        and the window halves. retry_after: seconds that the provider asks for; without it (or 0), or if such waits have not helped for
        some round trips in a row, all wait longer with every round trip."""
        if sent_at >= self._narrowed_at:
            self._window = max(1.0, self._window / 2)
            self._slow_start = False
            self._narrowed_at = time.monotonic()
            self._congestions += 1
            if not retry_after or self._congestions > _TRUSTED:
                self.cool_down(_backoff(self._congestions if not retry_after else self._congestions - _TRUSTED))
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

    @property
    def counts_tokens(self) -> bool:
        """Whether there is a limit on tokens."""
        return self._rate_limit.counts_tokens

    @property
    def cooling(self) -> float:
        """Seconds of cooldown left."""
        return max(0.0, self._cool_until - time.monotonic())

    @property
    def window(self) -> int:
        """Calls that may be in flight at present."""
        return int(self._window)

    # -- the provider's headers ----------------------------------------------------------------------------------------

    def obey(self, headers: Mapping[str, str]) -> None:
        """Obey the rate-limit headers: send no more requests before the reset than the provider says are left."""
        for left, reset in (
            _left(headers, "requests"),
            _left(headers, "tokens"),
            _left(headers, "input-tokens"),
            _left(headers, "output-tokens"),
        ):
            if left is not None and left <= 0 and reset:
                self.cool_down(reset)
        left, reset = _left(headers, "requests")
        if left is not None and reset:
            # The provider may not have counted the other calls in flight yet.
            self._allowance = (max(0.0, left - self._sent + 1), time.monotonic() + min(reset, LONGEST_WAIT))

    def _take_allowance(self) -> float:
        """Take one of the requests that are left. Returns 0 if there was one, else the seconds after which to try again."""
        if self._allowance is None:
            return 0.0
        left, until = self._allowance
        now = time.monotonic()
        if now >= until:
            self._allowance = None
        elif left >= 1:
            self._allowance = (left - 1, until)
        elif self._sent:  # their answers will bring newer headers
            return min(_LOOK_AGAIN, until - now)
        else:
            self.cool_down(until - now)
            return until - now
        return 0.0

    # -- waiting -------------------------------------------------------------------------------------------------------

    async def _slot(self) -> None:
        if self.in_flight < self.window and not self._waiting:
            self.in_flight += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # the slot was granted at the same moment
                self._leave()
            raise

    def _wake(self) -> None:
        while self._waiting and self.in_flight < self.window:
            turn = self._waiting.popleft()
            if not turn.done():
                self.in_flight += 1
                turn.set_result(None)

    async def _wait_until(self, moment: float) -> None:
        while (left := moment - time.monotonic()) > 0:  # noqa: ASYNC110 - a sleep may end early
            await asyncio.sleep(left)


def _backoff(congestions: int) -> float:
    """Seconds to wait after this many congested round trips in a row."""
    return min(_LONGEST_BACKOFF, 0.25 * 2.0 ** min(congestions, 12)) * random.uniform(0.5, 1.0)


def _left(headers: Mapping[str, str], unit: str) -> tuple[float | None, float | None]:
    """The amount left of a unit and the seconds until its reset, from OpenAI's or Anthropic's headers; None if they do not say."""
    for remaining, reset in (
        (f"x-ratelimit-remaining-{unit}", f"x-ratelimit-reset-{unit}"),
        (f"anthropic-ratelimit-{unit}-remaining", f"anthropic-ratelimit-{unit}-reset"),
    ):
        if remaining in headers:
            return _finite(headers[remaining]), seconds_until(headers.get(reset, ""))
    return None, None


def _finite(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def seconds_until(text: str) -> float | None:
    """Seconds from now, from `12ms`, `1m30s`, `2.5` (seconds) or an RFC 3339 time; None for anything else."""
    text = text.strip()
    parts = _DURATION.findall(text)
    if parts and "".join(number + unit for number, unit in parts) == text:
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
        return seconds if math.isfinite(seconds) else None
    if (number := _finite(text)) is not None:
        return max(0.0, number)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return max(0.0, (moment - datetime.now(UTC)).total_seconds()) if moment.tzinfo else None
