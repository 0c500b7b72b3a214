"""A run inside a loop that is somebody else's: its calls are made there, all other work in a thread.

`in_callers_loop` lends the loop; `run_in_loop` and `interruptible` (event_loop.py) find it in the context of the thread. Interrupts
come from whoever waits (a cancelled task, a thread with Ctrl-C), because no signal is ours in such a loop.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from dprm_data.core.errors import Interrupted

Result = TypeVar("Result")

_LOOK_EVERY = 1.0  # seconds between two looks whether the loop is still there


class Waiter:
    """Who waits outside the loop in which calls are made, and may interrupt them. loop: one that is lent, None if they have one of their own."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self.loop = loop
        self.interrupts = 0
        self._handler: Callable[[], object] | None = None

    def interrupt(self) -> None:
        """Interrupt the calls, as Ctrl-C does: at the first time those in flight finish, at the second they are left. From any thread."""
        self.interrupts += 1
        if handler := self._handler:
            handler()

    def check(self, most: int = 0) -> None:
        """Raise `Interrupted` after more than `most` interrupts, where no call is in flight: it ends at once, without tables of what there is."""
        if self.interrupts > most:
            stopped = Interrupted("stopped", hint="Run again to continue; nothing is paid for twice.")
            stopped.at_once = True
            raise stopped

    @contextmanager
    def heard_by(self, handler: Callable[[], None]) -> Iterator[None]:
        """Call the handler in the running loop at every interrupt, also at one that came before."""
        loop = asyncio.get_running_loop()
        self._handler = lambda: loop.call_soon_threadsafe(handler)
        if self.interrupts:
            self._handler()
        try:
            yield
        finally:
            self._handler = None

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine in the lent loop to completion, from another thread. Raises `Interrupted` after an interrupt, or if that loop is closed."""
        assert self.loop
        if self.interrupts:
            work.close()
            self.check()
        future = asyncio.run_coroutine_threadsafe(work, self.loop)
        while True:
            done, _ = concurrent.futures.wait([future], _LOOK_EVERY)
            if done:
                return future.result()
            if self.loop.is_closed():
                raise Interrupted("stopped: the event loop was closed", hint="Run again to continue.")


_WAITER: contextvars.ContextVar[Waiter | None] = contextvars.ContextVar("waiter", default=None)


def present_waiter() -> Waiter | None:
    """Who waits for the calls of this context; None where they have the process to themselves."""
    return _WAITER.get()


def context_of(waiter: Waiter) -> contextvars.Context:
    """A copy of this context in which `present_waiter` finds the waiter."""
    context = contextvars.copy_context()
    context.run(_WAITER.set, waiter)
    return context


async def in_callers_loop(work: Callable[[Waiter], Result]) -> Result:
    """Run blocking work in a thread of its own, and what it passes to `run_in_loop` in this loop.

    A cancellation of the task interrupts the work, a second one at once; either way it ends first. Then raises `CancelledError`.
    """
    loop = asyncio.get_running_loop()
    waiter = Waiter(loop)
    # Not the loop's own executor: providers need its threads while this one waits.
    executor = ThreadPoolExecutor(1, thread_name_prefix="dprm-run")
    future = loop.run_in_executor(executor, context_of(waiter).run, work, waiter)
    executor.shutdown(wait=False)
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError:
            waiter.interrupt()
    try:
        result = future.result()
    except (Interrupted, concurrent.futures.CancelledError, asyncio.CancelledError):
        if not waiter.interrupts:
            raise
        raise asyncio.CancelledError from None
    if waiter.interrupts:
        raise asyncio.CancelledError
    return result
