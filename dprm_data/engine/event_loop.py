"""The event loop a run lives in, and how it is interrupted."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from dprm_data.core.errors import Interrupted
from dprm_data.engine.counters import Counters

Result = TypeVar("Result")


def in_a_loop(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine to its end; in a thread of its own where a loop runs already (a notebook)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _new_loop(work)
    done: list[Result] = []
    failed: list[BaseException] = []

    def body() -> None:
        try:
            done.append(_new_loop(work))
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return done[0]


def _new_loop(work: Coroutine[Any, Any, Result]) -> Result:
    try:
        import uvloop
    except ImportError:
        return asyncio.run(work)
    return uvloop.run(work)


class BackgroundLoop:
    """An event loop in a thread of its own, which goes on between one piece of work and the next."""

    def __init__(self) -> None:
        try:
            import uvloop
        except ImportError:
            self._loop = asyncio.new_event_loop()
        else:
            self._loop = uvloop.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True, name="dprm-loop").start()

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine there to its end."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


class Stoppable(Protocol):
    """An engine."""

    counters: Counters

    def stop(self, reason: BaseException) -> None: ...


class interruptible:
    """Ctrl-C: the first finishes what is in flight, the second leaves at once."""

    def __init__(self, engine: Stoppable, say: Callable[[str], None], ledger: str) -> None:
        self._engine = engine
        self._say = say
        self._reason = Interrupted(
            "stopped",
            hint=f"What was answered is kept in {ledger}. Run the same command again: it goes on from here and pays for nothing twice.",
        )
        self._asked = False
        self._on = threading.current_thread() is threading.main_thread()

    def __enter__(self) -> None:
        if self._on:
            self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
            for number in (signal.SIGINT, signal.SIGTERM):
                self._loop.add_signal_handler(number, self._interrupt)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if self._on:
            for number in (signal.SIGINT, signal.SIGTERM):
                self._loop.remove_signal_handler(number)
        if isinstance(error, asyncio.CancelledError) and self._asked:
            raise self._reason from None

    def _interrupt(self) -> None:
        if self._asked:
            assert self._task
            self._task.cancel()
            return
        self._asked = True
        counters = self._engine.counters
        if counters.batches:
            self._say(f"stopping: {counters.batches}; they are collected when you run it again")
        else:
            self._say(f"stopping: {counters.in_flight} calls in flight are being finished; Ctrl-C again leaves at once")
        self._engine.stop(self._reason)
