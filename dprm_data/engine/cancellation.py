"""Cancellation: stops a run for one reason; nothing is sent after that."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Cancelled(Exception):
    """The run is ending: this call is not sent."""


class Cancellation:
    """Whether, and why, the run is ending. Calls in flight finish and are kept; calls not yet sent are dropped."""

    def __init__(self) -> None:
        self.reason: BaseException | None = None
        self._waiting: set[asyncio.Task[object]] = set()
        self._event = asyncio.Event()

    def __bool__(self) -> bool:
        return self.reason is not None

    def because(self, reason: BaseException) -> None:
        """End the run. Only the first reason counts."""
        if self.reason is None:
            self.reason = reason
            self._event.set()
            for task in self._waiting:
                task.cancel()

    @contextmanager
    def cuts_short(self) -> Iterator[None]:
        """Wrap every wait that precedes a call: when the run stops, the wait ends with `Cancelled`."""
        if self.reason is not None:
            raise Cancelled
        task = asyncio.current_task()
        assert task
        self._waiting.add(task)
        try:
            yield
        except asyncio.CancelledError:
            if self.reason is not None and task.uncancel() == 0:
                raise Cancelled from None
            raise
        finally:
            self._waiting.discard(task)
