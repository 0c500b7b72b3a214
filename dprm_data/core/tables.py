"""The Arrow schemas of all Parquet files that this project writes.

`SCHEMA_VERSION` is incremented when a column changes its meaning; every file has it in its metadata.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

SCHEMA_VERSION = 1

MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
FLOATS = pa.list_(pa.float32())


def _schema(*fields: tuple[str, pa.DataType]) -> pa.Schema:
    return pa.schema(
        [pa.field(name, kind) for name, kind in fields], metadata={"dprm_schema_version": str(SCHEMA_VERSION)}
    )


ITEMS = _schema(
    ("item_id", pa.string()),
    ("prompt", MESSAGES),
    ("completion", MESSAGES),
    ("group_id", pa.string()),  # the responses to one prompt
    ("role", pa.string()),  # chosen, rejected, or null where the source does not rank them
    ("source", pa.string()),  # file and row
    ("metadata", pa.string()),  # the row's other columns, JSON
)

PERSONAS = _schema(
    ("persona_id", pa.string()),
    ("name", pa.string()),
    ("description", pa.string()),
    ("attributes", pa.string()),  # JSON
    ("weight", pa.float64()),
)

ANNOTATIONS = _schema(
    ("item_id", pa.string()),
    ("annotator_id", pa.string()),
    ("annotator_kind", pa.string()),  # persona, human
    ("elicitation", pa.string()),  # choice, logprobs, distribution, vote
    ("label", pa.string()),  # the (most probable) label's name; null where there is none
    ("probs", FLOATS),  # over the labels, in the space's order; null if only a label was given
    ("weight", pa.float64()),
    ("replicate", pa.int32()),
    ("status", pa.string()),  # ok, or the kind of failure
    ("reason", pa.string()),
    ("model", pa.string()),
    ("prompt_version", pa.string()),
    ("rationale", pa.string()),
    ("call_key", pa.string()),  # of the last call that the label was read from
    ("cost", pa.float64()),  # dollars, all calls of this annotation; null if the price is not known
    ("estimated_calls", pa.int32()),  # calls whose tokens the server did not report: their cost is an upper bound
    ("created_at", pa.timestamp("us", tz="UTC")),
)

DISTRIBUTIONS = _schema(
    ("item_id", pa.string()),
    ("group_id", pa.string()),
    ("prompt", MESSAGES),
    ("completion", MESSAGES),
    ("label_distribution", FLOATS),  # what to train on
    ("votes", FLOATS),  # weighted label counts
    ("alpha", FLOATS),  # one per fitted beta (or Dirichlet component); empty where the family has none
    ("beta", FLOATS),
    ("evidence", pa.float32()),  # votes counted, in effective annotators
    ("expected_reward", pa.float32()),
    ("reward_std", pa.float32()),  # spread of the reward over the population
    ("reward_low", pa.float32()),  # 90 % credible interval of the expected reward
    ("reward_high", pa.float32()),
    ("entropy", pa.float32()),  # nats
    ("disagreement", pa.float32()),  # chance that two random people choose different labels
)

PREFERENCES = _schema(
    ("group_id", pa.string()),
    ("prompt", MESSAGES),
    ("chosen", MESSAGES),
    ("rejected", MESSAGES),
    ("margin", pa.float32()),  # expected reward of chosen minus that of rejected
    ("chosen_distribution", FLOATS),
    ("rejected_distribution", FLOATS),
)


def conformed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return the table with the schema's columns. Columns that an older version did not write are null."""
    for field in schema:
        if field.name not in table.column_names:
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    return table.select(schema.names).cast(schema)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary name to write to; the file is renamed to `path` when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def parquet_writer(path: Path, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    """Yield a Parquet writer; the file is renamed to `path` when it is complete."""
    with whole_file(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        yield writer


def write_parquet(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch | pa.Table]) -> int:
    """Write batches one by one. Returns the number of rows."""
    rows = 0
    with parquet_writer(path, schema) as writer:
        for batch in batches:
            writer.write(batch)
            rows += batch.num_rows
    return rows


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
