"""Admission control: the key, the number of concurrent requests and the size of the body, before the body is in memory.

Errors are JSON: {"error": {"message": ..., "hint": ...}}. A rejected request is cheap: no body is parsed, no row is
scored.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import time
from typing import Any

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dprm_trainers.serving.service_metrics import Metrics
from dprm_trainers.serving.service_settings import ServiceSettings

OPEN = "/health"  # needs no key
ALWAYS = frozenset({OPEN, "/metrics"})  # not counted as concurrent: they must answer under full load too
_BODY_SECONDS = 30.0  # to receive a body: a slow client must not hold its slot forever
_RETRY_SECONDS = 1


class _Rejected(Exception):
    def __init__(self, status: int, message: str, hint: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.content, self.headers = status, problem(message, hint), headers or {}


def problem(message: str, hint: str | None = None, **more: Any) -> dict[str, Any]:
    """The body of an error response."""
    return {"error": {"message": message, "hint": hint} | more}


class Gate:
    """ASGI middleware around the routes. paths: counted by name in the metrics."""

    def __init__(self, app: ASGIApp, settings: ServiceSettings, metrics: Metrics, paths: frozenset[str]) -> None:
        self._app, self._settings, self._metrics, self._paths = app, settings, metrics, paths
        self._key = None if settings.key is None else settings.key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.monotonic(), 500

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._pass(scope, receive, counted)
        finally:
            path = scope["path"] if scope["path"] in self._paths else "other"
            self._metrics.answered(path, status, time.monotonic() - began)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        entered = False
        try:
            if scope["path"] != OPEN:
                self._check_key(scope)
            if scope["path"] not in ALWAYS:
                self._check_room()
                self._metrics.in_flight += 1
                entered = True
            body = await self._body(scope, receive)
        except _Rejected as rejected:
            await _answer(rejected, send)
        else:
            await self._app(scope, _replayed(body, receive), send)
        finally:
            self._metrics.in_flight -= entered

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
                {"retry-after": str(_RETRY_SECONDS)},
            )

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        """The whole body; no more than the limit is kept in memory."""
        declared = dict(scope["headers"]).get(b"content-length", b"")
        if declared.isdigit() and int(declared) > self._settings.body_bytes:
            raise self._too_large()
        parts, size = [], 0
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _Rejected(400, "the client disconnected", "")
                    size += len(message.get("body", b""))
                    if size > self._settings.body_bytes:
                        raise self._too_large()
                    parts.append(message.get("body", b""))
                    if not message.get("more_body"):
                        return b"".join(parts)
        except TimeoutError:
            raise _Rejected(408, f"the body did not arrive within {_BODY_SECONDS:.0f} s", "Send it at once.") from None

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


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A channel that yields the body already read, then whatever follows, such as the disconnect."""
    replayed = False

    async def again() -> Message:
        nonlocal replayed
        if replayed:
            return await receive()
        replayed = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def _answer(rejected: _Rejected, send: Send) -> None:
    headers = {"content-type": "application/json"} | rejected.headers
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": rejected.status, "headers": raw})
    await send({"type": "http.response.body", "body": orjson.dumps(rejected.content)})
