"""Files of people's ratings, row by row: the formats of a source, and other tables (Excel, CSV with any delimiter and encoding)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dprm_data.core.errors import VotesError
from dprm_data.ingest.faults import Faults
from dprm_data.ingest.sources import Rows, file_rows
from dprm_data.ingest.table_files import EXCEL_FILES, TEXT_FILES, Cells, Table, open_table


def rating_rows(path: Path) -> tuple[Iterator[tuple[str, Rows]], list[str]]:
    """The rows of a file, or of every file in a folder, under the names used in reports; and the assumptions made to read them.

    Raises `SourceError` or `VotesError`.
    """
    kind = path.suffix.lower()
    if path.is_file() and path.stat().st_size and kind in TEXT_FILES | EXCEL_FILES:
        table = open_table(path)
        if table.notes or kind not in (
            ".csv",
            ".tsv",
        ):  # any other is a file as sources have them, with lines as places
            return iter([(path.name, _rows(table))]), table.notes
    return file_rows(path), []


def _rows(table: Table) -> Rows:
    """The rows with their positions (the header is row 1). Only an empty cell is missing: texts may say NA."""
    faults = Faults(VotesError)
    found, numbers = table.read(table.names, Cells(text=table.names, missing=("",)), faults)
    for number, fault in faults.by_row():
        yield number + 1, fault
    places = range(found.num_rows) if numbers is None else numbers.tolist()
    rows = (row for batch in found.to_batches(max_chunksize=5_000) for row in batch.to_pylist())
    for place, row in zip(places, rows, strict=True):
        yield place + 2, row
