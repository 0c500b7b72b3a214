"""Stopping: one reason for all, and nothing is sent after it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Cancelled(Exception):
    """The run is ending: this call is not sent."""


class Cancellation:
    """Whether, and why, the run is ending. What is in flight is finished and kept; what waits to be sent is not sent."""

    def __init__(self) -> None:
        self.reason: BaseException | None = None
        self._waiting: set[asyncio.Task[object]] = set()
        self._event = asyncio.Event()

    def __bool__(self) -> bool:
        return self.reason is not None

    def because(self, reason: BaseException) -> None:
        """End the run; only the first reason counts."""
        if self.reason is None:
            self.reason = reason
            self._event.set()
            for task in self._waiting:
                task.cancel()

    @contextmanager
    def cuts_short(self) -> Iterator[None]:
        """Around every wait before a call is sent: when the run stops, the wait ends with `Cancelled`."""
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
