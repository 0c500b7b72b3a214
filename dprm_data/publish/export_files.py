"""A table as one file of another program: CSV, an Excel sheet, JSON lines or Parquet, written whole or not at all, part by part.

In CSV and Excel a conversation is text, a list or object JSON, and a text that begins like a formula is defused (`review.cells`).
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import orjson
import pyarrow as pa

from dprm_data.core.conversation import text_of
from dprm_data.core.errors import InputError
from dprm_data.core.extras import extra
from dprm_data.core.tables import MESSAGES, parquet_writer, whole_file
from dprm_data.review.cells import defused

Kind = Literal["csv", "xlsx", "jsonl", "parquet"]

_SHEET_ROWS = 1_048_576  # Excel's limits: support.microsoft.com, "Excel specifications and limits"
_SHEET_COLUMNS = 16_384
_CELL = 32_767  # characters
_EXACT = 10**15  # Excel keeps 15 digits of a number
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")  # which XML cannot hold


@dataclass
class Written:
    """rows and columns of the file; cut: cells whose text was longer than Excel takes."""

    rows: int
    columns: list[str]
    cut: int = 0


def write_table_file(parts: Iterator[pa.Table], path: Path, kind: Kind) -> Written:
    """Write the parts, which all have the same columns. Raises `InputError` if there is no row, Excel cannot hold them, or the file cannot be written."""
    first = next(parts, None)
    if first is None:
        raise InputError(
            "there is nothing to write: the table has no rows", hint="See what the run has: dprm show RUN."
        )
    written = Written(0, first.column_names)
    try:
        _WRITERS[kind](_counted(first, parts, written), path, written)
    except OSError as error:
        if error.errno is None:  # Arrow's own: what was read is damaged
            raise
        raise InputError(
            f"cannot write {path}: {error.strerror}",
            hint="Name a file in a folder that may be written to: --output FILE.",
        ) from error
    return written


def _counted(first: pa.Table, rest: Iterator[pa.Table], written: Written) -> Iterator[pa.Table]:
    written.rows = first.num_rows
    yield first
    for part in rest:
        written.rows += part.num_rows
        yield part


def _parquet(parts: Iterator[pa.Table], path: Path, written: Written) -> None:
    first = next(parts)
    with parquet_writer(path, first.schema) as writer:
        writer.write(first)
        for part in parts:
            writer.write(part)


def _jsonl(parts: Iterator[pa.Table], path: Path, written: Written) -> None:
    with whole_file(path) as temporary, temporary.open("wb") as file:
        for part in parts:
            for row in zip(*_columns(part), strict=True):
                file.write(orjson.dumps(dict(zip(part.column_names, row, strict=True)), default=str) + b"\n")


def _csv(parts: Iterator[pa.Table], path: Path, written: Written) -> None:
    # The mark at the beginning tells Excel that this is UTF-8.
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file, lineterminator="\r\n")
        writer.writerow(map(defused, written.columns))
        for part in parts:
            columns = [_cells(part, i, _csv_cell) for i in range(part.num_columns)]
            writer.writerows(zip(*columns, strict=True))


def _xlsx(parts: Iterator[pa.Table], path: Path, written: Written) -> None:
    with extra("excel", what="writing an Excel file", otherwise="Or choose --to csv, which Excel opens."):
        from openpyxl import Workbook  # type: ignore[import-untyped, unused-ignore]
    if len(written.columns) > _SHEET_COLUMNS:
        raise InputError(f"an Excel sheet holds {_SHEET_COLUMNS:,} columns", hint="Choose --long, or --to csv.")
    book = Workbook(write_only=True)  # rows go to a temporary file as they come
    sheet = book.create_sheet("dprm")
    sheet.freeze_panes = "A2"
    sheet.append([_excel_text(name, written) for name in written.columns])
    for part in parts:
        if written.rows >= _SHEET_ROWS:
            raise InputError(f"an Excel sheet holds {_SHEET_ROWS:,} rows", hint="Choose --to csv or --to parquet.")
        columns = [_cells(part, i, lambda value: _excel_cell(value, written)) for i in range(part.num_columns)]
        for row in zip(*columns, strict=True):
            sheet.append(row)
    with whole_file(path) as temporary:
        book.save(temporary)


_WRITERS: dict[Kind, Callable[[Iterator[pa.Table], Path, Written], None]] = {
    "csv": _csv,
    "xlsx": _xlsx,
    "jsonl": _jsonl,
    "parquet": _parquet,
}


def _columns(table: pa.Table) -> list[list[Any]]:
    return [_values(column) for column in table.columns]


def _values(column: pa.ChunkedArray) -> list[Any]:
    """Python values; single precision as the shortest number that means the same."""
    if not pa.types.is_float32(column.type):
        values: list[Any] = column.to_pylist()
        return values
    return [None if value is None else float(str(np.float32(value))) for value in column.to_pylist()]


def _cells(table: pa.Table, i: int, cell: Callable[[Any], Any]) -> list[Any]:
    values = _values(table.column(i))
    if table.schema.field(i).type == MESSAGES:
        values = [None if messages is None else text_of(messages) for messages in values]
    return [cell(value) for value in values]


def _csv_cell(value: Any) -> Any:
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return defused(_text(value))


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return value.isoformat() if isinstance(value, date) else orjson.dumps(value, default=str).decode()


def _excel_cell(value: Any, written: Written) -> Any:
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if abs(value) < _EXACT else str(value)
    if isinstance(value, date) and value.year >= 1900:
        return value.astimezone(UTC).replace(tzinfo=None) if isinstance(value, datetime) and value.tzinfo else value
    return _excel_text(_text(value), written)


def _excel_text(text: str, written: Written) -> str:
    text = defused(_CONTROL.sub("\N{REPLACEMENT CHARACTER}", text))
    if len(text) <= _CELL:
        return text
    written.cut += 1
    return text[: _CELL - 1] + "…"
