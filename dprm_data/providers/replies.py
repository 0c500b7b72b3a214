"""Reading replies: what differs from server to server."""

from __future__ import annotations

import math
from typing import Any


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
