"""A table of a run, part by part: what is read of it, and what is made of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq

from dprm_data.core import tables

_ROWS = 5_000


@dataclass(frozen=True)
class FlatTable:
    """A table to write: its rows, part by part with the same columns, and what a reader should know."""

    rows: Iterator[pa.Table]
    notes: list[str] = field(default_factory=list)

    def only(self, *names: str) -> FlatTable:
        """The table with these columns."""
        return FlatTable((part.select(list(names)) for part in self.rows), self.notes)


def parts(file: pq.ParquetFile, schema: pa.Schema) -> Iterator[pa.Table]:
    """The rows of a table, with the schema's columns, the same number at a time whatever the row groups are; the last part may be shorter."""
    there = [name for name in schema.names if name in file.schema_arrow.names]
    waiting = schema.empty_table()
    for batch in file.iter_batches(batch_size=_ROWS, columns=there):
        waiting = pa.concat_tables([waiting, tables.conformed(pa.Table.from_batches([batch]), schema)])
        while waiting.num_rows >= _ROWS:
            yield waiting.slice(0, _ROWS)
            waiting = waiting.slice(_ROWS)
    if waiting.num_rows:
        yield waiting
