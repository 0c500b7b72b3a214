"""The bundled model behind llama.cpp's server, for tests that want a real model behind the real clients."""

from __future__ import annotations

from typing import NamedTuple


class LocalLLM(NamedTuple):
    """Where it listens. `url` is its root; the server wants `token` as key."""

    url: str
    token: str
    model: str


def start_local_llm() -> tuple[LocalLLM, object]:
    """Starts one server; it runs until the second value is let go. Fails where xllamacpp or the model is not installed."""
    from dprm_data.providers.local import LocalProvider

    provider = LocalProvider(servers=1)
    return LocalLLM(provider.base_url.removesuffix("/v1"), provider.token, provider.model), provider
