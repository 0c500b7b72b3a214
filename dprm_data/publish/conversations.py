"""Conversations in a publication: messages as they came, and back to tables.

In our tables a conversation is a column of roles and texts, with what else its messages hold in a column beside it. A publication of a run with
such messages has them whole, each as JSON (`datasets.Json`, which TRL recommends for calls of tools:
huggingface.co/docs/trl/dataset_formats); every other run is published as roles and texts.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from dprm_data.core import tables
from dprm_data.core.conversation import Messages
from dprm_data.core.errors import PublishError
from dprm_data.ingest.message_columns import MessageColumn, messages_of
from dprm_data.ingest.messages import BadRow, read_conversation
from dprm_data.publish.configs import CONVERSATIONS, Config, is_nested


def has_more_than_texts(items_file: Path) -> bool:
    """Whether a message of these items holds more than a text."""
    names = [tables.original(name) for name in CONVERSATIONS["default"]]
    with pq.ParquetFile(items_file) as file:
        if not set(names) <= set(file.schema_arrow.names):
            return False  # an older version's
        return any(
            column.null_count < len(column) for batch in file.iter_batches(columns=names) for column in batch.columns
        )


def whole_messages(table: pa.Table, config: Config) -> pa.Table:
    """The table with its conversations as lists of JSON texts."""
    for name in CONVERSATIONS.get(config, ()):
        if is_nested(table.schema.field(name).type):
            lists, beside = (table[each].combine_chunks() for each in (name, tables.original(name)))
            each_alone = pa.table({name: lists.flatten(), tables.original(name): beside.flatten()})
            ends = np.cumsum(lists.value_lengths().to_numpy())
            column = pa.ListArray.from_arrays(pa.array([0, *ends], pa.int32()), _as_came(each_alone, name))
        else:
            column = _as_came(table, name)
        table = table.set_column(table.column_names.index(name), name, column)
    return table


def _as_came(table: pa.Table, name: str) -> pa.Array:
    """The conversations in a column as lists of JSON texts."""
    rows = [
        [orjson.dumps(message.get("original", message)).decode() for message in messages]
        for messages in messages_of(table, name)
    ]
    return pa.array(rows, pa.list_(pa.string()))


def texts_and_originals(table: pa.Table, config: Config, path: str) -> pa.Table:
    """The table with its conversations as roles and texts, and columns with the messages as they came. path: for messages.

    Raises `PublishError` for a message that cannot be read.
    """
    for name in CONVERSATIONS.get(config, ()):
        kind = table.schema.field(name).type
        if not (pa.types.is_list(kind) and pa.types.is_string(kind.value_type)):
            continue  # roles and texts
        found = MessageColumn()
        for row in table[name].to_pylist():
            found.add(_read(row, name, path))
        table = table.set_column(table.column_names.index(name), name, found.array())
        table = table.append_column(tables.original(name), pa.array(found.originals, pa.string()))
    return table


def _read(row: list[str | None] | None, name: str, path: str) -> Messages:
    if not row or None in row:
        raise PublishError(f"{path}: {name}: a value is missing")
    try:
        return read_conversation([orjson.loads(message or "") for message in row], name)
    except (orjson.JSONDecodeError, BadRow) as error:
        raise PublishError(f"{path}: {error}") from error
