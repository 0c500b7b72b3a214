"""Map errors of a provider to kinds of failure, with the provider's own words and without the key."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

import orjson

from dprm_data.core.key_shapes import SHAPE
from dprm_data.core.text import cut
from dprm_data.providers.replies import mapping, shown, word
from dprm_data.providers.request import CallFailed, FailureKind

NO_KEY = "none"  # what is sent to a server that needs no key: the SDKs refuse to send nothing

# Providers quote keys with asterisks and cut them short, so known prefixes are enough here.
_KEY_LIKE = re.compile(rf"\b(?:sk|pk|rk|xai|gsk|hf)[-_][A-Za-z0-9*_\-]{{8,}}|(?<=Bearer )\S+|{SHAPE}")
_BLOCK = re.compile(r"<(style|script)\b.*?(?:</\1>|\Z)", re.DOTALL | re.IGNORECASE)
_TAG = re.compile(r"<[^<>]*>")
_PAGE = 100_000  # characters of an error page that are looked at
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
    try:
        return _failure(status, orjson.loads(body), headers, scrub)
    except orjson.JSONDecodeError:
        return _failure(status, body.decode("utf-8", "replace"), headers, scrub)


def _failure(status: int, said: object, headers: Mapping[str, str], scrub: Scrubber) -> CallFailed:
    picked = pick_headers(headers)
    words, codes = _words_and_codes(said)
    message = plain(scrub(words))  # scrubbed first: half a key is not recognised
    low = message.lower()
    kind = _BY_STATUS.get(status, "server" if status >= 500 else "rejected")
    if status in (400, 403, 451) and (codes & _FILTER_CODES or any(words in low for words in _FILTER_WORDS)):
        raise ContentFiltered
    # Some say "no money left" with 429 or 400, which would otherwise be waited out, or fail every row one by one.
    if status in (400, 403, 429) and (codes & _BILLING_CODES or any(words in low for words in _BILLING_WORDS)):
        kind = "billing"
    return CallFailed(
        kind,
        message or f"HTTP status {status}",
        status=status,
        retry_after=retry_after(picked),
        headers=picked,
        param=word(mapping(mapping(said).get("error")).get("param")),
    )


def failure_in_reply(error: object, headers: Mapping[str, str], scrub: Scrubber) -> CallFailed:
    """What an `error` without a status of its own means, as in a row of a batch, or in a 200 reply of a gateway (which puts the
    upstream's status into `code`)."""
    code, kind = mapping(error).get("code"), word(mapping(error).get("type"))
    status = code if isinstance(code, int) and 400 <= code < 600 else _STATUS_OF_TYPE.get(kind, 500)
    return _failure(status, {"error": error}, headers, scrub)


def _words_and_codes(said: object) -> tuple[str, frozenset[str]]:
    """The provider's own words and its error codes, from the shapes in use: {error: {message, type, code}}, the same without `error`,
    {error: text}, plain text. Any of it may be of any JSON type."""
    outer = mapping(said)
    error = outer.get("error", said)
    if not isinstance(error, dict):
        return shown(error, _PAGE), frozenset()
    codes = (error.get("code"), error.get("type"), mapping(error.get("innererror")).get("code"))
    message = error.get("message") or error.get("detail") or outer.get("message")
    return shown(message, _PAGE), frozenset(code for code in codes if isinstance(code, str))


def plain(text: str, limit: int = 600) -> str:
    """One short line: error pages of proxies are whole HTML documents."""
    text = text[:_PAGE]
    if text.lstrip()[:1] == "<":
        # Both patterns are linear: a tag ends before the next one begins, and an unclosed block takes all the rest.
        text = _BLOCK.sub(" ", text)
        text = _TAG.sub(" ", text)
    return cut(" ".join(text.split()), limit)
