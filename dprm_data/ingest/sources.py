"""Sources of rows, read row by row, never all at once.

Files (`.jsonl`, `.json`, `.csv`, `.tsv`, each also with `.gz`, and `.parquet`), folders of them, datasets on the Hugging Face Hub, and
Python objects. Each reader yields `(position, row)` or `(position, reason)`: a broken row is data, a broken source is a SourceError.
Positions are lines in text files (as an editor shows them) and rows elsewhere, both from 1.
"""

from __future__ import annotations

import csv
import gzip
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from dprm_data.core.errors import SourceError
from dprm_data.core.extras import extra
from dprm_data.core.resources import neighbour
from dprm_data.ingest.columns import detect
from dprm_data.ingest.items import Item, Refused
from dprm_data.ingest.messages import BadRow
from dprm_data.recipe.recipe import SourceConfig

if TYPE_CHECKING:
    import datasets

Row = Mapping[str, Any]
Rows = Iterator[tuple[int, Row | str]]  # a row's position, and the row or the reason why there is none

PEEK = 100  # rows read to find the columns
FIELD_LIMIT = 1 << 30  # characters of one CSV field; Python's own limit of 131,072 is too small for conversations


class ItemStream(Iterator[Item | Refused]):
    """The items of a source and its refused rows, as they are read. `rows` counts the rows read, `shapes` describes what was detected, by file."""

    def __init__(
        self, tables: Iterable[tuple[str, Rows]], config: SourceConfig | None, what: str, *, prompts: bool = False
    ) -> None:
        self.rows = 0
        self.shapes: dict[str, str] = {}
        self.times: dict[str, str] = {}  # columns of dates (date) and times (timestamp), which metadata hold as text
        self._columns = {str(field): column for field, column in config.columns.items()} if config else {}
        self._keep = config.keep if config else None
        self._id = config.id if config else None
        self._limit = config.limit if config else None
        self._prompts = prompts
        self._found = self._read(tables, what)

    def __next__(self) -> Item | Refused:
        return next(self._found)

    def _read(self, tables: Iterable[tuple[str, Rows]], what: str) -> Iterator[Item | Refused]:
        for name, rows in tables:
            left = None if self._limit is None else self._limit - self.rows
            if left == 0:
                break
            yield from self._of_table(name, itertools.islice(rows, left))
        if not self.rows:
            raise SourceError(f"{what} is empty: it has no rows", hint="Give a source with at least one row.")

    def _of_table(self, name: str, rows: Rows) -> Iterator[Item | Refused]:
        head: list[tuple[int, Row | str]] = []
        for position, row in rows:
            if isinstance(row, str):
                self.rows += 1
                yield Refused(f"{name}:{position}", row)
                continue
            head.append((position, row))
            if len(head) == PEEK:
                break
        if not head:
            return
        columns = list(dict.fromkeys(column for _, row in head if not isinstance(row, str) for column in row))
        shape = detect(columns, self._columns, self._keep, name, self._id, prompts=self._prompts)
        self.times |= _times(row for _, row in head if not isinstance(row, str))
        self.shapes[name] = shape.description
        for position, row in itertools.chain(head, rows):
            self.rows += 1
            source = f"{name}:{position}"
            if isinstance(row, str):
                yield Refused(source, row)
                continue
            try:
                yield from shape.prompt_items(row, source) if self._prompts else shape.items(row, source)
            except BadRow as reason:
                yield Refused(source, str(reason), shape.id_of(row))


def _times(rows: Iterable[Row]) -> dict[str, str]:
    """The columns that hold dates or times."""
    found = {}
    for row in rows:
        for column, value in row.items():
            if isinstance(value, date):
                found[column] = "timestamp" if isinstance(value, datetime) else "date"
    return found


def read_items(
    source: SourceConfig | datasets.Dataset | datasets.IterableDataset | Iterable[Mapping[str, Any]],
    *,
    base: Path,
    prompts: bool = False,
) -> ItemStream:
    """The items of a source: what a recipe's `source` names (paths relative to `base`), a `datasets` object, or any rows as dicts.
    prompts: for generation, the prompts too (`Shape.prompt_items`).

    Raises SourceError, at once or while reading, if the source is missing, empty, of an unknown kind, or has no columns that fit.
    """
    if not isinstance(source, SourceConfig):
        return ItemStream([("row", object_rows(source))], None, "the source", prompts=prompts)
    if source.path is not None:
        path = base / Path(source.path).expanduser()
        return ItemStream(file_rows(path), source, str(path), prompts=prompts)
    return ItemStream([_hub(source)], source, f"the dataset {source.dataset}", prompts=prompts)


