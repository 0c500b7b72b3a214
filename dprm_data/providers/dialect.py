"""How a server's chat completions differ from what most servers understand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Structured = Literal["json_schema", "json_object", "none"]

_STRICTNESS: tuple[Structured, ...] = ("none", "json_object", "json_schema")


@dataclass(frozen=True)
class Dialect:
    """What a server accepts. The defaults are those of vLLM, llama.cpp and most gateways.

    limit: the field of the output limit.
    seed: the field of the seed; None where a seed is refused, and so is not sent.
    structured: the strictest form of structured output.
    most_logprobs: the most `top_logprobs`; None where the server has no such limit.
    cache_key: understands `prompt_cache_key`.
    key_header: a header that carries the key beside `Authorization`.
    """

    limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    seed: str | None = "seed"
    structured: Structured = "json_schema"
    most_logprobs: int | None = None
    cache_key: bool = False
    key_header: str | None = None


def weaker(one: Structured, other: Structured | None) -> Structured:
    """The less strict of two forms of structured output; the first where there is no other."""
    return one if other is None else min(one, other, key=_STRICTNESS.index)


PLAIN = Dialect()
# OpenAI's reasoning models refuse max_tokens. Servers that are strict about unknown fields refuse prompt_cache_key.
OPENAI = Dialect(limit="max_completion_tokens", most_logprobs=20, cache_key=True)
AZURE = Dialect(limit="max_completion_tokens", key_header="api-key")


def dialect_of(host: str) -> Dialect:
    """The dialect of a server that is known by its address alone."""
    if host == "api.openai.com" or host.endswith(".api.openai.com"):
        return OPENAI
    return AZURE if host.endswith((".azure.com", ".azure-api.net")) else PLAIN
