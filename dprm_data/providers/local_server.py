"""One of llama.cpp's servers inside this process, on threads of its own and a loopback address, and the client for it."""

from __future__ import annotations

import secrets
from typing import Any

import orjson

from dprm_data.core.errors import InputError
from dprm_data.providers.dialect import Structured
from dprm_data.providers.local_model import LocalModel
from dprm_data.providers.openai import OpenAIProvider
from dprm_data.providers.request import Answer, Request


class LocalServer:
    """Loads the model at once. Raises `InputError` if that fails."""

    def __init__(self, model: LocalModel, *, structured: Structured) -> None:
        self.token = secrets.token_urlsafe(24)  # so that nobody else on this machine can ask it
        self._native = _load(model, self.token)
        self.base_url = f"{self._native.listening_address}/v1"
        self._api = OpenAIProvider(api_key=self.token, base_url=self.base_url, structured=structured)
        self._pins_slots = model.layout.slots > 1

    async def ask(self, request: Request, slot: int, seconds: float) -> tuple[Answer, object]:
        """The answer, computed in this slot, and llama.cpp's timings. Raises `CallFailed`."""
        body = self._api.body(request)
        if self._pins_slots:
            body["id_slot"] = slot  # its cache holds the beginning of the slot's last prompt
        data, headers = await self._api.http.send("POST", self._api.path, orjson.dumps(body), seconds=seconds)
        return self._api.read(data, headers, request), data.get("timings")

    async def aclose(self) -> None:
        await self._api.aclose()
        self._native = None  # its destructor ends the threads


def _load(model: LocalModel, token: str) -> Any:
    import xllamacpp

    planned = model.layout
    params = xllamacpp.CommonParams()
    params.model.path = str(model.file)
    params.model_alias = {model.name}
    params.n_ctx = planned.context * planned.slots
    params.n_parallel = planned.slots
    params.n_gpu_layers = planned.gpu_layers
    params.n_batch = params.n_ubatch = 256  # a call that is cancelled ends with the batch in work: a second or two
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = planned.threads
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
            f"the model file {model.file} cannot be loaded: {error}",
            hint="Is it a complete .gguf file of a kind that this version of xllamacpp knows, and is there enough memory for it?",
        ) from None
