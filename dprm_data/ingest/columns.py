"""Shapes: how the columns of a source become prompts and responses.

| shape | columns | items per row |
|---|---|---|
| prompt and response | `prompt`, `response` (or `completion`, `answer`, `output`) | 1 |
| preference pairs | `chosen`, `rejected`, and `prompt` unless both hold the whole conversation | 2 |
| several responses | `prompt`, `responses` (or `completions`: a list of texts, or of objects with a `response`, as in UltraFeedback) | as many as there are |
| two responses | `context` (or `prompt`), `response1`, `response2`, and `overall_preference` if one is preferred, as in HelpSteer3 | 2 |
| conversations | `messages` (or ShareGPT's `conversations`): the last assistant turn is the response, anything after it is dropped | 1 |
| prompts, where a recipe generates responses | `prompt`, or `messages` that end with another turn | none |

A text is plain or a transcript `Human: ... Assistant: ...`, as in HH-RLHF; a list of messages is accepted wherever a text is. Texts
are data: they are split and hashed, never rendered or evaluated.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from dprm_data.core.conversation import Messages
from dprm_data.core.errors import SourceError
from dprm_data.core.text import did_you_mean, kind_of
from dprm_data.ingest.items import Item, Role, ids_of
from dprm_data.ingest.known_datasets import kept_of_entry, opened, roles_of
from dprm_data.ingest.messages import (
    BadRow,
    at_last_reply,
    parting,
    prompt_messages,
    read_conversation,
    read_list,
    read_reply,
)

Field = Literal["prompt", "response", "responses", "chosen", "rejected", "messages", "system", "response1", "response2"]
Kind = Literal[
    "prompt and response", "preference pairs", "several responses", "conversations", "two responses", "prompts"
]

# Names by which a column is recognised. The first tuple takes precedence over the second; two names of one tuple are ambiguous.
NAMES: dict[Field, tuple[tuple[str, ...], ...]] = {
    "prompt": (("prompt",), ("question", "instruction", "query", "input")),
    "response": (("response", "completion"), ("answer", "output")),
    "responses": (("responses",), ("completions",)),
    "chosen": (("chosen",),),
    "rejected": (("rejected",),),
    "messages": (("messages",), ("conversations", "conversation")),
    "system": (("system",), ("system_prompt",)),
    "response1": (("response1", "response_1"),),
    "response2": (("response2", "response_2"),),
}
ANSWERS: dict[Kind, tuple[Field, ...]] = {
    "preference pairs": ("chosen", "rejected"),
    "several responses": ("responses",),
    "conversations": ("messages",),
    "prompt and response": ("response",),
    "two responses": ("response1", "response2"),
}


# Names by which the column with the source's own ids is recognised; the first that is there.
IDS = ("id", "uid", "uuid", "guid", "example_id", "sample_id", "row_id", "record_id", "item_id", "prompt_id", "question_id", "conversation_id", "idx", "index")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Shape:
    """The columns of a source by field. `kept` names the columns that become metadata (None: all others); `id` is that of the source's own ids."""

    kind: Kind
    columns: dict[Field, str]
    kept: tuple[str, ...] | None
    description: str
    id: str | None = None

    def id_of(self, row: Mapping[str, Any]) -> str | None:
        """The source's own id of a row, as text."""
        value = row.get(self.id) if self.id else None
        return None if value is None or value == "" else value if isinstance(value, str) else str(value)

    def items(self, row: Mapping[str, Any], source: str) -> list[Item]:
        """The items of one row. Raises BadRow."""
        metadata = self._metadata(row)
        if self.kind == "prompt and response":
            reply, whole = read_reply(self._value(row, "response"), self.columns["response"])
            return [self._item(row, *self._split(row, reply, whole), None, source, metadata)]
        if self.kind == "preference pairs":
            return self._pair(row, source, metadata)
        if self.kind == "several responses":
            return self._several(row, source, metadata)
        if self.kind == "two responses":
            replies = [read_reply(self._value(row, field), self.columns[field]) for field in ANSWERS[self.kind]]
            ranked = zip(replies, roles_of(row), strict=True)
            return [self._item(row, *self._split(row, *reply), role, source, metadata) for reply, role in ranked]
        prompt, completion = at_last_reply(read_conversation(self._value(row, "messages"), self.columns["messages"]))
        return [self._item(row, prompt, completion, None, source, metadata)]

    def _several(self, row: Mapping[str, Any], source: str, metadata: dict[str, Any]) -> list[Item]:
        found = []
        for i, entry in enumerate(read_list(self._value(row, "responses"), self.columns["responses"])):
            where = f"{self.columns['responses']}[{i}]"
            response, more = opened(entry, where)
            halves = self._split(row, *read_reply(response, where))
            found.append(self._item(row, *halves, None, source, kept_of_entry(more, self.kept) | metadata))
        return found

    def prompt_items(self, row: Mapping[str, Any], source: str) -> list[Item]:
        """The responses that the row has, if any, and after them its prompt: an item without a response, whose id is its group's. Raises BadRow."""
        given = self.items(row, source) if self._has_response(row) else []
        prompt = given[0].prompt if given else self._prompt_alone(row)
        if prompt[-1]["role"] == "assistant":
            raise BadRow("the prompt ends with an assistant's turn: there is nothing to answer")
        try:
            _, group_id = ids_of(prompt, ())
        except TypeError as error:
            raise BadRow("a text holds half a surrogate pair, which is no valid Unicode") from error
        return [*given, Item(group_id, prompt, (), group_id, None, source, self._metadata(row), self.id_of(row))]

    def _prompt_alone(self, row: Mapping[str, Any]) -> Messages:
        if self.kind == "conversations":
            prompt = read_conversation(self._value(row, "messages"), self.columns["messages"])
        else:
            prompt = self._prompt(row)
        if _blank(prompt):
            raise BadRow("the prompt is empty")
        return self._with_system(row, prompt)

    def _has_response(self, row: Mapping[str, Any]) -> bool:
        if self.kind == "conversations":
            turns = read_conversation(self._value(row, "messages"), self.columns["messages"])
            return turns[-1]["role"] == "assistant"
        return any(not _is_nothing(row.get(self.columns[field])) for field in ANSWERS.get(self.kind, ()))

    def _pair(self, row: Mapping[str, Any], source: str, metadata: dict[str, Any]) -> list[Item]:
        chosen, chosen_whole = read_reply(self._value(row, "chosen"), self.columns["chosen"])
        rejected, rejected_whole = read_reply(self._value(row, "rejected"), self.columns["rejected"])
        if chosen_whole != rejected_whole:
            raise BadRow("one of chosen and rejected is a whole conversation, the other is not")
        if chosen_whole:
            self._check_begins(row, chosen)
            self._check_begins(row, rejected)
            at = parting(chosen, rejected)
            halves = [(chosen[:at], chosen[at:]), (rejected[:at], rejected[at:])]
        else:
            prompt = self._prompt(row)
            halves = [(prompt, chosen), (prompt, rejected)]
        roles: tuple[Role, Role] = ("chosen", "rejected")
        return [self._item(row, *half, role, source, metadata) for half, role in zip(halves, roles, strict=True)]

    def _split(self, row: Mapping[str, Any], reply: Messages, whole: bool) -> tuple[Messages, Messages]:
        if not whole:
            return self._prompt(row), reply
        self._check_begins(row, reply)
        return at_last_reply(reply)

    def _prompt(self, row: Mapping[str, Any]) -> Messages:
        column = self.columns.get("prompt")
        if column is None:
            raise BadRow(f"{' and '.join(ANSWERS[self.kind])} hold no prompt, and there is no prompt column")
        return prompt_messages(self._value(row, "prompt"), column)

    def _check_begins(self, row: Mapping[str, Any], conversation: Messages) -> None:
        """Check that a whole conversation begins with the row's prompt, if it has one."""
        if "prompt" not in self.columns:
            return
        prompt = [m["content"].strip() for m in self._prompt(row) if m["role"] != "system"]
        begin = [m["content"].strip() for m in conversation if m["role"] != "system"][: len(prompt)]
        text = self._value(row, "prompt")  # one that reads like a transcript may be one turn of the conversation
        if begin != prompt and not (isinstance(text, str) and begin[:1] == [text.strip()]):
            raise BadRow("the conversation does not begin with the row's prompt")

    def _item(
        self,
        row: Mapping[str, Any],
        prompt: Messages,
        completion: Messages,
        role: Role | None,
        source: str,
        metadata: dict[str, Any],
    ) -> Item:
        if _blank(prompt):
            raise BadRow("the prompt is empty")
        if _blank(completion):
            raise BadRow("the response is empty")
        prompt = self._with_system(row, prompt)
        try:
            item_id, group_id = ids_of(prompt, completion)
        except TypeError as error:
            raise BadRow("a text holds half a surrogate pair, which is no valid Unicode") from error
        return Item(item_id, prompt, completion, group_id, role, source, metadata, self.id_of(row))

    def _with_system(self, row: Mapping[str, Any], prompt: Messages) -> Messages:
        column = self.columns.get("system")
        text = row.get(column) if column else None
        if text is None or text == "" or prompt[0]["role"] == "system":
            return prompt
        if not isinstance(text, str):
            raise BadRow(f"{column} must be a text, found {kind_of(text)}")
        return ({"role": "system", "content": text}, *prompt)

    def _value(self, row: Mapping[str, Any], field: Field) -> Any:
        column = self.columns[field]
        value = row.get(column)
        if value is None:
            raise BadRow(f"{column} is missing" if column not in row else f"{column} is null")
        return value

    def _metadata(self, row: Mapping[str, Any]) -> dict[str, Any]:
        if self.kept is not None:
            return {column: row[column] for column in self.kept if column in row}
        used = self.columns.values()
        return {column: value for column, value in row.items() if column not in used}


