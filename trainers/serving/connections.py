"""Connections that wait for their clients no longer than a time.

uvicorn waits forever for the head of a request, for a body whose request was refused already, and for a client that
does not read its response: each such client would hold a socket for as long as it likes.
"""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

_AFTER_BODY = 1.0  # seconds: the gate's own limit for a body comes first, because it answers in words


def timed(seconds: float) -> type[H11Protocol]:
    """uvicorn's protocol, which closes a connection if a head, a body or the reading of a response takes longer.

    h11 bounds the size of a head (64 KiB), which httptools does not.
    """

    class Timed(H11Protocol):
        _awaited: tuple[Any, Any] | None = None  # the cycle, and the client's part of it that is awaited
        _arrival: asyncio.TimerHandle | None = None
        _reading: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            _cancel(self._arrival)
            _cancel(self._reading)

        def pause_writing(self) -> None:
            super().pause_writing()
            self._reading = self.loop.call_later(seconds, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            _cancel(self._reading)

        def _watch(self) -> None:
            """Start the time of a part of a request with its first byte; more bytes do not prolong it."""
            state = self.conn.their_state
            if (self.cycle, state) == self._awaited:
                return
            self._awaited = (self.cycle, state)
            _cancel(self._arrival)
            if state is h11.IDLE:
                self._arrival = self.loop.call_later(seconds, self.transport.abort)
            elif state is h11.SEND_BODY:
                self._arrival = self.loop.call_later(seconds + _AFTER_BODY, self.transport.abort)

    return Timed


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
