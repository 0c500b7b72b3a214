"""Read fields of replies: servers differ, and any field may hold any JSON type."""

from __future__ import annotations

import math
from typing import Any

import orjson


def without_prefill(text: str, messages: tuple[Any, ...]) -> str:
    """The answer alone: some servers repeat the beginning that a trailing assistant message gave them, some do not."""
    if messages and messages[-1]["role"] == "assistant":
        return text.removeprefix(messages[-1]["content"])
    return text


def count(value: object) -> int | None:
    """A token count out of a reply; None where there is none: servers leave counts out, or send null or words."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value if value >= 0 else None
    try:
        number = float(value) if isinstance(value, float | str) else math.nan
    except ValueError:
        return None
    return math.ceil(number) if math.isfinite(number) and number >= 0 else None


def word(value: object) -> str | None:
    """A code, type or reason out of a reply; None where it is no text."""
    return value if isinstance(value, str) else None


def mapping(value: object) -> dict[str, Any]:
    """An object out of a reply; empty where it is none."""
    return value if isinstance(value, dict) else {}


def mappings(value: object) -> list[dict[str, Any]]:
    """The objects of a list out of a reply."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def shown(value: object, limit: int = 600) -> str:
    """A value of any JSON type for a message: a text unchanged, anything else as JSON."""
    if value is None:
        return ""
    try:
        text = value if isinstance(value, str) else orjson.dumps(value).decode()
    except TypeError:  # nested too deep
        text = "(a value that cannot be shown)"
    return text[:limit]
