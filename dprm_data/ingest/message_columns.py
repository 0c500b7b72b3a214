"""Conversations as columns of a table: roles and texts (`tables.MESSAGES`), and beside them the messages that hold more, as they came."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import cast

import orjson
import pyarrow as pa

from dprm_data.core import tables
from dprm_data.core.conversation import Message, Messages


class MessageColumn:
    """One column, filled item by item: far cheaper than rows of nested Python objects."""

    def __init__(self) -> None:
        self.chars = 0
        self._offsets = [0]
        self._roles: list[str] = []
        self._contents: list[str] = []
        self.originals: list[str | None] = []

    def add(self, messages: Messages) -> None:
        roles = self._roles
        for message in messages:
            content = message["content"]
            roles.append(message["role"])
            self._contents.append(content)
            self.chars += len(content)
        self._offsets.append(len(roles))
        self.originals.append(dump_originals(messages))
        self.chars += len(self.originals[-1] or "")

    def array(self) -> pa.Array:
        fields = [pa.array(self._roles, pa.string()), pa.array(self._contents, pa.string())]
        structs = pa.StructArray.from_arrays(fields, fields=list(tables.MESSAGES.value_type))
        return pa.ListArray.from_arrays(pa.array(self._offsets, pa.int32()), structs, type=tables.MESSAGES)


def dump_originals(messages: Messages) -> str | None:
    """The messages as they came, where text does not say all: a JSON list with null for the others. None if text says all of them."""
    if not any("original" in message for message in messages):
        return None
    return orjson.dumps([message.get("original") for message in messages]).decode()


def messages_of(table: pa.Table, column: str) -> Iterator[Messages]:
    """The conversations in a column (`tables.MESSAGES`), with the messages as they came from the column beside it."""
    lists = table[column].combine_chunks()
    structs = lists.flatten()
    roles, contents = structs.field("role").to_pylist(), structs.field("content").to_pylist()
    messages = [
        cast(Message, {"role": role, "content": content}) for role, content in zip(roles, contents, strict=True)
    ]
    beside = tables.original(column)
    originals = table[beside].to_pylist() if beside in table.column_names else itertools.repeat(None)
    start = 0
    for length, kept in zip(lists.value_lengths().to_pylist(), originals, strict=False):
        found = messages[start : start + (length or 0)]
        if kept is not None:
            for message, original in zip(found, orjson.loads(kept), strict=True):
                if original is not None:
                    message["original"] = original
        yield tuple(found)
        start += length or 0
