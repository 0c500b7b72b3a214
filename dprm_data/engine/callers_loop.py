"""A run inside the caller's event loop: its calls are made there, all other work in a thread.

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

_LOOK_EVERY = 1.0  # seconds between checks that the loop is still running


class Waiter:
    """The thread that waits outside the loop in which calls are made, and may interrupt them. loop: the caller's, None if the calls have their own loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self.loop = loop
        self.interrupts = 0
        self._handler: Callable[[], object] | None = None

    def interrupt(self) -> None:
        """Interrupt the calls, as Ctrl-C does: the first time, calls in flight finish; the second time, they are abandoned. Callable from any thread."""
        self.interrupts += 1
        if handler := self._handler:
            handler()

    def check(self, most: int = 0) -> None:
        """Raise `Interrupted` after more than `most` interrupts, if no call is in flight: the run ends at once, without writing tables."""
        if self.interrupts > most:
            stopped = Interrupted("stopped", hint="Run again to continue; nothing is paid for twice.")
            stopped.at_once = True
            raise stopped

    @contextmanager
    def heard_by(self, handler: Callable[[], None]) -> Iterator[None]:
        """Call the handler in the running loop at every interrupt, including earlier ones."""
        loop = asyncio.get_running_loop()
        self._handler = lambda: loop.call_soon_threadsafe(handler)
        if self.interrupts:
            self._handler()
        try:
            yield
        finally:
            self._handler = None

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine to completion in the caller's loop, from another thread. Raises `Interrupted` after an interrupt, or if the loop is closed."""
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
    """The waiter of this context's calls; None if nothing else runs in the process."""
    return _WAITER.get()


def context_of(waiter: Waiter) -> contextvars.Context:
    """A copy of this context in which `present_waiter` returns the waiter."""
    context = contextvars.copy_context()
    context.run(_WAITER.set, waiter)
    return context


async def in_callers_loop(work: Callable[[Waiter], Result]) -> Result:
    """Run blocking work in its own thread, and coroutines that it passes to `run_in_loop` in this loop.

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
