"""Running and interrupting a run's event loop."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import nullcontext, suppress
from typing import Any, Protocol, TypeVar

from dprm_data.core.errors import DprmError, Interrupted
from dprm_data.engine.callers_loop import Waiter, context_of, present_waiter
from dprm_data.engine.counters import Counters

Result = TypeVar("Result")


def run_in_loop(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine to completion: in the caller's loop, or in a new one; in a new thread if this thread already runs a loop (as in a notebook).

    Raises `DprmError` if the process runs out of memory, and what the coroutine raises.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        lender = present_waiter()
        return lender.run(work) if lender and lender.loop else _new_loop(work)
    waiter, done = Waiter(), Future[Result]()

    def body() -> None:
        try:
            done.set_result(_new_loop(work))
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=context_of(waiter).run, args=(body,)).start()
    while True:
        try:
            return done.result()
        except KeyboardInterrupt:
            if done.done():
                raise
            waiter.interrupt()


def _new_loop(work: Coroutine[Any, Any, Result]) -> Result:
    start: Callable[[Coroutine[Any, Any, Result]], Result] = asyncio.run
    with suppress(ImportError):
        import uvloop

        start = uvloop.run
    try:
        return start(_until_out_of_memory(work))
    except MemoryError:
        raise DprmError(
            "out of memory",
            hint="All answers so far are kept. Give the process more memory, or lower limits: concurrency, and run again to continue.",
        ) from None  # without the traceback, whose frames hold memory


async def _until_out_of_memory(work: Coroutine[Any, Any, Result]) -> Result:
    """Run the coroutine; cancel it if the loop itself runs out of memory: somebody would wait forever for what it was about to do."""
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work)
    ran_out = False

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        nonlocal ran_out
        if isinstance(context.get("exception"), MemoryError):
            ran_out = True
            task.cancel()
        else:
            loop.default_exception_handler(context)

    loop.set_exception_handler(handle)
    try:
        return await task
    except asyncio.CancelledError:
        if ran_out:
            raise MemoryError from None
        raise


class BackgroundLoop:
    """An event loop in a thread of its own, which keeps running between calls of `run`."""

    def __init__(self) -> None:
        try:
            import uvloop
        except ImportError:
            self._loop = asyncio.new_event_loop()
        else:
            self._loop = uvloop.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True, name="dprm-loop").start()

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine in that loop to completion."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


class Stoppable(Protocol):
    """An engine."""

    counters: Counters

    def stop(self, reason: BaseException) -> None: ...


# SIGHUP is missing on Windows, which has SIGBREAK.
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)]


def _hear(loop: asyncio.AbstractEventLoop, number: int, react: Callable[[], None]) -> Callable[[], object]:
    """Let the loop call `react` on a signal. Returns what ends that."""
    try:
        loop.add_signal_handler(number, react)
    except NotImplementedError:  # Windows
        before = signal.signal(number, lambda *_: loop.call_soon_threadsafe(react))
        return lambda: signal.signal(number, before)
    return lambda: loop.remove_signal_handler(number)


class interruptible:
    """Handles Ctrl-C and signals, or the interrupts of a `Waiter`: the first lets the calls in flight finish, the second exits at once."""

    def __init__(self, engine: Stoppable, say: Callable[[str], None], ledger: str) -> None:
        self._engine = engine
        self._say = say
        self._reason = Interrupted(
            "stopped",
            hint=f"All answers are kept in {ledger}. Run the same command again to continue; nothing is paid for twice.",
        )
        self._interrupted = False
        waiter = present_waiter()
        self._heard = waiter.heard_by(self._interrupt) if waiter else nullcontext()
        self._in_main_thread = not waiter and threading.current_thread() is threading.main_thread()

    def __enter__(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        self._heard.__enter__()
        if self._in_main_thread:
            # What is ignored stays ignored: nohup starts a command that way.
            heard = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
            self._unhear = [_hear(self._loop, number, self._interrupt) for number in heard]

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        self._heard.__exit__(None, None, None)
        if self._in_main_thread:
            for unhear in self._unhear:
                unhear()
        if isinstance(error, asyncio.CancelledError) and self._interrupted:
            self._reason.at_once = True
            raise self._reason from None

    def _interrupt(self) -> None:
        if self._interrupted:
            assert self._task
            self._task.cancel()
            return
        self._interrupted = True
        self._engine.stop(self._reason)
        counters = self._engine.counters
        with suppress(OSError):  # the terminal may be gone
            if counters.batches:
                self._say(f"stopping: {counters.batches}; run again to collect them")
            else:
                calls = "1 call" if counters.in_flight == 1 else f"{counters.in_flight} calls"
                self._say(f"stopping: finishing {calls} in flight; press Ctrl-C again to exit at once")
