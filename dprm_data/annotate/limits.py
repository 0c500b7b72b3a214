"""Limits: never faster than allowed, and as fast as that.

One `Limiter` stands before all calls of a run. A call waits for four things, in this order:

    the cooldown    one for everyone: set by a 429/529 (`Retry-After` obeyed) or by rate-limit headers that say nothing is left
    a slot          of a window that adapts like TCP: it doubles per round trip until the first 429, then grows by one per round trip and
                    halves at every further 429 (additive increase, multiplicative decrease)
    requests        per minute, by a token bucket
    tokens          per minute, by a token bucket that is corrected when the real number is known

The buckets hold one second's worth and refill so that no window of 60 s, wherever it begins, sees more than the limit.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime

_FIRST_WINDOW = 8
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class TokenBucket:
    """At most `per_minute` units in any 60 seconds (generic cell rate algorithm; amounts are granted at a time, in order).

    With a burst of b units and a refill of r per second, any window of 60 s sees at most b + 60 r; b is one second's worth and r is
    chosen so that the sum is the limit.
    """

    def __init__(self, per_minute: float, now: float) -> None:
        self._burst = max(1.0, per_minute / 60)
        self._rate = max(per_minute - self._burst, per_minute / 60 * 0.5) / 60
        self._full_at = now - self._burst / self._rate  # the time at which the bucket was (or will be) empty of debts

    def reserve(self, amount: float, now: float) -> float:
        """Take `amount`; returns the time from which it may be used."""
        start = max(self._full_at, now - self._burst / self._rate)
        self._full_at = start + amount / self._rate
        return max(now, self._full_at)

    def give_back(self, amount: float) -> None:
        """Return what was taken too much (or, negative, take what was taken too little)."""
        self._full_at -= amount / self._rate


class Limiter:
    """Stands before every call. Times are seconds of `time.monotonic`."""

    def __init__(self, *, concurrency: int, rpm: float | None = None, tpm: float | None = None) -> None:
        now = time.monotonic()
        self._ceiling = concurrency
        self._window = float(min(_FIRST_WINDOW, concurrency))
        self._slow_start = True
        self._requests = TokenBucket(rpm, now) if rpm else None
        self._tokens = TokenBucket(tpm, now) if tpm else None
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._cool_until = 0.0
        self._narrowed_at = 0.0
        self._allowance: tuple[float, float] | None = None  # (requests left, until when), from the provider's headers
        self.in_flight = 0

    # -- a call's way through ------------------------------------------------------------------------------------------

    async def acquire(self, tokens: float) -> float:
        """Wait until a call of about this many tokens may be sent; returns the time of sending. `release` must follow."""
        await self._slot()
        try:
            while True:
                await self._wait_until(self._cool_until)
                await self._wait_until(self._reserved(tokens))
                if self._cool_until <= time.monotonic() and self._take_allowance():
                    return time.monotonic()
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """The call is over, in whichever way."""
        self.in_flight -= 1
        self._wake()

    def succeeded(self, reserved_tokens: float, real_tokens: float) -> None:
        """The call was answered: the window may grow, and the token bucket learns what it really was."""
        if self._tokens:
            self._tokens.give_back(reserved_tokens - real_tokens)
        self._window = min(self._ceiling, self._window + (1.0 if self._slow_start else 1.0 / self._window))
        self._wake()

    def congested(self, sent_at: float, wait: float | None) -> None:
        """The provider said "too fast" (429, 529). Everyone cools down; the window halves, once for all calls of one round trip."""
        now = time.monotonic()
        if wait:
            self.cool_down(wait)
        if sent_at >= self._narrowed_at:
            self._window = max(1.0, self._window / 2)
            self._slow_start = False
            self._narrowed_at = now

    def cool_down(self, seconds: float) -> None:
        """Nobody sends anything for so long."""
        self._cool_until = max(self._cool_until, time.monotonic() + seconds)

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
        """Take the provider's word for what is left: no more requests than that before the reset it names."""
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
            # Calls in flight may not be counted yet in what the provider says is left.
            self._allowance = (max(0.0, left - self.in_flight + 1), time.monotonic() + reset)

    def _take_allowance(self) -> bool:
        if self._allowance is None:
            return True
        left, until = self._allowance
        now = time.monotonic()
        if now >= until:
            self._allowance = None
            return True
        if left >= 1:
            self._allowance = (left - 1, until)
            return True
        self._cool_until = max(self._cool_until, until)
        return False

    # -- waiting -------------------------------------------------------------------------------------------------------

    def _reserved(self, tokens: float) -> float:
        now = time.monotonic()
        requests_at = self._requests.reserve(1, now) if self._requests else now
        tokens_at = self._tokens.reserve(tokens, now) if self._tokens else now
        return max(requests_at, tokens_at)

    async def _slot(self) -> None:
        if self.in_flight < self.window and not self._waiting:
            self.in_flight += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # the slot was given in the same moment
                self.release()
            raise

    def _wake(self) -> None:
        while self._waiting and self.in_flight < self.window:
            turn = self._waiting.popleft()
            if not turn.done():
                self.in_flight += 1
                turn.set_result(None)

    async def _wait_until(self, moment: float) -> None:
        while (left := moment - time.monotonic()) > 0:
            await asyncio.sleep(left)


def _left(headers: Mapping[str, str], what: str) -> tuple[float | None, float | None]:
    """What is left of `what` and the seconds until it is reset, in OpenAI's or Anthropic's words; None where not said."""
    for remaining, reset in (
        (f"x-ratelimit-remaining-{what}", f"x-ratelimit-reset-{what}"),
        (f"anthropic-ratelimit-{what}-remaining", f"anthropic-ratelimit-{what}-reset"),
    ):
        if remaining in headers:
            try:
                return float(headers[remaining]), seconds_until(headers.get(reset, ""))
            except ValueError:
                return None, None
    return None, None


def seconds_until(text: str) -> float | None:
    """Seconds from now: `12ms`, `1m30s`, `2.5` (seconds) or an RFC 3339 time; None where it is none of these."""
    text = text.strip()
    parts = _DURATION.findall(text)
    if parts and "".join(number + unit for number, unit in parts) == text:
        return float(sum(float(number) * _SECONDS[unit] for number, unit in parts))
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return max(0.0, (moment - datetime.now(UTC)).total_seconds()) if moment.tzinfo else None
