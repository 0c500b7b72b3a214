"""The texts of items, for a fit that learns from them: from a run's items, or from a table of votes that has them in columns of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from dprm_data.core.arrays import Floats, Ints
from dprm_data.core.errors import InputError, VotesError
from dprm_data.ingest.column_values import decoded, is_text
from dprm_data.ingest.columns import NAMES
from dprm_data.ingest.faults import Faults
from dprm_data.ingest.table_files import Cells
from dprm_data.ingest.vote_columns import ids_column
from dprm_data.ingest.vote_fields import column_of
from dprm_data.ingest.vote_tables import VoteSettings, mapping_of, open_votes
from dprm_data.ingest.votes import item_codes

# Columns of a table of votes that hold what was rated, by the names that sources have for them and a few more.
PROMPTS = (*NAMES["prompt"][0], *NAMES["prompt"][1], "context")
RESPONSES = (*NAMES["response"][0], *NAMES["response"][1], "text")
GROUP = "group_id"
COLUMN = "column:"


@dataclass(frozen=True)
class ItemTexts:
    """The texts of N items: `fields` by name, each N texts (empty where an item has none). groups: items with the same one belong to one prompt; None if that is not
    known. embeddings (N, D): given in place of texts, rows of NaN where an item has none."""

    fields: dict[str, list[str]]
    groups: list[str] | None = None
    embeddings: Floats | None = None

    def __len__(self) -> int:
        return len(self.embeddings) if self.embeddings is not None else len(next(iter(self.fields.values()), []))

    def present(self) -> NDArray[np.bool_]:
        """Which items (N,) have a text, or an embedding."""
        if self.embeddings is not None:
            return np.asarray(np.isfinite(self.embeddings).all(axis=1))
        found = np.zeros(len(self), dtype=bool)
        for texts in self.fields.values():
            found |= [bool(text.strip()) for text in texts]
        return found

    def keys(self) -> Ints:
        """A hash (N,) of every item's prompt or, where that is not known, of its text: 64 bits."""
        if self.groups is not None:
            contents = [group.encode() for group in self.groups]
        elif self.embeddings is not None:
            contents = [row.tobytes() for row in self.embeddings]
        else:
            contents = ["\0".join(texts).encode() for texts in zip(*self.fields.values(), strict=True)]
        digests = b"".join(hashlib.blake2b(content, digest_size=8).digest() for content in contents)
        return np.frombuffer(digests, dtype=np.int64)

    def varied(self) -> dict[str, list[str]]:
        """The fields in which items differ."""
        return {name: texts for name, texts in self.fields.items() if len(set(texts)) > 1}


def texts_of_items(items: pa.Table, how: str) -> ItemTexts:
    """The texts of a run's items (`tables.ITEMS`), or with how = `column:NAME` their embeddings, from that column of the source. Raises `InputError`."""
    groups = [str(group) for group in items[GROUP].to_pylist()]
    if how.startswith(COLUMN):
        name = how.removeprefix(COLUMN)
        kept = (orjson.loads(metadata) if metadata else {} for metadata in items["metadata"].to_pylist())
        return ItemTexts({}, groups, _embeddings([row.get(name) for row in kept], name, "the items"))
    fields = {"prompt": "prompt", "response": "completion"}
    return ItemTexts({name: _joined(items[column]) for name, column in fields.items()}, groups)


def read_item_texts(
    votes: Any, item_ids: Sequence[str], how: str, **settings: Unpack[VoteSettings]
) -> ItemTexts | None:
    """The texts of these items in a table of votes, each from the first row of its item; None if the table has none.

    votes and settings: as `read_votes` takes them. how: `column:NAME` for embeddings in that column, anything else for texts. Raises `InputError` or `VotesError`.
    """
    table = open_votes(votes, settings)
    ids = column_of("item_id", table.names, mapping_of(settings))
    named = how.removeprefix(COLUMN) if how.startswith(COLUMN) else ""
    if named and named not in table.names:
        raise InputError(
            f"text: {how}: {table.source} has no column {named!r} (found: {', '.join(map(str, table.names))})"
        )
    columns = (
        [named] if named else [name for name in (_first(PROMPTS, table.names), _first(RESPONSES, table.names)) if name]
    )
    if ids is None or not columns:
        return None
    grouped = [GROUP] if GROUP in table.names else []
    wanted = [ids, *columns, *grouped]
    read, _ = table.read(wanted, Cells(text=wanted, missing=()), Faults(VotesError))
    _, code = item_codes(ids_column(read[ids], "item_id", table.source, Faults(VotesError)), list(item_ids))
    known = np.flatnonzero(code >= 0)[::-1]
    first = np.full(len(item_ids), -1)
    first[code[known]] = known  # of several rows with an item the last assignment stays: its first row
    rows = read.take(pa.array(first, mask=first < 0))
    groups = _strings(rows[GROUP]) if grouped else None
    if named:
        return ItemTexts({}, groups, _embeddings(_values(rows[named]), named, table.source))
    return ItemTexts({name: _strings(rows[name]) for name in columns}, groups)


def _first(names: Collection[str], columns: Sequence[str]) -> str | None:
    return next((name for name in names if name in columns), None)


def _values(column: pa.ChunkedArray) -> list[Any]:
    found: list[Any] = decoded(column).to_pylist() if is_text(column.type) else column.to_pylist()
    return found


def _strings(column: pa.ChunkedArray) -> list[str]:
    return ["" if value is None else value if isinstance(value, str) else str(value) for value in _values(column)]


def _joined(conversations: pa.ChunkedArray) -> list[str]:
    """The messages of every item as one text."""
    return ["\n".join(message["content"] or "" for message in each or ()) for each in conversations.to_pylist()]


def _embeddings(values: list[Any], name: str, source: object) -> Floats:
    """Lists of numbers, or JSON that says them, as a matrix; rows of NaN where there is none. Raises `InputError`."""
    try:
        rows = [orjson.loads(value) if isinstance(value, str) and value.strip() else value or None for value in values]
        sizes = {len(row) for row in rows if row is not None}
        if len(sizes) != 1:
            raise ValueError(f"lists of {', '.join(map(str, sorted(sizes)))} numbers" if sizes else "nothing")
        size = sizes.pop()
        return np.array([[np.nan] * size if row is None else row for row in rows], dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"text: {COLUMN}{name}: {source}: found {error} (allowed: a list of numbers for every item, all of one length)"
        ) from error