def _is_nothing(value: object) -> bool:
    """Whether a column says nothing in this row."""
    return value is None or (
        isinstance(value, str | list | tuple) and not (value.strip() if isinstance(value, str) else value)
    )


def _blank(messages: Messages) -> bool:
    """Whether there is no message, or the last one is empty. (A tool may give nothing.)"""
    last = messages[-1]["content"] if messages else ""
    return (not last or last.isspace()) and not (messages and messages[-1]["role"] == "tool")


def detect(
    columns: Sequence[str],
    mapping: Mapping[str, str],
    keep: Sequence[str] | None,
    source: str,
    id_column: str | None = None,
    *,
    prompts: bool = False,
) -> Shape:
    """Detect the shape of a source from its columns. `mapping` (our field to the source's column) and `id_column` take precedence.
    prompts: it needs no responses.

    Raises SourceError if no shape fits or several do; it lists the columns and says what to do.
    """
    mapped = _mapped(columns, mapping, source)
    for column in keep or ():
        _check_column("keep", column, columns, source)
    kind = _mapped_kind(mapped, source) or _detected_kind(columns, source, prompts=prompts)
    fields: dict[Field, str] = {}
    for field in ANSWERS.get(kind, ()):
        fields[field] = _required(field, mapped, columns, source)
    if kind == "conversations":
        if "prompt" in mapped:
            raise SourceError(f"{source}: columns maps both messages and prompt, but messages hold the prompt already")
    elif kind == "preference pairs":
        prompt = mapped.get("prompt") or _by_name("prompt", columns, source)
        fields |= {"prompt": prompt} if prompt else {}
    elif kind == "two responses" and "context" in columns and not (mapped.get("prompt") or _has("prompt", columns)):
        fields["prompt"] = "context"
    else:
        fields["prompt"] = _required("prompt", mapped, columns, source)
    system = mapped.get("system") or _by_name("system", columns, source)
    fields |= {"system": system} if system else {}
    if id_column is not None:
        _check_column("id", id_column, columns, source)
    else:
        id_column = next((name for name in IDS if name in columns and name not in fields.values()), None)
    description = _description(kind, fields, columns, keep, id_column)
    return Shape(kind, fields, tuple(keep) if keep is not None else None, description, id_column)


