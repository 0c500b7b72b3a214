"""How many tokens a request may take, before any real usage is known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dprm_data.providers.characters import expected_tokens, token_range
from dprm_data.providers.request import Request, Usage

_MESSAGE_OVERHEAD = 8  # tokens that a chat format spends on one message, generously
_USUAL_OVERHEAD = 4


def estimated_input_tokens(request: Request) -> float:
    """About how many input tokens a request is, before any real usage is known."""
    return sum(expected_tokens(message["content"]) + _USUAL_OVERHEAD for message in request.messages)


def input_token_range(request: Request) -> tuple[float, float, float]:
    """Low, expected and high estimate of a request's input tokens. High has the schema of the answer, which some providers put into words."""
    low, expected, high = token_range("".join(message["content"] for message in request.messages))
    count = len(request.messages)
    schema = expected_tokens(repr(request.params["schema"])) if "schema" in request.params else 0.0
    return low, expected + count * _USUAL_OVERHEAD, high + count * _MESSAGE_OVERHEAD + schema


def reported(usage: Usage, request: Request, text: str) -> Usage:
    """The usage of the call that was answered with this text: with estimates, and marked so, where the server did not report all of it."""
    if usage.input_tokens and (usage.output_tokens or not text) and not usage.estimated:
        return usage
    read, written = estimated_input_tokens(request), expected_tokens(text)
    return replace(
        usage,
        input_tokens=usage.input_tokens or math.ceil(read),
        output_tokens=usage.output_tokens or math.ceil(written),
        estimated=True,
    )


def worst_case(request: Request) -> Usage:
    """The most tokens a request can be billed: one per byte of input (no tokenizer makes more), and the whole output limit."""
    written = sum(len(message["content"].encode()) + _MESSAGE_OVERHEAD for message in request.messages)
    schema = len(repr(request.params["schema"])) if "schema" in request.params else 0
    return Usage(input_tokens=written + schema, output_tokens=output_cap(request))


def output_cap(request: Request) -> int:
    """The most output tokens, thoughts included, that one answer can be billed; 0 where nothing bounds it."""
    limit = output_tokens_cap(request.params) or 0
    return limit if _given(request.params) or not limit else limit + request.thought_room


def output_tokens_cap(params: Mapping[str, Any]) -> int | None:
    """The limit of output tokens in a request's `params`, without the room for thoughts; None where there is none."""
    given = _given(params)
    limit = max(given) if given else params.get("max_tokens")
    return limit if isinstance(limit, int) else None


def _given(params: Mapping[str, Any]) -> list[int]:
    """Limits that the recipe sends as they are."""
    extra = params.get("extra") or {}
    return [extra[name] for name in ("max_tokens", "max_completion_tokens") if isinstance(extra.get(name), int)]
