"""What every provider of a language model looks like from the outside.

A provider turns one `Request` into one `Answer`, once: no retries, no waiting, no caching (those are the engine's). What goes wrong is
raised as `CallFailed`, which says whether trying again can help and whether any further call can succeed at all.

A class that recipes can name is registered by the decorator `provider`, and inherits the facts about itself from `BaseProvider`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar, Protocol, Self, TypeVar

from dprm_data.core.registry import PROVIDERS
from dprm_data.providers.capabilities import Capabilities, capabilities_of, effort_in
from dprm_data.providers.request import Answer, Request

if TYPE_CHECKING:
    from dprm_data.providers.batch_api import BatchProvider
    from dprm_data.recipe.provider_config import ProviderConfig


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
    answers_in_words: ClassVar[bool] = False  # whether `elicitation: auto` may ask if it answers in the label words
    is_free: ClassVar[bool] = False  # calls cost nothing
    is_demo: ClassVar[bool] = False  # a model too small to say what people think: views and cards say so
    price_list: ClassVar[str | None] = None  # its id in genai-prices; without one the recipe must give `price`
    models_like: ClassVar[str] = ""  # a part of the names of its models there, where the list has others
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
    def prepare(cls, config: ProviderConfig, say: Callable[[str], None]) -> int | None:
        """Fetch and check what the first call will need, before anything is sent, and say what will be used. Raises `InputError`.

        Returns the tokens that a prompt and its answer may have together, where that is known.
        """
        return None

    @classmethod
    def is_demo_model(cls, model: str) -> bool:
        """Whether the recipe's `model` is too small to say what people think."""
        return cls.is_demo

    @classmethod
    def model_name(cls, model: str) -> str:
        """The name under which requests carry the recipe's `model` and the ledger keeps its answers. Raises `InputError`."""
        return model

    @classmethod
    def capabilities(cls, config: ProviderConfig) -> Capabilities:
        """What the recipe's model can do at this provider. Raises `InputError` for a way of saying efforts that is none."""
        effort = config.effort or effort_in(config.extra)
        return capabilities_of(cls.family or config.name, config.model, config.facts, effort=effort)

    @classmethod
    def model_source(cls, model: str) -> dict[str, str] | None:
        """Where the recipe's `model` is on this machine, for the manifest; empty where that says nothing. None: it is not here, and a run's
        manifest has to say its name."""
        return {}

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
    """A class decorator that registers the class under the name recipes use, which is also its `family`. Raises `ValueError` if the name
    is taken."""

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
