"""A conversation: its messages, as providers take them and items keep them."""

from __future__ import annotations

from typing import Literal, TypedDict


class Message(TypedDict):
    """One turn of a conversation. A trailing `assistant` message is the beginning of the answer (a prefill)."""

    role: Literal["system", "user", "assistant"]
    content: str