# -- files ------------------------------------------------------------------------------------------------------------


def file_rows(path: Path) -> Iterator[tuple[str, Rows]]:
    """The rows of a file, or of every file in a folder, unchanged, under the names used in reports. Checked before the first row is read.

    Raises SourceError.
    """
    if path.is_file():
        if _reader(path) is None:
            raise SourceError(f"{path}: this kind of file cannot be read", hint=f"Supported: {', '.join(READERS)}.")
        found = [path]
    elif path.is_dir():
        found = _in_folder(path)
    else:
        raise SourceError(f"there is no file or folder {path}{neighbour(path, _readable)}", hint=_beside(path))
    folder = path if path.is_dir() else path.parent
    return ((file.relative_to(folder).as_posix(), _rows_of(file)) for file in found)


def _in_folder(folder: Path) -> list[Path]:
    within = [path for path in sorted(folder.rglob("*")) if not _hidden(path.relative_to(folder)) and path.is_file()]
    found = [path for path in within if _reader(path)]
    if not found:
        names = ", ".join(path.name for path in within[:10]) or "nothing"
        raise SourceError(
            f"the folder {folder} holds no file that can be read",
            hint=f"Found: {names}. Supported: {', '.join(READERS)}.",
        )
    return found


def _hidden(path: Path) -> bool:
    return any(part.startswith((".", "_")) for part in path.parts)


def _readable(path: Path) -> bool:
    return path.is_dir() or _reader(path) is not None


def _beside(path: Path) -> str:
    if not path.parent.is_dir():
        return f"The folder {path.parent} does not exist either; relative paths are relative to the recipe."
    names = sorted(file.name for file in path.parent.iterdir() if _reader(file))
    return f"The folder holds: {', '.join(names[:10]) or 'no file that can be read'}. Relative paths are relative to the recipe."


def _rows_of(path: Path) -> Rows:
    reader = _reader(path)
    assert reader is not None
    try:
        yield from reader(path)
    except (OSError, EOFError, pa.ArrowException, gzip.BadGzipFile) as error:
        raise SourceError(
            f"{path} cannot be read: {error}", hint="Check that the file is complete and that you may read it."
        ) from error


