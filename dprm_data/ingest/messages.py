"""Messages: from the values of a row (texts, transcripts, lists) to the turns of a conversation.

A text is plain, or a transcript `Human: ... Assistant: ...` as in HH-RLHF. Texts are data: they are split, never rendered or evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import orjson

from dprm_data.core.conversation import Message
from dprm_data.ingest.items import Messages

ROLES: dict[str, Literal["system", "user", "assistant"]] = {
    "system": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
}
_TURN = re.compile(r"(?:\A|\n\n)(Human|Assistant):")


class BadRow(Exception):
    """A row cannot be used; the message is the reason."""


def prompt_messages(value: Any, column: str) -> Messages:
    if isinstance(value, str):
        turns = _transcript(value)
        if turns and turns[-1]["role"] == "assistant" and not turns[-1]["content"]:
            return turns[:-1]
        if turns and turns[-1]["role"] == "user":
            return turns
        return ({"role": "user", "content": value},)
    return _messages(value, column)


def read_reply(value: Any, column: str) -> tuple[Messages, bool]:
    """The response, and whether it is a whole conversation that holds the prompt too."""
    if isinstance(value, str):
        turns = _transcript(value)
        if turns and turns[-1]["role"] == "assistant":
            return turns, True
        return ({"role": "assistant", "content": value},), False
    messages = _messages([value] if isinstance(value, Mapping) else value, column)
    if messages[-1]["role"] != "assistant":
        raise BadRow(f"{column} does not end with an assistant turn")
    return messages, messages[0]["role"] != "assistant"


def read_conversation(value: Any, column: str) -> Messages:
    if isinstance(value, str):
        return _transcript(value) or _messages(read_list(value, column), column)
    return _messages(value, column)


def _transcript(text: str) -> Messages | None:
    """The turns of `Human: ... Assistant: ...`, each stripped of white space; None if the text is not a transcript."""
    if "\n\nAssistant:" not in text:
        return None
    pieces = _TURN.split(text if text.startswith("\n\n") else text.lstrip())
    if pieces[0].strip() or len(pieces) < 2 or pieces[1] != "Human":
        return None
    pairs = zip(pieces[1::2], pieces[2::2], strict=True)
    return tuple({"role": "user" if who == "Human" else "assistant", "content": text.strip()} for who, text in pairs)


def _messages(value: Any, column: str) -> Messages:
    messages = tuple(_message(turn, column, i) for i, turn in enumerate(_sequence(value, column)))
    if not messages:
        raise BadRow(f"{column} is an empty list")
    return messages


def _message(turn: Any, column: str, position: int) -> Message:
    if not isinstance(turn, Mapping):
        raise BadRow(f"{column}[{position}] must be a message with role and content, found {kind_of(turn)}")
    stated_role, content = turn.get("role", turn.get("from")), turn.get("content", turn.get("value"))
    role = ROLES.get(stated_role) if isinstance(stated_role, str) else None
    if role is None:
        raise BadRow(f"{column}[{position}] has the role {stated_role!r} (allowed: {', '.join(ROLES)})")
    if isinstance(content, list) and content and all(_is_text_part(part) for part in content):
        content = "".join(part["text"] for part in content)
    if not isinstance(content, str):
        raise BadRow(f"{column}[{position}] must have a text as content, found {kind_of(content)}")
    return {"role": role, "content": content}


def read_list(value: Any, column: str) -> Sequence[Any]:
    """Read a list, or its JSON text, since CSV has no lists."""
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError as error:
            raise BadRow(f"{column} must be a list (or its JSON), found a text") from error
    entries = _sequence(value, column)
    if not entries:
        raise BadRow(f"{column} is an empty list")
    return entries


def _sequence(value: Any, column: str) -> Sequence[Any]:
    if hasattr(value, "tolist"):  # NumPy arrays, which some readers return
        value = value.tolist()
    if not isinstance(value, list | tuple):
        raise BadRow(f"{column} must be a text or a list, found {kind_of(value)}")
    return value


def at_last_reply(conversation: Messages) -> tuple[Messages, Messages]:
    for at in range(len(conversation) - 1, -1, -1):
        if conversation[at]["role"] == "assistant":
            return conversation[:at], conversation[at : at + 1]
    raise BadRow("the conversation has no assistant turn")


def parting(chosen: Messages, rejected: Messages) -> int:
    """The turn at which two conversations part: everything before is shared, and both continue with an assistant turn."""
    at = 0
    while at < min(len(chosen), len(rejected)) - 1 and chosen[at] == rejected[at]:
        at += 1
    while at and not chosen[at]["role"] == rejected[at]["role"] == "assistant":
        at -= 1
    if not at:
        raise BadRow("chosen and rejected do not begin with the same prompt")
    return at


def kind_of(value: object) -> str:
    if isinstance(value, float) and value != value:
        return "NaN"
    words = {"NoneType": "null", "dict": "an object", "list": "a list", "int": "a number", "float": "a number"}
    return words.get(type(value).__name__, type(value).__name__)


def _is_text_part(part: object) -> bool:
    """Whether this is a text among OpenAI's content parts. Images and audio cannot be judged, so a row with them is refused."""
    return isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)
