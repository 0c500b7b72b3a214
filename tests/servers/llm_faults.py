"""What goes wrong on purpose: by name, with which chance, how often, or wherever a text carries the mark `[[fault:NAME]]`.

`[[fault:NAME:3]]` strikes the first three requests that carry that very mark and content, then lets the fourth through.
"""

from __future__ import annotations

import random
import re
from collections import Counter, deque
from dataclasses import dataclass
from email.utils import formatdate
from time import time

MARK = re.compile(rb"\[\[fault:([a-z0-9_]+)(?::(\d+))?\]\]")


@dataclass(frozen=True, slots=True)
class Status:
    """An error status in the provider's own shape. `kind` and `code` are its error's type and code."""

    status: int
    message: str
    kind: str = "invalid_request_error"
    code: str | None = None
    headers: tuple[tuple[str, str], ...] = ()


_QUOTA = "You exceeded your current quota, please check your plan and billing details"

STATUSES: dict[str, Status] = {
    "400": Status(400, "messages: this model's maximum context length is 8192 tokens", code="context_length_exceeded"),
    "401": Status(
        401,
        "Incorrect API key provided: {key}. You can find your key in your account.",
        "authentication_error",
        "invalid_api_key",
    ),
    "402": Status(402, "Insufficient credits", "billing_error"),
    "403": Status(403, "Your key {key} may not use this model", "permission_error"),
    "404": Status(404, "The model does not exist", "not_found_error", "model_not_found"),
    "408": Status(408, "Request timeout", "timeout_error"),
    "409": Status(409, "Conflict", "conflict_error"),
    "413": Status(413, "Request too large", "request_too_large"),
    "422": Status(422, "Unprocessable"),
    "429": Status(429, "Rate limit reached", "rate_limit_error", "rate_limit_exceeded", (("Retry-After", "1"),)),
    "429_ms": Status(
        429,
        "Rate limit reached",
        "rate_limit_error",
        "rate_limit_exceeded",
        (("retry-after-ms", "50"), ("Retry-After", "1")),
    ),
    "429_date": Status(
        429, "Rate limit reached", "rate_limit_error", "rate_limit_exceeded", (("Retry-After", "{date}"),)
    ),
    "429_zero": Status(429, "Rate limit reached", "rate_limit_error", "rate_limit_exceeded", (("Retry-After", "0"),)),
    "429_ages": Status(429, "Rate limit reached", "rate_limit_error", "rate_limit_exceeded", (("Retry-After", "1e9"),)),
    "503_zero": Status(503, "The engine is currently overloaded", "api_error", headers=(("Retry-After", "0"),)),
    "429_bare": Status(429, "Rate limit reached", "rate_limit_error", "rate_limit_exceeded"),
    "500": Status(500, "The server had an error", "api_error"),
    "502": Status(502, "Bad gateway", "api_error"),
    "503": Status(503, "The engine is currently overloaded", "api_error", headers=(("Retry-After", "1"),)),
    "504": Status(504, "Upstream timed out", "timeout_error"),
    "529": Status(529, "Overloaded", "overloaded_error"),
    "quota": Status(429, _QUOTA, "insufficient_quota", "insufficient_quota"),
    "quota_per_minute": Status(429, _QUOTA, "rate_limit_error", "429"),  # the same words, but it passes
    "credit": Status(400, "Your credit balance is too low to access the API. Please go to Plans & Billing."),
    "filter_400": Status(
        400,
        "The response was filtered due to the prompt triggering the content management policy",
        code="content_filter",
    ),
}
# Everything else that can go wrong; the server's handler knows what each means.
OTHER = frozenset(
    {
        "slow",  # answers after `slow` seconds
        "hang",  # never answers
        "drop",  # closes the connection instead of answering
        "drop_body",  # closes it in the middle of the answer
        "broken",  # 200, but no JSON
        "html",  # 502 with a page of HTML, as proxies do
        "list",  # 200, JSON, but no object
        "empty",  # 200 without choices or content
        "error_200",  # 200 with an `error` body and the upstream's status 429 in it
        "length",  # a truncated answer
        "refusal",
        "filter",  # finish_reason content_filter
        "unparsable",  # an answer that ignores what was asked for
        "expired",  # (rows of a batch) the batch ended before this one's turn
        "missing",  # (rows of a batch) answered, but left out of the results
        "no_logprobs",  # an answer without the log-probabilities that were asked for
    }
)
NAMES = frozenset(STATUSES) | OTHER


class Faults:
    """Decides for every request whether it goes wrong, and how."""

    def __init__(self, seed: int = 0) -> None:
        self.chances: dict[str, float] = {}
        self.queue: deque[str] = deque()
        self._marks: Counter[bytes] = Counter()
        self._random = random.Random(seed)

    def script(
        self, *, chances: dict[str, float] | None = None, queue: list[str] | None = None, seed: int | None = None
    ) -> None:
        """Replaces the chances (per request, by fault), appends to the queue (one request each), reseeds."""
        for name in [*(chances or {}), *(queue or [])]:
            if name not in NAMES and name != "ok":
                raise ValueError(f"no such fault: {name}")
        if seed is not None:
            self._random.seed(seed)
        if chances is not None:
            self.chances = dict(chances)
        self.queue.extend(queue or [])

    def draw(self, body: bytes, digest: bytes) -> str | None:
        """The fault for this request, if it is to have one."""
        if b"[[fault:" in body:
            for mark in MARK.finditer(body):
                times = mark.group(2)
                key = mark.group(0) + digest
                self._marks[key] += 1
                if times is None or self._marks[key] <= int(times):
                    return mark.group(1).decode()
        if self.queue:
            name = self.queue.popleft()
            return None if name == "ok" else name
        if self.chances:
            dice = self._random.random()
            for name, chance in self.chances.items():
                dice -= chance
                if dice < 0:
                    return name
        return None


def filled(text: str, key: str) -> str:
    """Real providers quote the key they refuse, and give dates in the HTTP form."""
    return text.replace("{key}", key).replace("{date}", formatdate(time() + 2, usegmt=True))
