"""One endpoint of a fleet: a provider with its own limits, and whether it is in use.

An endpoint that fails is taken *out* for a pause, then probed by a single call. Each failed probe lengthens the pause; the first answer
brings the endpoint back *in*. A 429 does not take it out: it cools down, as a single provider does under the engine's limiter.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from dprm_data.providers.limits import Limiter, LocalRateLimit, Permit
from dprm_data.providers.provider import Provider
from dprm_data.providers.request import Answer, CallFailed, FailureKind, Request

MOST_AT_ONCE = 10_000  # if the recipe sets no concurrency
CONGESTION: frozenset[FailureKind] = frozenset({"rate_limit", "overloaded"})
_DOUBTFUL = 3  # failures in a row that could each be the call's fault, before the endpoint is blamed

# The first and the longest pause, in seconds. A dead key is rarely renewed during a run; a starting server soon has loaded its model.
_PAUSES: dict[FailureKind, tuple[float, float]] = {
    "key": (60.0, 600.0),
    "billing": (60.0, 600.0),
    "not_found": (5.0, 60.0),
}
_PAUSE = (1.0, 60.0)


@dataclass(slots=True)
class Standing:
    """The state of an endpoint, for the live view and `--json`. out: why it takes no calls now, if so; back_at: until when (seconds of
    `time.monotonic`); failed: attempts by kind of failure."""

    name: str
    answered: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    out: str = ""
    back_at: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {"answered": self.answered, "failed": dict(self.failed), "out": self.out or None}


class _SeenPace(LocalRateLimit):
    """A pace that says when it will have the next turn."""

    def __init__(self, rpm: float | None, tpm: float | None) -> None:
        super().__init__(rpm, tpm)
        self.free_at = 0.0

    async def turn(self, tokens: float) -> Permit:
        turn = await super().turn(tokens)
        self.free_at = turn.at  # who comes next, comes after this one
        return turn


class Endpoint:
    """Calls one provider. place: its permanent identity, by which items are assigned to it; name: what messages call it, without secrets."""

    def __init__(
        self,
        provider: Provider,
        *,
        place: str,
        name: str,
        weight: float = 1.0,
        concurrency: int | None = None,
        rpm: float | None = None,
        tpm: float | None = None,
    ) -> None:
        self.place = place
        self.weight = weight
        self.concurrency = concurrency or MOST_AT_ONCE
        self.standing = Standing(name)
        self.failure: CallFailed | None = None  # why it is out, if it is
        self._provider = provider
        self._pace = _SeenPace(rpm, tpm)
        self._limiter = Limiter(concurrency=self.concurrency, rate_limit=self._pace)
        self._taken = 0  # calls that were given to it and have not ended
        self._probing = False
        self._pause = 0.0
        self._out_until = 0.0
        self._in_a_row = 0  # doubtful failures since the last answer

    # -- whether it can be asked ----------------------------------------------------------------------------------------

    @property
    def out(self) -> bool:
        return self.failure is not None

    @property
    def unavailable(self) -> float:
        """Seconds for which it is out or cooling; 0 where it is only busy."""
        if self._probing:
            return 0.0  # what comes of the probe is known soon
        return max(0.0, self._out_until - time.monotonic(), self._limiter.cooling)

    def wait(self) -> float:
        """Seconds until it may take one more call; infinite if another call must end first."""
        now, room_at = time.monotonic(), self._limiter.room_at(self._taken)
        if self._probing if self.out else room_at == math.inf:
            return math.inf
        return max(0.0, self._out_until - now, self._limiter.cooling, self._pace.free_at - now, room_at - now)

    def take(self) -> None:
        """It is given a call. `ask` must follow, which ends it, or `leave`."""
        self._taken += 1
        self._probing = self._probing or self.out

    def leave(self, *, probe: bool = False) -> None:
        """A call has ended, or is not sent there after all."""
        self._taken -= 1
        self._probing = self._probing and not (probe or not self._taken)

    # -- asking ---------------------------------------------------------------------------------------------------------

    async def ask(self, request: Request, tokens: float) -> Answer:
        """Send the request once. Raises `CallFailed`. tokens: about what it will use."""
        probe = self._probing
        try:
            await self._limiter.acquire(tokens)
            sent = time.monotonic()
            try:
                answer = await self._provider.complete(request)
            except CallFailed as error:
                self._note(error, sent)
                raise
            finally:
                self._limiter.release()
        finally:
            self.leave(probe=probe)
        self._limiter.succeeded(tokens, answer.usage.billed)
        self._limiter.obey(answer.headers)
        self.standing.answered += 1
        self._in_a_row = 0
        return answer

    def _note(self, error: CallFailed, sent: float) -> None:
        self.standing.failed[error.kind] += 1
        if error.kind in CONGESTION:
            self._limiter.congested(sent, error.retry_after)
        self._limiter.obey(error.headers)
        self._in_a_row += error.kind not in CONGESTION and error.retryable

    @property
    def counts_tokens(self) -> bool:
        return self._limiter.counts_tokens

    @property
    def doubtful(self) -> bool:
        """Whether enough calls failed in a row to blame the endpoint and not the calls."""
        return self._in_a_row >= _DOUBTFUL

    # -- out and in -----------------------------------------------------------------------------------------------------

    def take_out(self, error: CallFailed) -> bool:
        """Nothing is sent there for a pause. Returns whether that is news."""
        news, now = not self.out, time.monotonic()
        if not news and now < self._out_until:
            return False  # it was in flight when the endpoint was taken out
        first, longest = _PAUSES.get(error.kind, _PAUSE)
        self._pause = min(longest, max(first, 2 * self._pause))
        self._out_until = now + self._pause
        self.failure = error
        self.standing.out, self.standing.back_at = reason(error), self._out_until
        return news

    def bring_in(self) -> bool:
        """It has answered. Returns whether that is news."""
        news = self.out
        self.failure = None
        self.standing.out = ""
        self._pause = self._out_until = 0.0
        return news

    async def aclose(self) -> None:
        await self._provider.aclose()


def reason(error: CallFailed) -> str:
    """Why a call failed, in a few words."""
    return f"{error.status} {error.message}" if error.status else error.message