def _mapped(columns: Sequence[str], mapping: Mapping[str, str], source: str) -> dict[Field, str]:
    if "completion" in mapping and "response" in mapping:
        raise SourceError(f"{source}: columns maps both response and completion, which mean the same")
    mapped: dict[Field, str] = {}
    for field, column in mapping.items():
        _check_column(f"columns: {field}", column, columns, source)
        mapped["response" if field == "completion" else cast(Field, field)] = column
    return mapped


def _check_column(setting: str, column: str, columns: Sequence[str], source: str) -> None:
    if column in columns:
        return
    raise SourceError(
        f"{source}: {setting}: there is no column {column!r}{did_you_mean(column, columns)}", hint=_found(columns)
    )


def _mapped_kind(mapped: dict[Field, str], source: str) -> Kind | None:
    kinds = [kind for kind, fields in ANSWERS.items() if any(field in mapped for field in fields)]
    if len(kinds) > 1:
        raise SourceError(
            f"{source}: columns maps fields of {_either(kinds)} at once", hint="Map the fields of one shape only."
        )
    return kinds[0] if kinds else None


def _detected_kind(columns: Sequence[str], source: str, *, prompts: bool = False) -> Kind:
    kinds = [kind for kind, fields in ANSWERS.items() if all(_has(field, columns) for field in fields)]
    if "preference pairs" in kinds and "conversations" in kinds:
        kinds.remove("conversations")  # many preference datasets repeat the chosen conversation as messages
    if len(kinds) > 1 and "two responses" in kinds:
        kinds.remove("two responses")
    if len(kinds) > 1 and "prompt and response" in kinds and not _has("response", columns, tiers=1):
        kinds.remove("prompt and response")  # an answer or output beside something clearer is a reference answer
    if prompts and not [kind for kind in kinds if kind != "prompt and response" or _has("response", columns, tiers=1)]:
        return "prompts"  # an answer or output beside a prompt is a reference answer, too
    if len(kinds) > 1:
        raise SourceError(
            f"{source}: the columns can be read as {_either(kinds)}",
            hint=f"Say which by columns, for instance {_example(kinds[0])}. {_found(columns)}",
        )
    if not kinds:
        raise SourceError(
            f"{source}: no column holds a response",
            hint=f"{_found(columns)} Expected prompt and response, prompt with chosen and rejected, prompt and responses, "
            "or messages; or say which is which, for instance source: {columns: {prompt: question, response: reply}}, or with chosen and rejected. For prompts alone, "
            "let the recipe make responses: generate: {models: [...]} (dprm init --from prompts).",
        )
    return kinds[0]


