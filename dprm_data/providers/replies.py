"""Reading replies: what differs from server to server."""

from __future__ import annotations

from typing import Any


def without_prefill(text: str, messages: tuple[Any, ...]) -> str:
    """The answer alone: some servers repeat the beginning that a trailing assistant message gave them, some do not."""
    if messages and messages[-1]["role"] == "assistant":
        return text.removeprefix(messages[-1]["content"])
    return text


def count(value: object) -> int:
    """A token count out of a reply: servers leave them out or send null."""
    return value if isinstance(value, int) and value > 0 else 0
