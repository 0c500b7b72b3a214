"""The messages of a conversation, as providers accept them and items store them."""

from __future__ import annotations

from typing import Literal, TypedDict


class Message(TypedDict):
    """One turn of a conversation. A trailing `assistant` message is a prefill: the model continues it."""

    role: Literal["system", "user", "assistant"]
    content: str