def _open(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def _json_lines(path: Path) -> Rows:
    with _open(path) as file:
        for number, line in enumerate(file, start=1):
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if line.isspace() or not line:
                continue
            if number == 1 and line.strip() == b"[":
                raise SourceError(f"{path}: not a line for each row, but one JSON list", hint="Name the file .json.")
            yield number, _json_row(line)


def _json_row(line: bytes) -> Row | str:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return _why_no_json(line, str(error))
    return _as_row(row)


def _why_no_json(line: bytes, error: str) -> str:
    try:
        text = line.decode()
    except UnicodeDecodeError as wrong:
        return f"not valid UTF-8 (byte {wrong.start + 1} of the line)"
    numbers = [word for word in ("NaN", "Infinity") if word in text]
    about = f"; {numbers[0]} is not JSON (write null)" if numbers else ""
    return f"not valid JSON: {error}{about}"


def _json(path: Path) -> Rows:
    """A JSON array of objects, read whole; a `.json` file that is not an array is read as JSON lines."""
    with _open(path) as file:
        begin = file.read(1024).removeprefix(b"\xef\xbb\xbf").lstrip()
    if not begin.startswith(b"["):
        yield from _json_lines(path)
        return
    with _open(path) as file:
        try:
            rows = orjson.loads(file.read().removeprefix(b"\xef\xbb\xbf"))
        except orjson.JSONDecodeError as error:
            raise SourceError(
                f"{path} is not valid JSON: {error}",
                hint="With one object per line (.jsonl) a broken row affects only itself.",
            ) from error
    yield from object_rows(rows)


def _csv(path: Path) -> Rows:
    delimiter = "\t" if ".tsv" in path.suffixes[-2:] else ","
    csv.field_size_limit(FIELD_LIMIT)
    with _open(path) as file:
        # Bytes that are not UTF-8 become half surrogates, so that only their own row is lost.
        lines = (line.decode("utf-8", "surrogateescape") for line in file)
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        try:
            header = [name.removeprefix("\ufeff") for name in next(reader, [])]
        except csv.Error as error:
            raise SourceError(f"{path}: the header cannot be read: {error}") from error
        _check_header(header, path)
        yield from _csv_rows(reader, header)


def _csv_rows(reader: Any, header: list[str]) -> Rows:
    while True:
        number = reader.line_num + 1
        try:
            values = next(reader, None)
        except csv.Error as error:
            unclosed = "a quote opened here is never closed" if "end of data" in str(error) else str(error)
            yield number, f"not valid CSV: {unclosed}"
            continue
        if values is None:
            return
        if not values:
            continue
        yield number, _csv_row(values, header)


def _csv_row(values: list[str], header: list[str]) -> Row | str:
    if len(values) != len(header):
        return f"has {len(values)} fields, but the header has {len(header)}"
    for name, value in zip(header, values, strict=True):
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            return f"{name} is not valid UTF-8"
    return dict(zip(header, values, strict=True))


def _check_header(header: list[str], path: Path) -> None:
    twice = sorted(name for name, count in Counter(header).items() if count > 1)
    if twice:
        raise SourceError(f"{path}: the header names {twice[0]!r} twice", hint="Rename one of the columns.")
    if len(header) == 1 and ";" in header[0]:
        raise SourceError(
            f"{path}: the header has one column, {header[0]!r}", hint="Separate the columns by commas, not semicolons."
        )


def _parquet(path: Path) -> Rows:
    with pq.ParquetFile(path) as file:
        number = 0
        for batch in file.iter_batches(batch_size=1024):
            for row in batch.to_pylist():
                number += 1
                yield number, row


READERS: dict[str, Callable[[Path], Rows]] = {
    ".jsonl": _json_lines,
    ".jsonl.gz": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json,
    ".json.gz": _json,
    ".csv": _csv,
    ".csv.gz": _csv,
    ".tsv": _csv,
    ".tsv.gz": _csv,
    ".parquet": _parquet,
}


def _reader(path: Path) -> Callable[[Path], Rows] | None:
    name = path.name.lower()
    return next((reader for suffix, reader in READERS.items() if name.endswith(suffix)), None)


# -- Python objects and the Hub ---------------------------------------------------------------------------------------


def object_rows(rows: Any) -> Rows:
    """The rows of a Python object: a `datasets` object, a list of dicts. Raises SourceError."""
    if isinstance(rows, Mapping):
        keys = ", ".join(map(str, list(rows)[:10]))
        raise SourceError(
            f"the source is a mapping ({keys}), not rows", hint="If it is a dataset with splits, give one split."
        )
    if isinstance(rows, str | bytes | Path) or not isinstance(rows, Iterable):
        raise SourceError(
            f"the source must be rows, found {type(rows).__name__}",
            hint="For a file, name it in the recipe: source: {path: ...}.",
        )
    return ((number, _as_row(row)) for number, row in enumerate(rows, start=1))


def _as_row(row: object) -> Row | str:
    return row if isinstance(row, Mapping) else f"a row must be an object with named fields, found {type(row).__name__}"


def _hub(config: SourceConfig) -> tuple[str, Rows]:
    with extra("hub", what="a dataset on the Hub"):
        from datasets import load_dataset  # imported late: it takes most of a second

    name = f"{config.dataset}/{config.split}"
    try:
        rows = load_dataset(
            config.dataset, name=config.config, split=config.split, revision=config.revision, streaming=True
        )
    except Exception as error:  # the library raises almost anything, from ValueError to requests' own errors
        raise _hub_error(config, error) from error
    return name, _hub_rows(rows, config)


def _hub_rows(rows: Iterable[Row], config: SourceConfig) -> Rows:
    found = iter(rows)
    for number in itertools.count(1):
        try:
            row = next(found)
        except StopIteration:
            return
        except Exception as error:
            raise _hub_error(config, error) from error
        yield number, _as_row(row)


def _hub_error(config: SourceConfig, error: Exception) -> SourceError:
    return SourceError(
        f"the dataset {config.dataset} (config {config.config or 'default'}, split {config.split}) cannot be read: "
        f"{type(error).__name__}: {error}",
        hint="Check the id, config and split, the network, and for a private dataset the environment variable HF_TOKEN.",
    )
