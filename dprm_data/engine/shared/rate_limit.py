"""The rate limit of several workers: in no window of 60 seconds do they together send more requests than the limit.

The bucket is a row in the database: the time at which all units allotted so far are used up (generic cell rate algorithm, as
`limits.TokenBucket`), so units are 1/r seconds apart, whichever worker gets them. A worker takes a quarter of a second's worth of its share
at a time. A unit may be used from its time on and expires a second later: a unit that was not used is lost, rather than sent in a later
burst. So what is sent within 60 s has its time within 61 s: with r = limit/61 that is at most the limit. Tokens are allotted in the same
way; a call uses up many units at once, and may be sent at the time of the last.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dprm_data.ledger.postgres_pool import RetryingPool
from dprm_data.providers.limits import CAUTION, Permit

if TYPE_CHECKING:
    from dprm_data.ledger.postgres_pool import Connection

VALID = 1.0  # seconds for which a unit may be used
_BATCH = 0.25  # seconds' worth of units taken at a time, by all workers together

# now: seconds since 1970, by default the database's clock. Returns the seconds from now until the first of the units.
_TAKE = """
INSERT INTO paces (scope, full_at)
VALUES (%(scope)s, COALESCE(%(now)s, extract(epoch FROM clock_timestamp())::float8) - %(burst)s + %(long)s)
ON CONFLICT (scope) DO UPDATE
SET full_at = GREATEST(paces.full_at, COALESCE(%(now)s, extract(epoch FROM clock_timestamp())::float8) - %(burst)s) + %(long)s
RETURNING full_at - %(long)s - COALESCE(%(now)s, extract(epoch FROM clock_timestamp())::float8)
"""


class SharedBucket:
    """Units that all workers may use per minute, under one name.

    workers: returns the present number of workers.
    """

    def __init__(self, pool: RetryingPool, name: str, per_minute: float, workers: Callable[[], int]) -> None:
        self._pool = pool
        self._name = name
        self._workers = workers
        self.rate = (math.floor(per_minute) or per_minute) * CAUTION / (60 + VALID)  # per second
        self._burst = max(VALID / 2, 1 / self.rate)  # seconds: how far back after a pause the first unit's time may be
        self._left = 0.0  # units in hand
        self._at = 0.0  # from when the next of them may be used (time.monotonic), and until when
        self._until = 0.0
        self._taking = asyncio.Lock()

    async def take(self, amount: float) -> float:
        """Wait until `amount` may be used. Returns when that permission expires (`time.monotonic`)."""
        async with self._taking:
            ready = self._from_hand(amount)
            while ready is None:
                missing = amount - self._left
                taken, at, spread = await self._more(max(missing, self.rate * _BATCH / max(1, self._workers()), 1.0))
                if self._left:  # what is left becomes the first part of what was taken
                    at -= self._left / self.rate
                    taken += self._left
                self._left, self._at, self._until = taken, at, at - spread + VALID
                ready = self._from_hand(amount, fresh=True)
            at, until = ready
            try:
                while (wait := at - time.monotonic()) > 0:  # noqa: ASYNC110 - a sleep may end early
                    await asyncio.sleep(wait)
            except asyncio.CancelledError:
                self._advance(-amount)  # not used: take it back
                raise
            return until

    def _from_hand(self, amount: float, *, fresh: bool = False) -> tuple[float, float] | None:
        """From when and until when this much of what is left may be used; None if it is not enough."""
        void = 0.0 if fresh else min(self._left, max(0.0, (time.monotonic() - self._until) * self.rate))
        self._advance(void)
        if self._left < amount:
            return None
        self._advance(amount)
        return self._at, self._until

    def _advance(self, amount: float) -> None:
        self._left -= amount
        self._at += amount / self.rate
        self._until += amount / self.rate

    async def _more(self, amount: float) -> tuple[float, float, float]:
        """Take units from the row. Returns their number, the latest time from which the first may be used, and by how much that may be too late."""
        before = time.monotonic()
        wait = await asyncio.to_thread(self._pool.run, lambda db: self.taken(db, amount))
        after = time.monotonic()
        return amount, after + wait, after - before

    def taken(self, db: Connection, amount: float, now: float | None = None) -> float:
        """Take units from the row. Returns the seconds until the first of them may be used (negative: in the past)."""
        values = {"scope": self._name, "now": now, "burst": self._burst, "long": amount / self.rate}
        row: Any = db.execute(_TAKE, values).fetchone()
        return float(row[0])


class SharedRateLimit:
    """Requests and tokens per minute of all workers in one scope (`limits.RateLimit`)."""

    def __init__(
        self, pool: RetryingPool, scope: str, *, rpm: float | None, tpm: float | None, workers: Callable[[], int]
    ) -> None:
        self._requests = SharedBucket(pool, f"{scope} requests", rpm, workers) if rpm else None
        self._tokens = SharedBucket(pool, f"{scope} tokens", tpm, workers) if tpm else None
        self._credit = 0.0  # tokens taken and not used
        self.counts_tokens = tpm is not None

    async def turn(self, tokens: float) -> Permit:
        if self._tokens:
            amount = max(0.0, tokens - self._credit)
            self._credit -= tokens - amount
            try:
                await self._tokens.take(amount)
            except asyncio.CancelledError:
                self._credit += tokens - amount
                raise
        try:
            until = await self._requests.take(1.0) if self._requests else math.inf
        except asyncio.CancelledError:
            self.correct(tokens)
            raise
        return Permit(time.monotonic(), until)

    def correct(self, tokens: float) -> None:
        """Correct an estimate: if it was too high, the next call takes less, by up to one batch; if too low, it takes more."""
        if self._tokens:
            self._credit = min(self._credit + tokens, self._tokens.rate * _BATCH)
