"""What passes between us and a provider: a request, its answer with the tokens billed, or a failure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from dprm_data.core.conversation import Message
from dprm_data.providers.capabilities import UNKNOWN, Capabilities


@dataclass(frozen=True, slots=True)
class Request:
    """One question to a model. Its model, messages and params are part of a call's key; the rest says how they are sent.

    params: any of max_tokens, temperature, top_p, seed, effort, top_logprobs (int), schema (a JSON schema the answer must follow),
        and extra (a dict sent to the provider as it is).
    shared_chars: how many leading characters of the last user message are the same for all personas of the item (for prompt caches).
    cache_hint: the same for all requests that share that prefix (OpenAI's `prompt_cache_key`).
    capabilities: what the model can do: the effort that is said, the room for its thoughts, the parameters it refuses.
    """

    model: str
    messages: tuple[Message, ...]
    params: dict[str, Any]
    shared_chars: int = 0
    cache_hint: str = ""
    capabilities: Capabilities = UNKNOWN

    @property
    def thought_room(self) -> int:
        """Output tokens that are added to `max_tokens` for thoughts. None where the first token is the answer."""
        return 0 if self.params.get("top_logprobs") else self.capabilities.thought_room


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as billed. `input_tokens` counts all input, cached or not, `output_tokens` all output, thoughts included, for every provider.

    estimated: the server did not report all of them; what is missing is 0, until whoever keeps the answer puts an estimate in its place.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0  # of the input: read from the provider's cache
    cache_write_tokens: int = 0  # of the input: written to the provider's cache
    estimated: bool = False
    reasoning_tokens: int = 0  # of the output: thoughts; estimated where the server shows them but does not count them

    @property
    def billed(self) -> int | None:
        """Tokens in and out; None where the server did not report them."""
        return None if self.estimated else self.input_tokens + self.output_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_tokens + other.cached_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            self.estimated or other.estimated,
            self.reasoning_tokens + other.reasoning_tokens,
        )


UNREPORTED = Usage(estimated=True)

Finish = Literal["stop", "length", "refusal", "content_filter"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model said.

    top_logprobs: for the first generated token, (token text, log-probability) pairs, most probable first; None where not asked for.
    headers: the response's rate-limit headers (lower-case names), for the engine's limits.
    """

    text: str
    finish: Finish
    usage: Usage
    model: str
    top_logprobs: tuple[tuple[str, float], ...] | None = None
    headers: dict[str, str] = field(default_factory=dict)


FailureKind = Literal[
    "rate_limit", "overloaded", "server", "timeout", "connection", "key", "billing", "not_found", "rejected", "broken"
]

# What trying again can mend. `rejected` is a request the provider will never take (400, 413, 422 ...); `broken` is an answer that is no answer (not JSON, no choices).
RETRYABLE: frozenset[FailureKind] = frozenset({"rate_limit", "overloaded", "server", "timeout", "connection", "broken"})
# What no further call can survive: stop the run at once instead of failing every row.
FATAL: frozenset[FailureKind] = frozenset({"key", "billing", "not_found"})


class CallFailed(Exception):
    """One attempt at one call failed.

    message: the provider's own words, without secrets; retry_after: seconds the provider asks us to wait, if it does;
    usage: what the failed attempt was billed, where the provider says so; param: the parameter that it names; sent: False where the request certainly never reached the
    provider (no connection), so that it cannot have been billed.
    """

    def __init__(
        self,
        kind: FailureKind,
        message: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        headers: dict[str, str] | None = None,
        usage: Usage | None = None,
        param: str | None = None,
        sent: bool = True,
    ) -> None:
        super().__init__(message)
        self.kind: FailureKind = kind
        self.message = message
        self.status = status
        self.retry_after = retry_after
        self.headers = headers or {}
        self.usage = usage or Usage()
        self.param = param
        self.sent = sent

    def __reduce__(self) -> tuple[type[CallFailed], tuple[FailureKind, str], dict[str, Any]]:
        """Pickle all attributes: by default an exception is rebuilt from its `args` alone."""
        return type(self), (self.kind, self.message), self.__dict__

    @property
    def retryable(self) -> bool:
        return self.kind in RETRYABLE

    @property
    def fatal(self) -> bool:
        return self.kind in FATAL
