"""What every kind of trouble between us and a provider means, and how it is told: in the provider's words, without the key."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

import orjson

from dprm_data.core.text import cut
from dprm_data.providers.request import CallFailed, FailureKind

NO_KEY = "none"  # what is sent to a server that needs no key: the SDKs refuse to send nothing

_KEY_LIKE = re.compile(r"\b(?:sk|pk|rk|xai|gsk|hf)[-_][A-Za-z0-9*_\-]{8,}|(?<=Bearer )\S+")
_PICKED = ("retry-after", "retry-after-ms")
_PICKED_PREFIXES = ("x-ratelimit-", "anthropic-ratelimit-")

_BILLING_CODES = frozenset(
    {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "billing_error", "insufficient_credits"}
)
# Not "exceeded your current quota": some say that of their limits per minute. OpenAI's empty accounts are known by their code.
_BILLING_WORDS = ("credit balance is too low", "insufficient credits")
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
# The types of errors that come without a status.
_STATUS_OF_TYPE: dict[object, int] = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "timeout_error": 504,
    "overloaded_error": 529,
}


class ContentFiltered(Exception):
    """The provider refused the *content* with an error status. That is an answer of its kind, not a failed call."""


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
        when = parsedate_to_datetime(value).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
    return max(0.0, when - (time.time() if now is None else now))


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
    """What an `error` without a status of its own means, as in a row of a batch, or in a 200 reply of a gateway (which puts the
    upstream's status into `code`)."""
    code, kind = (error.get("code"), error.get("type")) if isinstance(error, dict) else (None, None)
    status = code if isinstance(code, int) and 400 <= code < 600 else _STATUS_OF_TYPE.get(kind, 500)
    return failure_of_status(status, orjson.dumps({"error": error}), headers, scrub)


def _error_in(body: bytes) -> tuple[str, frozenset[str]]:
    """The provider's own words and its error codes, from the shapes in use: {error: {message, type, code}}, {error: text}, plain text."""
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError:
        return plain(body.decode("utf-8", "replace")), frozenset()
    error = data.get("error", data) if isinstance(data, dict) else data
    if not isinstance(error, dict):
        return plain(error if isinstance(error, str) else ""), frozenset()
    inner = error.get("innererror")
    codes = {error.get("code"), error.get("type"), inner.get("code") if isinstance(inner, dict) else None}
    message = error.get("message") or error.get("detail") or data.get("message") or ""
    return plain(message if isinstance(message, str) else str(message)), frozenset(
        c for c in codes if isinstance(c, str)
    )


def plain(text: str, limit: int = 600) -> str:
    """One short line: error pages of proxies are whole HTML documents."""
    if text.lstrip()[:1] == "<":
        text = re.sub(r"<(style|script)\b.*?</\1>|<[^>]*>", " ", text, flags=re.DOTALL | re.IGNORECASE)
    return cut(" ".join(text.split()), limit)
