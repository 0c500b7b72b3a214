"""How an item's conversation is shown to an annotator: each turn as a role and a text.

A conversation of texts is shown as it is. Where there are calls of tools, their results or media, each has a line of its own in brackets
(`[calls get_weather({"city": "Paris"})]`), a result is headed by its tool (`[tool get_weather] 18 °C`), and a text that imitates such lines
is quoted.
"""

from __future__ import annotations

from dprm_data.core.conversation import Message, Messages
from dprm_data.core.message_parts import (
    Reasoning,
    Text,
    call_names,
    label,
    parts_of,
    readable,
    tool_named,
    unlike_parts,
)
from dprm_data.ingest.items import Item


def shown(item: Item, *, reasoning: bool = False) -> tuple[list[Message], str]:
    """The prompt's turns and the response as one text, with what the model thought if `reasoning`."""
    turns = item.prompt + item.completion
    if all("original" not in turn and turn["role"] != "tool" for turn in turns):
        return list(item.prompt), _as_text(item.completion)
    shown_turns = _shown(turns, reasoning)
    return shown_turns[: len(item.prompt)], _as_text(tuple(shown_turns[len(item.prompt) :]))


def _shown(turns: Messages, reasoning: bool) -> list[Message]:
    names = call_names(turns)
    quoted = any(turn["role"] == "tool" or _more_than_text(turn, reasoning) for turn in turns)
    found: list[Message] = []
    for turn in turns:
        tool = tool_named(turn, names) if turn["role"] == "tool" else ""
        if "original" in turn:
            text = readable(parts_of(turn), names, reasoning=reasoning, quoted=quoted)
        else:
            text = unlike_parts(turn["content"]) if quoted else turn["content"]
        found.append({"role": label(turn["role"], tool), "content": text})  # type: ignore[typeddict-item]
    return found


def _more_than_text(turn: Message, reasoning: bool) -> bool:
    hidden = () if reasoning else (Reasoning,)
    return "original" in turn and not all(isinstance(part, (Text, *hidden)) for part in parts_of(turn))


def _as_text(completion: Messages) -> str:
    """The response to be judged as one text; several turns with their roles."""
    if len(completion) == 1:
        return completion[0]["content"]
    return "\n".join(f"[{message['role']}] {message['content']}" for message in completion)
