"""Rows of a source that became no item: the duplicates, each with the row that it repeats, and the refused."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from dprm_data.core import tables

_BATCH = 10_000
_FIRST = tables.part(tables.DROPPED, ["source", "source_id", "reason", "item_id"])
_KEPT = ["item_id", "source", "source_id"]


class DroppedRows:
    """Collects them as they come, as Arrow data: about 100 bytes for each."""

    def __init__(self) -> None:
        self._rows: list[tuple[str, str | None, str, str | None]] = []
        self._batches: list[pa.RecordBatch] = []

    def add(self, source: str, source_id: str | None, reason: str, repeats: str | None = None) -> None:
        """The next one. repeats: the id of the item that it repeats."""
        self._rows.append((source, source_id, reason, repeats))
        if len(self._rows) >= _BATCH:
            self._pack()

    def _pack(self) -> None:
        columns = zip(*self._rows, strict=True)
        arrays = [pa.array(column, pa.string()) for column in columns]
        self._batches.append(pa.RecordBatch.from_arrays(arrays, schema=_FIRST))
        self._rows = []

    def table(self, items_file: Path) -> pa.Table:
        """All of them (`tables.DROPPED`), with the rows that were kept instead looked up in the items."""
        import pyarrow.compute as pc  # slow to import

        if self._rows:
            self._pack()
        dropped = pa.Table.from_batches(self._batches, schema=_FIRST)
        kept = _kept(pc.unique(dropped["item_id"]).drop_null(), items_file)
        places = pc.index_in(dropped["item_id"], value_set=kept["item_id"].combine_chunks(), skip_nulls=True)
        columns = [*dropped.columns, kept["source"].take(places), kept["source_id"].take(places)]
        return pa.table(columns, schema=tables.DROPPED)


def duplicates(dropped: pa.Table, most: int) -> list[tuple[str, str]]:
    """The sources of the first few duplicates, with those of what they repeat."""
    import pyarrow.compute as pc

    rows = dropped.filter(pc.is_valid(dropped["item_id"])).slice(0, most)
    return list(zip(rows["source"].to_pylist(), rows["kept_source"].to_pylist(), strict=True))


def write_dropped(dropped: pa.Table, path: Path) -> None:
    """Write the table; none if no row was dropped."""
    if dropped.num_rows:
        tables.write_parquet(path, tables.DROPPED, [dropped])
    else:
        path.unlink(missing_ok=True)


def _kept(item_ids: pa.Array, items_file: Path) -> pa.Table:
    """Where these items came first. Reads three columns, a row group at a time."""
    import pyarrow.compute as pc

    schema = tables.part(tables.ITEMS, _KEPT)
    parts = [schema.empty_table()]
    if len(item_ids):
        with pq.ParquetFile(items_file) as file:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, columns=_KEPT)
                parts.append(table.filter(pc.is_in(table["item_id"], value_set=item_ids)))
    return pa.concat_tables(parts)
