"""An event loop whose clock jumps: where everybody sleeps, it is at once as late as the first one wants to wake up.

So the engine's own policies (limits, attempts, backoff, the agenda) run as they are, hours in seconds. They read the clock as
`time.monotonic` in their modules, which is the loop's clock while `virtual_run` lasts.
"""

from __future__ import annotations

import asyncio
import random
import selectors
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from dprm_data.engine import client, scheduler
from dprm_data.providers import limits

_READERS = (scheduler, limits, client)  # modules that read the clock
_BEGIN = 1000.0  # some of them take 0 for "never"
# Every step of the loop takes so long (seconds), or who is woken a rounding error too early would wait for no time at all, for ever.
_STEP = 1e-7

Result = TypeVar("Result")


class _Jumping(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    """Waits for nothing: what would be a wait moves the clock."""

    now = _BEGIN

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise RuntimeError("everybody waits for somebody else: the simulation would never end")
        self.now += max(timeout, _STEP)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop of its own time, in seconds."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


class _Clock:
    """In place of the module `time`."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.monotonic = loop.time
        self.time = loop.time

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


@contextmanager
def _clocks(loop: VirtualLoop) -> Iterator[None]:
    clock = _Clock(loop)
    for module in _READERS:
        module.time = clock  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for module in _READERS:
            module.time = time  # type: ignore[attr-defined]


def virtual_run(work: Coroutine[Any, Any, Result], seed: int = 0) -> Result:
    """Run a coroutine to its end in virtual time. seed: of the policies' own dice (backoff)."""
    before = random.getstate()
    random.seed(seed)
    loop = VirtualLoop()
    try:
        with _clocks(loop), asyncio.Runner(loop_factory=lambda: loop) as runner:
            return runner.run(work)
    finally:
        random.setstate(before)
