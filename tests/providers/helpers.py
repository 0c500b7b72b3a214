"""What the tests of the providers share: asking once, and the two providers side by side."""

from __future__ import annotations

import asyncio
from typing import Any

from dprm_data.providers.construction import make_provider
from dprm_data.providers.request import Answer, CallFailed, Request
from dprm_data.recipe.provider_config import ProviderConfig

KEY = "sk-test-abcdefghijklmnopqrstuvwxyz-0123456789"
ENVIRON = {"OPENAI_API_KEY": KEY, "ANTHROPIC_API_KEY": KEY}
BOTH = ("openai", "anthropic")
LABELS = ["not helpful and harmful", "neutral", "helpful and harmless"]
CHOICE = {
    "type": "object",
    "properties": {"label": {"type": "string", "enum": LABELS}},
    "required": ["label"],
    "additionalProperties": False,
}


def request(
    text: str = "hello", *, system: str = "", prefill: str = "", shared: int = 0, hint: str = "", **params: Any
) -> Request:
    """A request of one user message. `max_tokens` is 100 unless given."""
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": text})
    if prefill:
        messages.append({"role": "assistant", "content": prefill})
    return Request("test-model", tuple(messages), {"max_tokens": 100} | params, shared_chars=shared, cache_hint=hint)  # type: ignore[arg-type]


def config(name: str, url: str, **settings: Any) -> ProviderConfig:
    return ProviderConfig(**{"name": name, "model": "test-model", "base_url": f"{url}/v1", "timeout": 5.0} | settings)


def ask(
    name: str, url: str, *requests: Request, environ: dict[str, str] | None = None, **settings: Any
) -> list[Answer | CallFailed]:
    """Asks one after the other with a provider made for it; failures are returned, not raised."""

    async def run() -> list[Answer | CallFailed]:
        provider = make_provider(config(name, url, **settings), ENVIRON if environ is None else environ)
        results: list[Answer | CallFailed] = []
        try:
            for each in requests:
                try:
                    results.append(await provider.complete(each))
                except CallFailed as failure:
                    results.append(failure)
        finally:
            await provider.aclose()
        return results

    return asyncio.run(run())


def answered(name: str, url: str, asked: Request, **settings: Any) -> Answer:
    [result] = ask(name, url, asked, **settings)
    assert isinstance(result, Answer), result
    return result


def failed(name: str, url: str, asked: Request, **settings: Any) -> CallFailed:
    [result] = ask(name, url, asked, **settings)
    assert isinstance(result, CallFailed), result
    return result
