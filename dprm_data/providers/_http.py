"""What all providers reached over HTTP have in common: sending JSON once, and turning whatever goes wrong into `CallFailed`.

The official SDKs carry the request (authentication, headers, connection pool); their retries are off and their model building is
skipped, because the engine wants to see every attempt and reads four fields of the answer. No text that leaves this module contains
the key: providers like to quote the key they refuse.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple, cast

import aiohttp
import httpx2
import orjson

from dprm_data.errors import InputError
from dprm_data.providers.base import CallFailed, FailureKind

NO_KEY = "none"  # what is sent to a server that needs no key: the SDKs refuse to send nothing

_KEY_LIKE = re.compile(r"\b(?:sk|pk|rk|key|xai|gsk|hf)[-_][A-Za-z0-9*_\-]{6,}|(?<=Bearer )\S+")
_PICKED = ("retry-after", "retry-after-ms")
_PICKED_PREFIXES = ("x-ratelimit-", "anthropic-ratelimit-")

_BILLING_CODES = frozenset(
    {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "billing_error", "insufficient_credits"}
)
_BILLING_WORDS = ("credit balance is too low", "exceeded your current quota", "insufficient credits")
_FILTER_CODES = frozenset({"content_filter", "content_policy_violation", "moderation_blocked"})
_FILTER_WORDS = ("content filtering policy", "content management policy", "input was flagged")

_BY_STATUS: dict[int, FailureKind] = {
    401: "key",
    402: "billing",
    403: "key",
    404: "not_found",
    408: "timeout",
    409: "server",
    425: "server",
    429: "rate_limit",
    503: "overloaded",
    504: "timeout",
    529: "overloaded",
}


class ContentFiltered(Exception):
    """The provider refused the *content* with an error status. That is an answer of its kind, not a failed call."""


class Reply(NamedTuple):
    """A decoded 2xx reply and its rate-limit headers."""

    data: dict[str, Any]
    headers: dict[str, str]


class Scrubber:
    """Takes secrets out of texts that others wrote: the key itself, and anything that looks like one."""

    def __init__(self, *secrets: str | None) -> None:
        self._secrets = [secret for secret in secrets if secret and secret != NO_KEY]

    def __call__(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "[key]")
        return _KEY_LIKE.sub("[key]", text)

    def __repr__(self) -> str:
        return "Scrubber()"


def pick_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The rate-limit headers of a response, names in lower case."""
    lowered = ((name.lower(), value) for name, value in headers.items())
    return {name: value for name, value in lowered if name in _PICKED or name.startswith(_PICKED_PREFIXES)}


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds the provider asks us to wait: `retry-after-ms`, else `retry-after` in seconds or as an HTTP date. `headers` as picked."""
    if (milliseconds := _number(headers.get("retry-after-ms"))) is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    if value is None or (seconds := _number(value)) is not None:
        return seconds if value is not None else None
    try:
        when = parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return None
    return max(0.0, when.timestamp() - (time.time() if now is None else now))


def _number(value: str | None) -> float | None:
    try:
        number = float(value) if value is not None else math.nan
    except ValueError:
        return None
    return max(0.0, number) if math.isfinite(number) else None


def failure_of_status(status: int, body: bytes, headers: Mapping[str, str], scrub: Scrubber) -> CallFailed:
    """What an error status means for us. Raises `ContentFiltered` where it is the content that was refused."""
    picked = pick_headers(headers)
    message, codes = _error_in(body)
    low = message.lower()
    kind = _BY_STATUS.get(status, "server" if status >= 500 else "rejected")
    if status in (400, 403, 451) and (codes & _FILTER_CODES or any(words in low for words in _FILTER_WORDS)):
        raise ContentFiltered
    # Some say "no money left" with 429 or 400, which would otherwise be waited out, or fail every row one by one.
    if status in (400, 403, 429) and (codes & _BILLING_CODES or any(words in low for words in _BILLING_WORDS)):
        kind = "billing"
    return CallFailed(
        kind,
        scrub(message) or f"HTTP status {status}",
        status=status,
        retry_after=retry_after(picked),
        headers=picked,
    )


def failure_in_reply(error: object, headers: Mapping[str, str], scrub: Scrubber) -> CallFailed:
    """What an `error` inside a 200 reply means (gateways do this: the upstream's status is in `code`)."""
    code = error.get("code") if isinstance(error, dict) else None
    body = orjson.dumps({"error": error})
    if isinstance(code, int) and 400 <= code < 600:
        return failure_of_status(code, body, headers, scrub)
    failure = failure_of_status(500, body, headers, scrub)
    failure.status = 200
    return failure


def _error_in(body: bytes) -> tuple[str, frozenset[str]]:
    """The provider's own words and its error codes, from the shapes in use: {error: {message, type, code}}, {error: text}, plain text."""
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError:
        return _plain(body.decode("utf-8", "replace")), frozenset()
    error = data.get("error", data) if isinstance(data, dict) else data
    if not isinstance(error, dict):
        return _plain(error if isinstance(error, str) else ""), frozenset()
    inner = error.get("innererror")
    codes = {error.get("code"), error.get("type"), inner.get("code") if isinstance(inner, dict) else None}
    message = error.get("message") or error.get("detail") or data.get("message") or ""
    return _plain(message if isinstance(message, str) else str(message)), frozenset(
        c for c in codes if isinstance(c, str)
    )


def _plain(text: str, limit: int = 600) -> str:
    """One short line: error pages of proxies are whole HTML documents."""
    if text.lstrip()[:1] == "<":
        text = re.sub(r"<(style|script)\b.*?</\1>|<[^>]*>", " ", text, flags=re.DOTALL | re.IGNORECASE)
    text = " ".join(text.split())
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def check_base_url(base_url: str) -> None:
    """Refuses what is no web address, before anything is sent."""
    try:
        url = httpx2.URL(base_url)
    except httpx2.InvalidURL:
        url = None
    if url is None or url.scheme not in ("http", "https") or not url.host:
        raise InputError(
            f"provider.base_url: {_plain(base_url, 80)!r} is no web address",
            hint="Give the address up to and including the version, such as http://localhost:8000/v1.",
        )


def client_options(url: httpx2.URL, timeout: float) -> dict[str, Any]:
    """What both SDKs' HTTP clients are made with."""
    return {
        "timeout": timeout,
        # How many calls run at once is the engine's business: 0 is aiohttp's word for no limit.
        "limits": httpx2.Limits(max_connections=0),
        # HTTP_PROXY and its like say how to reach the world; no proxy can reach our own loopback address.
        "trust_env": url.host not in ("localhost", "127.0.0.1", "::1"),
    }


class JsonClient:
    """Posts JSON through an SDK's client, once.

    sdk: an `AsyncOpenAI` or `AsyncAnthropic`; timeout: seconds for one attempt, all in all (the SDK's own is per read, so that a server
    that trickles would hold us for ever).
    """

    def __init__(self, sdk: Any, *, timeout: float, scrub: Scrubber) -> None:
        self.sdk = sdk
        self._timeout = timeout
        self.scrub = scrub
        self._host = f"{sdk.base_url.host}:{sdk.base_url.port}" if sdk.base_url.port else str(sdk.base_url.host)

    async def post(self, path: str, body: dict[str, Any]) -> Reply:
        """The decoded reply. Raises `CallFailed`, or `ContentFiltered`."""
        payload = orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
        response = await self.send(self.sdk.post(path, cast_to=httpx2.Response, content=payload))
        headers = pick_headers(response.headers)
        try:
            data = orjson.loads(response.content)
        except orjson.JSONDecodeError:
            start = self.scrub(_plain(response.text, 120))
            raise CallFailed(
                "broken", f"the answer is not JSON: {start!r}", status=response.status_code, headers=headers
            ) from None
        if not isinstance(data, dict):
            raise CallFailed("broken", "the answer is no JSON object", status=response.status_code, headers=headers)
        if data.get("error"):
            raise failure_in_reply(data["error"], headers, self.scrub)
        return Reply(data, headers)

    async def send(self, call: Any) -> httpx2.Response:
        """Awaits one request of the SDK (made with `cast_to=httpx2.Response`). Raises `CallFailed`, or `ContentFiltered`."""
        failure: CallFailed | ContentFiltered
        try:
            async with asyncio.timeout(self._timeout):
                return cast(httpx2.Response, await call)
        except TimeoutError:
            failure = self._timed_out()
        except Exception as error:
            failure = self._failure(error)
        # Raised out here so that the SDK's exception, which holds the request and its headers, is not dragged along.
        raise failure

    def _failure(self, error: Exception) -> CallFailed | ContentFiltered:
        response = getattr(error, "response", None)
        if isinstance(response, httpx2.Response):
            try:
                return failure_of_status(response.status_code, response.content, response.headers, self.scrub)
            except ContentFiltered as filtered:
                return filtered
        causes = _causes(error)
        if any(isinstance(cause, TimeoutError) for cause in causes):
            return self._timed_out()
        known = (httpx2.HTTPError, aiohttp.ClientError, OSError)
        if any(isinstance(cause, known) for cause in causes):
            why = next((text for cause in reversed(causes) if (text := _plain(str(cause), 200))), type(error).__name__)
            return CallFailed("connection", self.scrub(f"no connection to {self._host}: {why}"))
        raise error

    def _timed_out(self) -> CallFailed:
        return CallFailed("timeout", f"no answer from {self._host} within {self._timeout:g} s")

    async def aclose(self) -> None:
        await self.sdk.close()


def _causes(error: BaseException) -> list[BaseException]:
    """The exception and what caused it, outermost first. The SDKs wrap httpx's, which wraps aiohttp's, and only that one tells a
    dropped connection from a timeout."""
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in chain:
        chain.append(current)
        current = current.__cause__ or current.__context__
    return chain


def without_prefill(text: str, messages: tuple[Any, ...]) -> str:
    """The answer alone: some servers repeat the beginning that a trailing assistant message gave them, some do not."""
    if messages and messages[-1]["role"] == "assistant":
        return text.removeprefix(messages[-1]["content"])
    return text


def count(value: object) -> int:
    """A token count out of a reply: servers leave them out or send null."""
    return value if isinstance(value, int) and value > 0 else 0
