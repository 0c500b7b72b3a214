"""Messages: from the values of a row (texts, transcripts, lists) to the turns of a conversation.

A text is plain, or a transcript `Human: ... Assistant: ...` as in HH-RLHF. Texts are data: they are split, never rendered or evaluated.

A message that role and text say whole is stored as that. One with tool calls, results, media or reasoning keeps itself as it came
(`Message.original`); its content is then what can be read of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from dprm_data.core.conversation import Message, Messages, Speaker
from dprm_data.core.message_parts import REASONING, BadMessage, Media, Text, call_names, parts_of, read_parts, readable
from dprm_data.core.text import kind_of
from dprm_data.ingest.items import Item

ROLES: dict[str, Speaker] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
    "tool": "tool",
    "function": "tool",
}
_RICH = ("tool_calls", "function_call", *REASONING)  # fields of any message that role and text do not say
_RICH_RESULT = ("tool_call_id", "name")  # ... of a tool's result
_KEPT_ROLES = ("developer", "function")  # stored under another name
_DEPTH = 64  # levels of JSON in a message
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
    return messages, messages[0]["role"] not in ("assistant", "tool")


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
    messages = [_message(turn, column, i) for i, turn in enumerate(_sequence(value, column))]
    if not messages:
        raise BadRow(f"{column} is an empty list")
    if any("original" in message for message in messages):
        _make_readable(messages)
    return tuple(messages)


def _message(turn: Any, column: str, position: int) -> Message:
    """A message. The content of one that is kept as it came is still to be made readable: its calls may be earlier in the conversation."""
    if not isinstance(turn, Mapping):
        raise BadRow(f"{column}[{position}] must be a message with role and content, found {kind_of(turn)}")
    stated_role, content = turn.get("role", turn.get("from")), turn.get("content", turn.get("value"))
    role = ROLES.get(stated_role) if isinstance(stated_role, str) else None
    if role is None:
        raise BadRow(f"{column}[{position}] has the role {stated_role!r} (allowed: {', '.join(ROLES)})")
    if not isinstance(content, str):
        content = _sequence(content, f"{column}[{position}].content") if hasattr(content, "tolist") else content
        if isinstance(content, list) and content and all(_is_text_part(part) for part in content):
            content = "".join(part["text"] for part in content)
    rich = any(turn.get(field) for field in _RICH) or (
        role == "tool" and any(turn.get(field) for field in _RICH_RESULT)
    )
    if isinstance(content, str) and not rich and stated_role not in _KEPT_ROLES:
        return {"role": role, "content": content}
    return {"role": role, "content": "", "original": _original(turn, stated_role, f"{column}[{position}]")}


def _original(turn: Mapping[str, Any], role: str, where: str) -> dict[str, Any]:
    """The message as it came, as plain JSON."""
    named = dict(turn) if "role" in turn else {"role": role, **{k: v for k, v in turn.items() if k != "from"}}
    if "content" not in named and "value" in named:
        named["content"] = named.pop("value")
    try:
        original: dict[str, Any] = orjson.loads(orjson.dumps(named, default=_plain, option=orjson.OPT_SERIALIZE_NUMPY))
    except TypeError as error:
        raise BadRow(
            f"{where} cannot be kept as JSON: {error} (images and audio are kept by address or path, not by their bytes)"
        ) from error
    except orjson.JSONDecodeError as error:
        raise BadRow(f"{where} is nested too deeply") from error
    if _is_deep(original):
        raise BadRow(f"{where} is nested more than {_DEPTH} levels deep")
    try:
        parts = read_parts(original)
    except BadMessage as error:
        raise BadRow(f"{where}{error.where} {error.problem}") from error
    if all(isinstance(part, Text) for part in parts) and not isinstance(original.get("content"), str | list):
        raise BadRow(f"{where} must have a text as content, found {kind_of(original.get('content'))}")
    return original


def _make_readable(messages: list[Message]) -> None:
    names = call_names(messages)
    for message in messages:
        if "original" in message:
            message["content"] = readable(parts_of(message), names)


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):  # NumPy's
        return value.tolist()
    raise TypeError(f"it holds {kind_of(value)}")


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(_DEPTH + 1):
        containers = [each for each in level if isinstance(each, dict | list)]
        level = [inner for each in containers for inner in (each.values() if isinstance(each, dict) else each)]
        if not level:
            return False
    return True


def unseen(item: Item) -> str | None:
    """Why a model that reads texts only cannot judge the item: the first image, audio, video or file in it. None if there is none."""
    for name, messages in (("prompt", item.prompt), ("response", item.completion)):
        for at, message in enumerate(messages):
            if "original" in message:
                for part in parts_of(message):
                    if isinstance(part, Media):
                        article = "an" if part.kind[0] in "aeiou" else "a"
                        return f"{name}[{at}]{part.where} is {article} {part.kind}, which models that annotate cannot see yet"
    return None


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


def _is_text_part(part: object) -> bool:
    """Whether this is a text among OpenAI's content parts."""
    kinds = ("text", "input_text", "output_text")
    return isinstance(part, dict) and part.get("type") in kinds and isinstance(part.get("text"), str)
