"""Assign calls to workers that each cache only the last prefix they read.

A small model on a CPU spends most of its time reading prompts. A call whose prefix the worker has just read costs a quarter of one that
it has not, so calls stay with the worker that knows their prefix, a worker finishes an item before it turns to the next, and it takes
over another worker's item only where that is worth reading it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

GRACE = 0.05  # seconds that a worker waits for more of the same item before it turns to another: the next call is often just being made
WORTH_READING_AGAIN = 5  # calls with one prefix that justify another worker's reading it too


@dataclass(eq=False, slots=True)
class _Waiter:
    hint: str
    turn: asyncio.Future[int]


class PrefixPool:
    """`size` workers, known by number, each used by one caller at a time."""

    def __init__(self, size: int) -> None:
        self._waiting: list[_Waiter] = []
        self._idle = set(range(size))
        self._last: list[str] = [""] * size
        self._graces: dict[int, asyncio.TimerHandle] = {}

    @asynccontextmanager
    async def lease(self, hint: str) -> AsyncIterator[int]:
        """A worker's number, to be used until the block ends. `hint` is the same for calls that share a prefix."""
        waiter = _Waiter(hint, asyncio.get_running_loop().create_future())
        self._waiting.append(waiter)
        self._assign()
        try:
            worker = await waiter.turn
        except asyncio.CancelledError:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            elif not waiter.turn.cancelled():  # it was given a worker in the very moment in which it was cancelled
                self._free(waiter.turn.result())
            raise
        try:
            yield worker
        finally:
            self._free(worker)

    def _free(self, worker: int) -> None:
        self._idle.add(worker)
        if self._last[worker]:
            self._graces[worker] = asyncio.get_running_loop().call_later(GRACE, self._grace_over, worker)
        self._assign()

    def _grace_over(self, worker: int) -> None:
        self._graces.pop(worker, None)
        self._assign()

    def _assign(self) -> None:
        """Gives every idle worker the call that suits it best, if there is one."""
        for worker in sorted(self._idle):  # low numbers first, so that a pool that is hardly used keeps to few workers
            if (waiter := self._best(worker)) is not None:
                self._waiting.remove(waiter)
                self._idle.remove(worker)
                if (grace := self._graces.pop(worker, None)) is not None:
                    grace.cancel()
                self._last[worker] = waiter.hint
                waiter.turn.set_result(worker)

    def _best(self, worker: int) -> _Waiter | None:
        alive = [waiter for waiter in self._waiting if not waiter.turn.done()]
        mine = next((waiter for waiter in alive if waiter.hint and waiter.hint == self._last[worker]), None)
        if mine is not None or worker in self._graces:
            return mine
        taken = {hint for other, hint in enumerate(self._last) if other != worker and hint}
        fresh = next((waiter for waiter in alive if waiter.hint not in taken), None)
        if fresh is not None:
            return fresh
        for hint in dict.fromkeys(waiter.hint for waiter in alive):
            same = [waiter for waiter in alive if waiter.hint == hint]
            if len(same) >= WORTH_READING_AGAIN:
                return same[-1]
        return None
