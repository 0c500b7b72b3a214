"""Evidence: who is to blame for failures, a call itself or the provider.

A status that others do not meet is that call's own failure, whatever it says: a gateway answers one prompt with 403, a proxy one with 404.
A status that everybody meets is the provider's. So a refusal (a dead key, an empty account, an unknown model) is judged when it is known what
became of the others:

    a call that was sent after it is answered   it is the call's own failure
    nothing more is under way                   what was answered last in this run is asked once more (it may cost that call again): if it is
                                                answered, too, then it is the call's own failure; if not, or if nobody was answered, the
                                                provider refuses every call

While refusals are a share of the calls in flight, nothing new is sent. The same where calls about many items in a row have failed for good.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

_SHARE = 0.2  # of the calls in flight
_FEWEST = 3  # items whose refusals are a share, however few calls are in flight
_DOWN_AFTER = 20  # items in a row whose calls were given up, without an answer in between
_LOOK_AGAIN = 0.1  # seconds


class Evidence:
    """What the outcomes so far say. Times are seconds of `time.monotonic`. at_provider: returns the number of calls in flight; ask_again:
    asks what was answered last, and returns whether it is answered (None: not to be known now)."""

    def __init__(self, at_provider: Callable[[], int], ask_again: Callable[[], Awaitable[bool | None]]) -> None:
        self._at_provider = at_provider
        self._ask_again = ask_again
        self._asking = False
        self.answered_at = 0.0  # when the last answer came
        self.accepted_at = 0.0  # when the latest of the answered calls was sent
        self._refused: list[str] = []  # the items of refused calls that are not judged yet
        self._given_up: set[str] = set()  # items with calls given up since the last answer
        self._refuses = False  # the verdict on all refused calls
        self._news = asyncio.Event()

    def answered(self, sent: float, now: float) -> None:
        self.answered_at = now
        self.accepted_at = max(self.accepted_at, sent)
        self._given_up.clear()
        self._news.set()

    def gave_up(self, item: str) -> None:
        """A call about this item has failed for good."""
        self._given_up.add(item)

    def holds(self, in_flight: int) -> bool:
        """Whether nothing more is sent for now, while so many calls are in flight: it may well be the provider that fails."""
        return self._is_down or self._items >= max(_FEWEST, _SHARE * in_flight)

    @property
    def _items(self) -> int:
        return len(set(self._refused))

    @property
    def _is_down(self) -> bool:
        return len(self._given_up) >= _DOWN_AFTER

    async def known(self) -> int:
        """Wait until a call may be sent. Returns how many items in a row were given up if it is the provider that fails, else 0."""
        while self.holds(self._at_provider()):
            if self._is_down and not self._at_provider():
                return len(self._given_up)
            await self._more()
        return 0

    async def is_everybodys(self, item: str, refused: float, alone: Callable[[int], bool]) -> bool:
        """Wait until it is known whether the refusal of a call about this item, at that time, is every call's. alone: returns whether there
        are no calls under way but so many."""
        self._refused.append(item)
        try:
            while self.accepted_at <= refused and not self._refuses:
                ended = self._is_all_that_is_known(alone)
                await self._more()  # between two calls, nothing is under way for a moment
                if ended and self.accepted_at <= refused and self._is_all_that_is_known(alone) and not self._asking:
                    self._refuses = not self.answered_at or await self._refuses_all()
            return self._refuses
        finally:
            self._refused.remove(item)
            self._news.set()

    async def _refuses_all(self) -> bool:
        self._asking = True
        try:
            return await self._ask_again() is False
        finally:
            self._asking = False

    def _is_all_that_is_known(self, alone: Callable[[int], bool]) -> bool:
        return not self._at_provider() and (self.holds(0) or alone(len(self._refused)))

    async def _more(self) -> None:
        self._news.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), _LOOK_AGAIN)
