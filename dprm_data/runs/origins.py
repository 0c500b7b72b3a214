"""Where a run's items come from: the file and row of the source, its other columns with their types, and the model that made the response."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dprm_data.core.json_columns import JsonColumns
from dprm_data.runs.folder import RunFolder

_TEXT_ONLY = (".csv", ".tsv", ".csv.gz", ".tsv.gz")  # files that know no types


def metadata_columns(folder: RunFolder) -> JsonColumns:
    """The columns of the items' metadata. Reads them once, a row group at a time."""
    said = folder.read_manifest().get("source")
    source: dict[str, Any] = said if isinstance(said, dict) else {}
    times = source.get("times") if isinstance(source.get("times"), dict) else None
    files = source.get("shapes") if isinstance(source.get("shapes"), dict) else None
    from_text = bool(files) and all(str(name).lower().endswith(_TEXT_ONLY) for name in files or ())
    return JsonColumns.of(_metadata(folder), times, from_text=from_text)


def _metadata(folder: RunFolder) -> Iterator[str | None]:
    with pq.ParquetFile(folder.needs("items")) as file:
        for batch in file.iter_batches(columns=["metadata"], batch_size=10_000):
            yield from batch.column("metadata").to_pylist()


def generators(folder: RunFolder) -> pa.ChunkedArray:
    """The model that made each item's response, (N,); null where the source has it, or an older version made the run."""
    path = folder.needs("items")
    if "generator" not in pq.read_schema(path).names:
        return pa.chunked_array([pa.nulls(pq.read_metadata(path).num_rows, pa.string())])
    return pq.read_table(path, columns=["generator"])["generator"]


def file_and_row(source: pa.ChunkedArray) -> tuple[pa.Array, pa.Array]:
    """The file and the row (from 1) of sources such as `pairs.jsonl:17`; the row is a line in files of text."""
    parts = pc.extract_regex(source.combine_chunks(), r"(?s)^(?P<file>.*):(?P<row>\d{1,18})$")
    file, row = parts.field("file"), parts.field("row")
    known = pc.is_valid(parts)
    return pc.if_else(known, file, source.combine_chunks()), pc.if_else(known, row, None).cast(pa.int64())
