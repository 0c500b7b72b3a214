"""Sheets of Excel workbooks (.xlsx) as Arrow tables, by openpyxl (extra `excel`)."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from dprm_data.core.errors import VotesError
from dprm_data.core.extras import extra

_LIMIT = 1 << 30  # bytes of an unpacked workbook; a small file may claim terabytes


def read_sheet(path: Path, sheet: str | None = None) -> tuple[pa.Table, list[str]]:
    """The first sheet, or the one of this name, whose first row that is not empty names the columns; and what was assumed.

    Formulas count by the values that were saved with them. Raises `VotesError`.
    """
    with extra("excel", what=f"{path}: reading .xlsx", otherwise="Or save the sheet as CSV."):
        from openpyxl import load_workbook
    try:
        with zipfile.ZipFile(path) as packed:
            if sum(part.file_size for part in packed.infolist()) > _LIMIT:
                raise VotesError(f"{path}: too large for a workbook", hint="Save the sheet as CSV.")
        book = load_workbook(path, read_only=True, data_only=True)
        try:
            names = [each.title for each in book.worksheets]
            chosen = _chosen(path, names, sheet)
            rows = [row for row in book[chosen].iter_rows(values_only=True) if any(cell is not None for cell in row)]
        finally:
            book.close()
    except VotesError:
        raise
    except Exception as error:  # the library raises almost anything for a damaged workbook
        raise VotesError(
            f"{path}: not readable as an Excel workbook: {error}", hint="Save it again as .xlsx, or as CSV."
        ) from error
    if not rows:
        raise VotesError(f"{path}: the sheet {chosen!r} is empty")
    others = ", ".join(repr(name) for name in names if name != chosen)
    notes = [f"{path}: the sheet {chosen!r} is read, not {others}: --sheet NAME reads another"] if others else []
    return _table(path, rows), notes if sheet is None else []


def _chosen(path: Path, names: Sequence[str], sheet: str | None) -> str:
    if sheet is not None and sheet not in names:
        raise VotesError(f"{path}: no sheet {sheet!r} (found: {', '.join(names)})", hint="Name one with --sheet.")
    if not names:
        raise VotesError(f"{path}: the workbook has no sheet")
    return names[0] if sheet is None else sheet


def _table(path: Path, rows: Sequence[Sequence[Any]]) -> pa.Table:
    header, width = rows[0], max(map(len, rows))
    columns = {}
    for at in range(width):
        cells = [row[at] if at < len(row) else None for row in rows[1:]]
        name = header[at] if at < len(header) else None
        if name is None and all(cell is None for cell in cells):
            continue
        if name is None:
            raise VotesError(f"{path}: column {at + 1} has no name in the first row", hint="Name it, or empty it.")
        if str(name) in columns:
            raise VotesError(f"{path}: the column {str(name)!r} is there twice", hint="Rename or remove one of them.")
        columns[str(name)] = typed(cells)
    return pa.table(columns)


def typed(cells: Sequence[Any]) -> pa.Array:
    """Cells as a column of one type, of text if they have several."""
    kinds = {type(cell) for cell in cells if cell is not None}
    if kinds <= {int, float} or kinds == {bool}:
        try:
            return pa.array([_number(cell) for cell in cells])
        except (pa.ArrowException, OverflowError):
            pass
    return pa.array([None if cell is None else str(_number(cell)) for cell in cells], pa.string())


def _number(cell: Any) -> Any:
    """A whole number without the decimals that spreadsheets and missing values give it."""
    return int(cell) if isinstance(cell, float) and cell.is_integer() else cell
