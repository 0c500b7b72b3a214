"""Who may come in: the key, how many at once, how large a body. All of it before the body is in memory.

Answers are JSON: {"error": {"message": ..., "hint": ...}}. What is refused here costs nothing: no body is read, no row is judged.
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
ALWAYS = frozenset({OPEN, "/metrics"})  # need no place: they must answer also where the house is full
_BODY_SECONDS = 30.0  # in which a body must have come: a slow caller keeps nobody's place for ever
_RETRY_SECONDS = 1


class _Refused(Exception):
    def __init__(self, status: int, message: str, hint: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.content, self.headers = status, problem(message, hint), headers or {}


def problem(message: str, hint: str | None = None, **more: Any) -> dict[str, Any]:
    """The body of an answer that says what is wrong."""
    return {"error": {"message": message, "hint": hint} | more}


class Gate:
    """ASGI middleware around the routes. paths: those that are counted by name."""

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
        except _Refused as refused:
            await _answer(refused, send)
        else:
            await self._app(scope, _replayed(body, receive), send)
        finally:
            self._metrics.in_flight -= entered

    def _check_key(self, scope: Scope) -> None:
        if self._key is None:
            return
        given = _shown_key(dict(scope["headers"]).get(b"authorization", b""))
        if not hmac.compare_digest(given, self._key):
            raise _Refused(
                401, "the key is missing or wrong", "Send Authorization: Bearer <key>.", {"www-authenticate": "Bearer"}
            )

    def _check_room(self) -> None:
        if self._metrics.in_flight >= self._settings.max_concurrency:
            raise _Refused(
                503,
                f"{self._settings.max_concurrency} requests are being answered already",
                "Try again, with more rows in fewer requests; or raise --max-concurrency.",
                {"retry-after": str(_RETRY_SECONDS)},
            )

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        """The whole body, of which never more than the limit is held."""
        said = dict(scope["headers"]).get(b"content-length", b"")
        if said.isdigit() and int(said) > self._settings.body_bytes:
            raise self._too_large()
        parts, size = [], 0
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _Refused(400, "the caller went away", "")
                    size += len(message.get("body", b""))
                    if size > self._settings.body_bytes:
                        raise self._too_large()
                    parts.append(message.get("body", b""))
                    if not message.get("more_body"):
                        return b"".join(parts)
        except TimeoutError:
            raise _Refused(408, f"the body did not come within {_BODY_SECONDS:.0f} s", "Send it at once.") from None

    def _too_large(self) -> _Refused:
        return _Refused(
            413,
            f"the body has more than {self._settings.body_bytes} bytes",
            "Send fewer rows at a time, or raise --max-body.",
            {"connection": "close"},
        )


def _shown_key(header: bytes) -> bytes:
    """The key in `Authorization: Bearer <key>`, or the password in `Basic` (what a client makes of http://user:key@host)."""
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
    """The body that was read, for those inside; then whatever else comes, such as the caller's going away."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def _answer(refused: _Refused, send: Send) -> None:
    headers = {"content-type": "application/json"} | refused.headers
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refused.status, "headers": raw})
    await send({"type": "http.response.body", "body": orjson.dumps(refused.content)})
