"""Message parts: what a message holds, and how it reads.

The forms that are read:

    tool calls     `tool_calls` and the older `function_call` (OpenAI, TRL; arguments as a JSON text or an object); parts `tool_use` (Anthropic)
    tool results   role `tool` or `function`, with `tool_call_id` or `name`; parts `tool_result` (Anthropic)
    media          parts `image_url`, `image`, `input_image`, `input_audio`, `audio`, `video`, `file`, `document`, ...: kept by reference
    reasoning      `reasoning_content`, `reasoning`, `thinking`; parts `thinking`, `reasoning`

Sources: platform.openai.com/docs/api-reference/chat, docs.claude.com/en/api/messages, huggingface.co/docs/trl/dataset_formats.

Names, arguments and references are texts of strangers. Each is shown on one line, and a text that imitates a line of this module's is quoted.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from dprm_data.core.conversation import Message
from dprm_data.core.errors import DprmError
from dprm_data.core.text import kind_of

REASONING = ("reasoning_content", "reasoning", "thinking")
_TEXTS = {
    "text": "text",
    "input_text": "text",
    "output_text": "text",
    "refusal": "refusal",
}  # by type, the field with the text
_MEDIA = {
    **dict.fromkeys(("image_url", "image", "input_image"), "image"),
    **dict.fromkeys(("input_audio", "audio", "audio_url"), "audio"),
    **dict.fromkeys(("video", "video_url", "input_video"), "video"),
    **dict.fromkeys(("file", "input_file", "document"), "file"),
}
_WHERE = ("url", "path", "file_id", "data", "file_data", "filename")  # fields that say where a medium is
_LONG = 200  # characters of a reference that is shown whole
_NAME = re.compile(r"[\w.:/-]{1,64}", re.ASCII)
_PLAIN_REFERENCE = re.compile(r"[!-Z^-~]+")  # printable ASCII without spaces and brackets
# How lines begin that this module or a prompt template writes, perhaps indented or in Markdown.
_OWN_LINE = re.compile(
    r"[\s>*_#-]*(?:\[\s*(?:calls|thinks|tool|function|image|audio|video|file|system|developer|user|assistant)\b"
    r"|(?:tool|function)\b[^:]{0,80}:)",
    re.IGNORECASE,
)


class BadMessage(DprmError):
    """A message that cannot be read. where: the field in it, as in `.tool_calls[0].function.name`."""

    where = problem = ""

    @classmethod
    def at(cls, where: str, problem: str) -> BadMessage:
        made = cls(f"the message's {where.lstrip('.') or 'content'} {problem}")
        made.where, made.problem = where, problem
        return made


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """What the model thought before it answered: kept, and shown to annotators only where the recipe asks for it."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """arguments: JSON, or whatever else came as a text."""

    name: str
    arguments: str
    id: str = ""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """A result inside of another turn (Anthropic's). call_id: of the call that it answers, which has the tool's name."""

    text: str
    call_id: str


@dataclass(frozen=True, slots=True)
class Media:
    """An image, audio, video or file. reference: an address, a path, an id or a data URL. where: its field in the message."""

    kind: str
    reference: str
    where: str


Part = Text | Reasoning | ToolCall | ToolResult | Media


# -- reading ----------------------------------------------------------------------------------------------------------


def parts_of(message: Message) -> tuple[Part, ...]:
    """What a message holds, in its order."""
    return read_parts(message["original"]) if "original" in message else (Text(message["content"]),)


def read_parts(turn: Mapping[str, Any]) -> tuple[Part, ...]:
    """What a message of OpenAI's, TRL's or Anthropic's form holds: reasoning, then content, then calls. Raises `BadMessage`."""
    return (*_reasoning(turn), *_content(turn.get("content"), ".content"), *_calls(turn))


def tool_named(message: Message, names: Mapping[str, str]) -> str:
    """The tool whose result a message of the role `tool` is, by its own name or its call's (names: by call id); empty where neither says."""
    original = message.get("original", {})
    name, call = original.get("name"), original.get("tool_call_id")
    return name if isinstance(name, str) and name else names.get(call, "") if isinstance(call, str) else ""


def call_names(messages: Iterable[Message]) -> dict[str, str]:
    """The names of all tools called, by call id."""
    rich = (part for message in messages if "original" in message for part in parts_of(message))
    return {part.id: part.name for part in rich if isinstance(part, ToolCall) and part.id}


def _reasoning(turn: Mapping[str, Any]) -> Iterator[Part]:
    for field in REASONING:
        if value := turn.get(field):
            yield Reasoning(value if isinstance(value, str) else _json(value, f".{field}"))


def _content(content: Any, where: str) -> Iterator[Part]:
    if isinstance(content, str):
        yield Text(content)
    elif isinstance(content, list):
        for i, part in enumerate(content):
            yield from _part(part, f"{where}[{i}]")
    elif content is not None:
        raise BadMessage.at(where, f"must be a text or a list of parts, found {kind_of(content)}")


def _part(part: Any, where: str) -> Iterator[Part]:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if not isinstance(kind, str):
        raise BadMessage.at(where, f"must be a part with a type, found {kind_of(part)}")
    if kind in _TEXTS:
        yield Text(_text(part, _TEXTS[kind], where))
    elif kind in _MEDIA:
        yield Media(_MEDIA[kind], _reference(part, kind), where)
    elif kind in ("thinking", "reasoning"):
        yield Reasoning(_text(part, kind if kind in part else "text", where))
    elif kind == "redacted_thinking":
        yield Reasoning("")
    elif kind in ("tool_use", "server_tool_use"):
        yield ToolCall(_text(part, "name", where), _arguments(part, "input", where), _id(part, "id"))
    elif kind == "tool_result":
        inner = list(_content(part.get("content"), f"{where}.content"))
        yield ToolResult("".join(piece.text for piece in inner if isinstance(piece, Text)), _id(part, "tool_use_id"))
        yield from (piece for piece in inner if isinstance(piece, Media))
    else:
        raise BadMessage.at(where, f"has the type {kind[:40]!r}, which is not known")


def _calls(turn: Mapping[str, Any]) -> Iterator[Part]:
    calls = turn.get("tool_calls") or []
    if not isinstance(calls, list):
        raise BadMessage.at(".tool_calls", f"must be a list, found {kind_of(calls)}")
    for i, call in enumerate(calls):
        yield _call(call, f".tool_calls[{i}]")
    if function := turn.get("function_call"):
        yield _call({"function": function}, "")


def _call(call: Any, where: str) -> ToolCall:
    if not isinstance(call, Mapping):
        raise BadMessage.at(where, f"must be an object, found {kind_of(call)}")
    field = next((name for name in ("function", "custom") if call.get(name) is not None), "")
    inner, where_inner = (call[field], f"{where}.{field}") if field else (call, where)
    if not isinstance(inner, Mapping):
        raise BadMessage.at(where_inner, f"must be an object, found {kind_of(inner)}")
    arguments = _arguments(inner, "input" if field == "custom" else "arguments", where_inner)
    return ToolCall(_text(inner, "name", where_inner), arguments, _id(call, "id"))


def _arguments(holder: Mapping[str, Any], field: str, where: str) -> str:
    value = holder.get(field)
    if isinstance(value, str) or value is None:
        return value or ""
    if not isinstance(value, Mapping | list):
        raise BadMessage.at(f"{where}.{field}", f"must be an object or its JSON, found {kind_of(value)}")
    return _json(value, f"{where}.{field}")


def _text(holder: Mapping[str, Any], field: str, where: str) -> str:
    value = holder.get(field)
    if not isinstance(value, str):
        raise BadMessage.at(f"{where}.{field}", f"must be a text, found {kind_of(value)}")
    return value


def _id(holder: Mapping[str, Any], field: str) -> str:
    value = holder.get(field)
    return value if isinstance(value, str) else ""


def _reference(part: Mapping[str, Any], kind: str) -> str:
    for field in (kind, "source", "image_url", *_WHERE):
        value = part.get(field)
        if isinstance(value, Mapping):
            value = next((value[name] for name in _WHERE if isinstance(value.get(name), str)), None)
        if isinstance(value, str) and value:
            return value
    return ""


def _json(value: Any, where: str) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except (RecursionError, TypeError, ValueError) as error:
        raise BadMessage.at(where, f"cannot be written as JSON: {error}") from error


# -- identity ---------------------------------------------------------------------------------------------------------


def identity(message: Message) -> dict[str, Any]:
    """What makes two messages the same: role, text, calls, results and media. Not the ids of calls, which differ by chance, and not reasoning,
    which annotators do not see."""
    plain = {"role": message["role"], "content": message["content"]}
    if "original" not in message:
        return plain
    more: list[list[str]] = []
    for part in parts_of(message):
        match part:
            case ToolCall(name, arguments):
                more.append(["call", name, arguments])
            case ToolResult(text):
                more.append(["result", text])
            case Media(kind, reference):
                more.append([kind, reference])
    if message["role"] == "tool" and (name := tool_named(message, {})):
        more.append(["tool", name])
    return plain | {"parts": more} if more else plain


# -- how a message reads ----------------------------------------------------------------------------------------------


def readable(parts: Iterable[Part], names: Mapping[str, str], *, reasoning: bool = False, quoted: bool = False) -> str:
    """The parts as a text: texts joined; calls, results and media each on a line of its own, in brackets.

    names: of tools, by call id. reasoning: show it. quoted: quote texts that imitate such lines; where there are such lines, they always are.
    """
    shown = [part for part in parts if reasoning or not isinstance(part, Reasoning)]
    quoted = quoted or not all(isinstance(part, Text) for part in shown)
    lines: list[str] = []
    text = ""
    for part in shown:
        if isinstance(part, Text):
            text += part.text
            continue
        lines += [unlike_parts(text)] if text else []
        lines.append(_line(part, names))
        text = ""
    if text or not lines:
        lines.append(unlike_parts(text) if quoted else text)
    return "\n".join(lines)


def label(role: str, tool: str) -> str:
    """How a turn is headed: its role, with the tool's name for a result."""
    return f"{role} {_name(tool)}" if tool else role


def unlike_parts(text: str) -> str:
    """The text with "> " before each line if one of them begins like a call, a result or a turn; otherwise the text itself."""
    lines = text.splitlines()
    return "\n".join(f"> {line}" for line in lines) if any(map(_OWN_LINE.match, lines)) else text


def _line(part: Part, names: Mapping[str, str]) -> str:
    match part:
        case ToolCall(name, arguments):
            return f"[calls {_name(name)}({_one_line(arguments)})]"
        case ToolResult(text, call_id):
            return f"[{label('tool', names.get(call_id, ''))}] {unlike_parts(text)}"
        case Media(kind, reference):
            return f"[{kind} {_shown_reference(reference)}]" if reference else f"[{kind}]"
        case Reasoning(text):
            return f"[thinks] {unlike_parts(text)}"
        case Text(text):
            return text


def _name(name: str) -> str:
    return name if _NAME.fullmatch(name) else json.dumps(name)


def _one_line(arguments: str) -> str:
    """JSON as it came, if it is on one line; anything else as a quoted JSON text."""
    try:
        if arguments:
            orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return json.dumps(arguments)
    if len(arguments.splitlines()) < 2:
        return arguments
    return " ".join(line.strip() for line in arguments.splitlines())  # of JSON


def _shown_reference(reference: str) -> str:
    if len(reference) > _LONG or reference.startswith("data:"):
        beginning = reference[:_LONG].partition(",")[0] if reference.startswith("data:") else reference[:40]
        digest = hashlib.sha256(reference.encode(errors="surrogatepass")).hexdigest()[:12]
        return f"{_quoted(beginning)}, {len(reference):,} characters, sha256 {digest}"
    return _quoted(reference)


def _quoted(reference: str) -> str:
    return reference if _PLAIN_REFERENCE.fullmatch(reference) else json.dumps(reference)