def _has(field: Field, columns: Sequence[str], tiers: int = 2) -> bool:
    return any(name in columns for names in NAMES[field][:tiers] for name in names)


def _by_name(field: Field, columns: Sequence[str], source: str) -> str | None:
    for names in NAMES[field]:
        present = [name for name in names if name in columns]
        if len(present) > 1:
            raise SourceError(
                f"{source}: {_either(present)} could be the {field}",
                hint=f"Say which: columns: {{{field}: {present[0]}}}. {_found(columns)}",
            )
        if present:
            return present[0]
    return None


def _required(field: Field, mapped: dict[Field, str], columns: Sequence[str], source: str) -> str:
    column = mapped.get(field) or _by_name(field, columns, source)
    if column is None:
        raise SourceError(
            f"{source}: no column holds the {field}",
            hint=f"{_found(columns)} Say which it is: columns: {{{field}: <column>}}.",
        )
    return column


def _found(columns: Sequence[str]) -> str:
    return f"Columns found: {', '.join(map(str, columns)) or 'none'}."


def _either(names: Iterable[str]) -> str:
    return " or ".join(names)


def _example(kind: Kind) -> str:
    return "columns: {" + ", ".join(f"{field}: <column>" for field in ANSWERS[kind]) + "}"


def _description(
    kind: Kind, fields: dict[Field, str], columns: Sequence[str], keep: Sequence[str] | None, id_column: str | None
) -> str:
    found = [(field, fields[field]) for field in NAMES if field in fields]
    roles = [f"{column} as {field}" if column != field else field for field, column in found]
    kept = keep if keep is not None else [column for column in columns if column not in fields.values()]
    ids = f", ids: {id_column}" if id_column else ""
    return f"{kind} ({', '.join(roles)}){ids}" + (f", metadata: {', '.join(kept)}" if kept else "")
