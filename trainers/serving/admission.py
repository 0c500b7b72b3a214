"""Admission control: the key, the number of concurrent requests and the size of their bodies, before a body is in
memory.

Errors are JSON: {"error": {"message": ..., "hint": ...}}. A rejected request is cheap: no body is parsed, no row is
scored. A request whose caller disconnects is cancelled.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import os
import time
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dprm_trainers.serving.service_metrics import Metrics
from dprm_trainers.serving.service_settings import ServiceSettings

OPEN = "/health"  # needs no key
ALWAYS = frozenset({OPEN, "/metrics"})  # not counted as concurrent: they must answer under full load too
RETRY_SECONDS = 1
_SHOWN = 500  # characters of a message, which may quote the request


class _Rejected(Exception):
    def __init__(self, status: int, message: str, hint: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.content, self.headers = status, problem(message, hint), headers or {}


def problem(message: str, hint: str | None = None, **more: Any) -> dict[str, Any]:
    """The body of an error response."""
    return {"error": {"message": printable(message), "hint": hint} | more}


def printable(text: str) -> str:
    """A message that may quote a request, cut to a readable length, with unpaired surrogates escaped."""
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]} …"
    return shown.encode("utf-8", "backslashreplace").decode("utf-8")


@dataclass
class _Entry:
    """What a request takes up: one of the places for concurrent requests, and bytes of its body."""

    place: bool = False
    body_bytes: int = 0


class _Sender:
    """The channel of the response, which remembers the status; 500 as long as nothing was sent."""

    def __init__(self, send: Send) -> None:
        self._send, self.status, self.started = send, 500, False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self.started = message["status"], True
        await self._send(message)


class Gate:
    """ASGI middleware around the routes. paths: counted by name in the metrics."""

    def __init__(self, app: ASGIApp, settings: ServiceSettings, metrics: Metrics, paths: frozenset[str]) -> None:
        self._app, self._settings, self._metrics, self._paths = app, settings, metrics, paths
        self._key = None if settings.key is None else os.fsencode(settings.key)
        self._pending_bytes = 0  # of the bodies of all requests in progress

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, sender = time.monotonic(), _Sender(send)
        try:
            await self._pass(scope, receive, sender)
        finally:
            path = scope["path"] if scope["path"] in self._paths else "other"
            self._metrics.answered(path, sender.status, time.monotonic() - began)

    async def _pass(self, scope: Scope, receive: Receive, sender: _Sender) -> None:
        entry = _Entry()
        try:
            if scope["path"] != OPEN:
                self._check_key(scope)
            body = b""  # of the routes that always answer: they read none
            if scope["path"] not in ALWAYS:
                self._check_room()
                self._metrics.in_flight += 1
                entry.place = True
                body = await self._body(scope, receive, entry)
        except _Rejected as rejected:
            await _answer(rejected, sender)
        else:
            await self._served(scope, body, receive, sender)
        finally:
            self._metrics.in_flight -= entry.place
            self._pending_bytes -= entry.body_bytes

    async def _served(self, scope: Scope, body: bytes, receive: Receive, sender: _Sender) -> None:
        """Run the routes; cancel them if the caller disconnects before the response starts."""
        gone = asyncio.ensure_future(_disconnected(receive))
        answered = asyncio.ensure_future(self._app(scope, _replayed(body, gone), sender))
        try:
            await asyncio.wait((gone, answered), return_when=asyncio.FIRST_COMPLETED)
            if answered.done() or sender.started:
                await answered
        finally:
            gone.cancel()
            answered.cancel()

    def _check_key(self, scope: Scope) -> None:
        if self._key is None:
            return
        key = _key_of(dict(scope["headers"]).get(b"authorization", b""))
        if not hmac.compare_digest(key, self._key):
            raise _Rejected(
                401, "the key is missing or wrong", "Send Authorization: Bearer <key>.", {"www-authenticate": "Bearer"}
            )

    def _check_room(self) -> None:
        if self._metrics.in_flight >= self._settings.max_concurrency:
            raise _Rejected(
                503,
                f"{self._settings.max_concurrency} requests are in progress",
                "Retry, send more rows per request, or raise --max-concurrency.",
                {"retry-after": str(RETRY_SECONDS)},
            )

    async def _body(self, scope: Scope, receive: Receive, entry: _Entry) -> bytes:
        """The whole body; no more than the limits is kept in memory. entry: counts its bytes."""
        declared = dict(scope["headers"]).get(b"content-length", b"")
        if declared.isdigit() and int(declared) > self._settings.body_bytes:
            raise self._too_large()
        parts: list[bytes] = []
        try:
            async with asyncio.timeout(self._settings.max_receive):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _Rejected(400, "the client disconnected", "")
                    part = message.get("body", b"")
                    self._count(len(part), entry)
                    parts.append(part)
                    if not message.get("more_body"):
                        return b"".join(parts)
        except TimeoutError:
            raise _Rejected(
                408,
                f"the body did not arrive within {self._settings.max_receive:g} s",
                "Send it at once.",
                {"connection": "close"},
            ) from None

    def _count(self, size: int, entry: _Entry) -> None:
        """Count bytes that arrived for a body, against both limits."""
        entry.body_bytes += size
        self._pending_bytes += size
        if entry.body_bytes > self._settings.body_bytes:
            raise self._too_large()
        if self._pending_bytes > self._settings.pending_bytes:
            raise _Rejected(
                503,
                f"the bodies of the requests in progress are larger than {self._settings.pending_bytes} bytes",
                "Retry, or raise --max-pending.",
                {"retry-after": str(RETRY_SECONDS), "connection": "close"},
            )

    def _too_large(self) -> _Rejected:
        return _Rejected(
            413,
            f"the body is larger than {self._settings.body_bytes} bytes",
            "Send fewer rows at a time, or raise --max-body.",
            {"connection": "close"},
        )


def _key_of(header: bytes) -> bytes:
    """The key in `Authorization: Bearer <key>`, or the password in `Basic` (from a URL http://user:key@host)."""
    kind, _, value = header.partition(b" ")
    if kind.lower() == b"bearer":
        return value.strip()
    if kind.lower() == b"basic":
        try:
            return base64.b64decode(value.strip(), validate=True).partition(b":")[2]
        except binascii.Error:
            return b""
    return b""


def _replayed(body: bytes, gone: asyncio.Future[Message]) -> Receive:
    """A channel that yields the body already read, then the disconnect."""
    replayed = False

    async def again() -> Message:
        nonlocal replayed
        if replayed:
            return await asyncio.shield(gone)
        replayed = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def _disconnected(receive: Receive) -> Message:
    while (message := await receive())["type"] != "http.disconnect":
        pass
    return message


async def _answer(rejected: _Rejected, send: Send) -> None:
    headers = {"content-type": "application/json"} | rejected.headers
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": rejected.status, "headers": raw})
    await send({"type": "http.response.body", "body": orjson.dumps(rejected.content)})
