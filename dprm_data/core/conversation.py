"""The messages of a conversation, as providers accept them and items store them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NotRequired, TypedDict

Speaker = Literal["system", "user", "assistant", "tool"]


class Message(TypedDict):
    """One turn of a conversation. A trailing `assistant` message is a prefill: the model continues it.

    content: its text; of a message that holds more than text (tool calls, images, reasoning), what can be read of it. original: such a
    message as it came, plain JSON; `dprm_data.core.message_parts` says what is in it. Providers are sent role and content alone.
    """

    role: Speaker
    content: str
    original: NotRequired[dict[str, Any]]


Messages = tuple[Message, ...]


def text_of(messages: Sequence[Mapping[str, Any]]) -> str:
    """A conversation as one text: of a single message its content, else the contents under their roles."""
    if len(messages) == 1:
        return str(messages[0]["content"])
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in messages)
