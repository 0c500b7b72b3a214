"""Tables as people have them, opened for their columns' names and then read as far as needed, as Arrow tables.

CSV of any delimiter and encoding, Excel's .xlsx, Parquet, a dataset of the Hugging Face Hub (`hf://org/name?split=train`), and tables in Python.
"""

from __future__ import annotations

import io
import os
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from dprm_data.core.arrays import Ints
from dprm_data.core.errors import VotesError
from dprm_data.core.resources import neighbour
from dprm_data.ingest.column_values import is_text
from dprm_data.ingest.csv_check import checked_rows, looks_whole
from dprm_data.ingest.csv_dialect import DELIMITERS, as_utf8, checked_delimiter, delimiter_of
from dprm_data.ingest.excel import read_sheet
from dprm_data.ingest.faults import Faults
from dprm_data.ingest.table_objects import as_table, from_hub, hub_name
from dprm_data.ingest.vote_fields import FIELDS, names_of

TEXT_FILES = {".csv", ".tsv", ".txt"}
EXCEL_FILES = {".xlsx", ".xlsm"}
_OTHER_FILES = {".xls", ".xlsb", ".ods", ".numbers", ".json", ".jsonl", ".sav", ".dta"}
MISSING = (  # what pandas, R, spreadsheets and databases write for nothing
    *("", "NA", "N/A", "n/a", "#N/A", "#N/A N/A", "#NA", "<NA>", "null", "NULL", "Null", "None", "none"),
    *("nan", "NaN", "NAN", "-nan", "-NaN", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"),
)
SKIP = "To leave these rows out: --bad-rows skip (in Python: bad_rows='skip')."
_NAMES = {name for field in FIELDS for name in names_of(field)}  # by which a header is recognised


@dataclass(frozen=True)
class Cells:
    """How cells are read. For cells without a type: the columns of text, the columns of numbers (or text with numbers), and the texts that
    mean null (`missing`). few: columns with few values."""

    text: Collection[str] = ()
    numbers: Collection[str] = ()
    few: Collection[str] = ()
    missing: Collection[str] = MISSING


PLAIN = Cells()


class Table(ABC):
    """A table whose columns' names are known. source: what messages call it. untyped: whether its cells are only text."""

    untyped = False

    def __init__(self, source: Path | str, names: Sequence[str]) -> None:
        self.source = source
        self.names = list(names)
        self.notes: list[str] = []  # what was assumed, for people to check

    @abstractmethod
    def read(
        self, columns: Sequence[str], cells: Cells = PLAIN, faults: Faults | None = None
    ) -> tuple[pa.Table, Ints | None]:
        """These columns, read as `cells` says.

        Broken rows are added to `faults` and left out, and the numbers (from 0) of the others are returned too; without `faults` they are raised.
        """


def open_table(votes: Any, *, delimiter: str | None = None, sheet: str | None = None) -> Table:
    """Open a file, a dataset of the Hub, or a table in Python. Raises `VotesError` if it is not there or not readable."""
    if not isinstance(votes, str | os.PathLike):
        return _ArrowTable("the table", as_table(votes))
    if name := hub_name(os.fspath(votes)):
        return _ArrowTable(name, from_hub(name))
    path = Path(votes)
    kind = path.suffix.lower()
    if not path.is_file():
        hub = f" A dataset of the Hub is written hf://{path}." if len(path.parts) == 2 and not kind else ""
        raise VotesError(
            f"{path}: no such file{neighbour(path)}",
            hint=f"A table of votes is a CSV, Excel or Parquet file with item_id, annotator_id and label.{hub}",
        )
    if kind in _OTHER_FILES:
        raise VotesError(f"{path}: {kind} is not read", hint="Save it as .csv, .xlsx or .parquet.")
    for name, given, kinds in (("delimiter", delimiter, TEXT_FILES), ("sheet", sheet, EXCEL_FILES)):
        if given is not None and kind not in kinds:
            raise VotesError(f"{path}: {name} applies only to {', '.join(sorted(kinds))}", hint=f"Leave {name} out.")
    if kind in TEXT_FILES:
        return _CsvTable(path, delimiter)
    if kind in EXCEL_FILES:
        table, notes = read_sheet(path, sheet)
        return _ArrowTable(path, table, notes)
    return _ParquetTable(path)


@contextmanager
def in_words(path: Path, kind: str) -> Iterator[None]:
    """What Arrow cannot read becomes a `VotesError`."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeError, OverflowError) as error:
        raise VotesError(
            f"{path}: not readable as {kind}: {error}",
            hint="The suffix decides how a file is read: .csv, .tsv and .txt as text, .xlsx as Excel, anything else as Parquet.",
        ) from error


class _ArrowTable(Table):
    def __init__(self, source: Path | str, table: pa.Table, notes: Sequence[str] = ()) -> None:
        super().__init__(source, table.column_names)
        self._table = table
        self.notes += notes

    def read(
        self, columns: Sequence[str], cells: Cells = PLAIN, faults: Faults | None = None
    ) -> tuple[pa.Table, Ints | None]:
        return self._table.select(columns), None


class _ParquetTable(Table):
    def __init__(self, path: Path) -> None:
        self._path = path
        with in_words(path, "Parquet"):
            self._schema = pq.read_schema(path)
        super().__init__(path, self._schema.names)

    def read(
        self, columns: Sequence[str], cells: Cells = PLAIN, faults: Faults | None = None
    ) -> tuple[pa.Table, Ints | None]:
        # Few values stay dictionary-encoded, as on disk. Of many, one hash table over the whole column is faster than joining every row
        # group's dictionary.
        encoded = [name for name in cells.few if is_text(self._schema.field(name).type)]
        with in_words(self._path, "Parquet"):
            table = pq.read_table(self._path, columns=list(columns), read_dictionary=encoded)
        return table.select(columns), None


class _CsvTable(Table):
    """A text file. Fast where it is whole; a row that is not as the header says is found row by row."""

    untyped = True

    def __init__(self, path: Path, delimiter: str | None) -> None:
        self._path = path
        self._content: bytes | None = None
        with in_words(path, "CSV"):
            if decoded := as_utf8(path):
                self._content, encoding = decoded
            usual = "\t" if path.suffix.lower() == ".tsv" else ","
            with self._opened() as opened:
                self._delimiter = checked_delimiter(delimiter) if delimiter else delimiter_of(opened, usual, _NAMES)
            header = next(
                checked_rows(path, self._delimiter, faults := Faults(VotesError), content=self._content), None
            )
        faults.raise_any()
        if header is None:
            raise VotesError(f"{path}: not readable as CSV: the file is empty")
        super().__init__(path, header[1])
        if decoded:
            self.notes.append(f"{path} is read as {encoding}")
        if not delimiter and self._delimiter != usual:
            decimals = "; 0,5 is one half" if self._delimiter == ";" else ""
            self.notes.append(f"{path}: columns are separated by {DELIMITERS[self._delimiter]}{decimals}")

    def _opened(self) -> IO[bytes]:
        return self._path.open("rb") if self._content is None else io.BytesIO(self._content)

    def read(
        self, columns: Sequence[str], cells: Cells = PLAIN, faults: Faults | None = None
    ) -> tuple[pa.Table, Ints | None]:
        with self._opened() as opened, in_words(self._path, "CSV"):
            whole = looks_whole(opened, self._delimiter)
        if whole:
            parse = pacsv.ParseOptions(delimiter=self._delimiter, newlines_in_values=True)
            number = pa.string() if self._delimiter == ";" else pa.float64()  # decimals may be commas
            convert = pacsv.ConvertOptions(
                include_columns=list(columns),
                column_types=dict.fromkeys(cells.text, pa.string()) | dict.fromkeys(cells.numbers, number),
                strings_can_be_null=True,
                null_values=list(cells.missing),
            )
            content = self._path if self._content is None else pa.BufferReader(self._content)
            try:
                return pacsv.read_csv(content, parse_options=parse, convert_options=convert), None
            except pa.ArrowInvalid:
                pass
        return self._row_by_row(columns, cells.missing, faults)

    def _row_by_row(
        self, columns: Sequence[str], missing: Collection[str], faults: Faults | None
    ) -> tuple[pa.Table, Ints | None]:
        found = faults or Faults(VotesError)
        rows = checked_rows(self._path, self._delimiter, found, content=self._content)
        with in_words(self._path, "CSV"):
            header = next(rows, (0, []))[1]
            at = [header.index(name) for name in columns] if header else []
            read = [(number, [row[place] for place in at]) for number, row in rows]
        if faults is None or found.torn:
            found.raise_any(None if found.torn else SKIP)
        cells = list(zip(*(row for _, row in read), strict=True)) or [()] * len(columns)
        nulls = set(missing)
        arrays = [pa.array([None if cell in nulls else cell for cell in column], pa.string()) for column in cells]
        return pa.Table.from_arrays(arrays, names=list(columns)), np.array([n - 1 for n, _ in read], dtype=np.int64)
