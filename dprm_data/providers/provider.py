"""What every provider of a language model looks like from the outside.

A provider turns one `Request` into one `Answer`, once: no retries, no waiting, no caching (those are the engine's). What goes wrong is
raised as `CallFailed`, which says whether trying again can help and whether any further call can succeed at all.

A class that recipes can name is registered by the decorator `provider`, and inherits the facts about itself from `BaseProvider`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self, TypeVar

from dprm_data.core.conversation import Message
from dprm_data.core.registry import PROVIDERS

if TYPE_CHECKING:
    from dprm_data.providers.batch_api import BatchProvider
    from dprm_data.recipe.provider_config import ProviderConfig


@dataclass(frozen=True, slots=True)
class Request:
    """One question to a model. Everything here but `shared_chars` and `cache_hint` decides the answer, and so is part of a call's key.

    params: any of max_tokens, temperature, top_p, seed, top_logprobs (int), schema (a JSON schema the answer must follow),
        and extra (a dict sent to the provider as it is).
    shared_chars: how many leading characters of the last user message are the same for all personas of the item (for prompt caches).
    cache_hint: the same for all requests that share that prefix (OpenAI's `prompt_cache_key`).
    """

    model: str
    messages: tuple[Message, ...]
    params: dict[str, Any]
    shared_chars: int = 0
    cache_hint: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as billed. `input_tokens` counts all input, cached or not, for every provider.

    estimated: the server did not report all of them; what is missing is 0, until whoever keeps the answer puts an estimate in its place.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0  # of the input: read from the provider's cache
    cache_write_tokens: int = 0  # of the input: written to the provider's cache
    estimated: bool = False

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
    usage: what the failed attempt was billed, where the provider says so; sent: False where the request certainly never reached the
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
        sent: bool = True,
    ) -> None:
        super().__init__(message)
        self.kind: FailureKind = kind
        self.message = message
        self.status = status
        self.retry_after = retry_after
        self.headers = headers or {}
        self.usage = usage or Usage()
        self.sent = sent

    def __reduce__(self) -> tuple[type[CallFailed], tuple[FailureKind, str], dict[str, Any]]:
        """Between processes as it is: an exception is made again from its `args` alone otherwise, and those are not all."""
        return type(self), (self.kind, self.message), self.__dict__

    @property
    def retryable(self) -> bool:
        return self.kind in RETRYABLE

    @property
    def fatal(self) -> bool:
        return self.kind in FATAL


class Provider(Protocol):
    """One way to reach a model. `family` enters every call's key (a base URL does not: a server may move)."""

    family: str

    async def complete(self, request: Request) -> Answer:
        """Send the request once. Raises `CallFailed`."""
        ...

    async def aclose(self) -> None:
        """Close connections (and the server, where we started one)."""
        ...


class BaseProvider(ABC):
    """A provider that recipes can name. The class variables are what recipes, plans and cards need to know before anything is sent.

    A subclass states what differs from these defaults. It must be cheap to import: it is imported whenever a recipe that names it is
    read, so SDKs are imported where the first call needs them. An instance may have `concurrency`: calls at once beyond which more
    only wait.
    """

    family: str = ""  # enters every call's key; `provider` sets it to the registered name
    title: ClassVar[str] = ""  # in messages, such as "Anthropic's API"; the registered name if not given
    needs_model: ClassVar[bool] = True  # whether a recipe must give `model`
    has_logprobs: ClassVar[bool] = True  # whether answers can carry log-probabilities
    has_batches: ClassVar[bool] = False  # whether `batches` gives its batch API
    is_free: ClassVar[bool] = False  # calls cost nothing
    is_demo: ClassVar[bool] = False  # a model too small to say what people think: views and cards say so
    price_list: ClassVar[str | None] = None  # its id in genai-prices; without one the recipe must give `price`
    key_variable: ClassVar[str | None] = None  # the environment variable of the key, unless the recipe names another
    url_variable: ClassVar[str | None] = None  # the environment variable of the base URL, unless the recipe gives one
    default_url: ClassVar[str] = ""
    refuses: ClassVar[
        Mapping[str, str]
    ] = {}  # settings of a recipe's `provider` that cannot be given, each with the reason
    options: ClassVar[frozenset[str]] = frozenset()  # the names that `provider.options` may have, for `from_config`
    libraries: ClassVar[tuple[str, ...]] = ()  # distributions whose versions a run's manifest keeps

    @classmethod
    def from_config(cls, config: ProviderConfig, environ: Mapping[str, str]) -> Self:
        """A provider as a recipe's `provider` section asks for it; sends nothing. Raises `InputError` for what cannot work.

        environ: where keys come from.
        """
        return cls()

    @classmethod
    def model_name(cls, model: str) -> str:
        """The name under which requests carry the recipe's `model` and the ledger keeps its answers. Raises `InputError`."""
        return model

    @abstractmethod
    async def complete(self, request: Request) -> Answer:
        """Send the request once. Raises `CallFailed`."""

    def batches(self) -> BatchProvider:
        """The batch API, over this provider's connection, where `has_batches`."""
        raise NotImplementedError

    async def aclose(self) -> None:  # noqa: B027 - most have nothing to close
        """Close connections."""


Class = TypeVar("Class", bound=type[BaseProvider])


def provider(name: str) -> Callable[[Class], Class]:
    """A class decorator: recipes ask for the class by this name, which is also its `family`. Raises `ValueError` where another has it."""

    def register(target: Class) -> Class:
        PROVIDERS.register(name)(target)
        target.family = name
        target.title = target.title or name
        return target

    return register


def provider_class(name: str) -> type[BaseProvider]:
    """The class registered under this name. A run may be read where that is not installed: it then has the defaults."""
    found: type[BaseProvider] = PROVIDERS.get(name) if name in PROVIDERS else BaseProvider
    return found
