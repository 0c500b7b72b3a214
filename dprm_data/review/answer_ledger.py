"""The ledger of people's answers: who said what and when, one JSON row per line of `review/answers.jsonl`, only ever appended.

A row has the columns of `HUMAN` that are not null, with `recorded_at` (when it was written, UTC) and `source` (the Argilla workspace and dataset, or
the hash of a file). An answer that is changed, discarded or withdrawn is a new row. Everything else about people's answers can be computed again from here.

Rows are flushed to the disk before they count. A write that was cut off leaves a last line without an end: it is not read, and the next write removes it.
A run folder of an earlier version has no ledger: its table of human annotations becomes the first rows.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from dprm_data.core.errors import DprmError, ReviewError
from dprm_data.core.tables import ANNOTATIONS
from dprm_data.runs.folder import RunFolder

# origin: "argilla:<dataset id>", "file:<name>", or "pulled" with a published dataset.
HUMAN = pa.schema([*ANNOTATIONS, pa.field("origin", pa.string())], metadata=ANNOTATIONS.metadata)

Row = dict[str, Any]
_NEEDED = ("item_id", "annotator_id", "status", "origin")
_TEXTS = (*_NEEDED, "label", "rationale", "elicitation", "annotator_kind")


@dataclass(frozen=True)
class AnswerLedger:
    """The ledger of a run. `torn`: bytes of a write that was cut off, after the last whole row."""

    path: Path
    rows: list[Row]
    torn: int = 0

    @classmethod
    def of(cls, folder: RunFolder) -> AnswerLedger:
        """Read a run's ledger, or what an earlier version kept. Raises ReviewError for a row that cannot be read."""
        path = ledger_file(folder)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            content = b""
        except OSError as error:
            raise ReviewError(f"{path} cannot be read: {error.strerror or error}") from error
        end = content.rfind(b"\n") + 1
        if not end:
            return cls(path, list(_rows_before(folder)), len(content))
        rows = [_row(line, number, path) for number, line in enumerate(content[:end].splitlines(), 1)]
        return cls(path, rows, len(content) - end)

    def append(self, rows: Iterable[Row], source: Mapping[str, Any]) -> None:
        """Write rows to the disk, all or none. Raises DprmError where there is no room."""
        begun = self.path.is_file() and self.path.stat().st_size > self.torn
        now = datetime.now(UTC)
        new = [{**row, "recorded_at": now, "source": dict(source)} for row in rows]
        if not begun:
            new = [{**row, "recorded_at": now, "source": {"kind": "earlier version"}} for row in self.rows] + new
        if not new:
            return
        content = b"".join(map(_line, new))
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("r+b" if self.path.is_file() else "x+b") as file:
                size = file.seek(0, os.SEEK_END) - self.torn
                file.truncate(size)
                file.seek(size)
                try:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                except OSError:
                    with suppress(OSError):
                        file.truncate(size)
                    raise
            _flush_folder(self.path.parent)
        except OSError as error:
            raise DprmError(
                f"cannot write {self.path}: {error.strerror or error}",
                hint="Nothing was recorded. Check that the folder is writable and has space left, then run the command again.",
            ) from error


def ledger_file(folder: RunFolder) -> Path:
    return folder.path / "review" / "answers.jsonl"


def human_file(folder: RunFolder) -> Path:
    """The table of the current answers, computed from the ledger."""
    return folder.path / "tables" / "human_annotations.parquet"


def _rows_before(folder: RunFolder) -> Iterator[Row]:
    """What an earlier version kept of people's answers, or a pulled dataset brings in its annotations, the latest last."""
    path, annotations = human_file(folder), folder.table("annotations")
    try:
        if path.is_file():
            table = pq.read_table(path, schema=HUMAN)
        elif annotations.is_file():
            table = pq.read_table(annotations, filters=[("annotator_kind", "=", "human")], schema=ANNOTATIONS)
            table = table.append_column("origin", pa.array(["pulled"] * table.num_rows, pa.string())).cast(HUMAN)
        else:
            return
    except (pa.ArrowException, OSError) as error:
        raise ReviewError(f"people's answers in {path.parent} cannot be read: {error}") from error
    for row in sorted(table.to_pylist(), key=lambda row: row["created_at"] or datetime.min.replace(tzinfo=UTC)):
        yield {name: value for name, value in row.items() if value is not None}


def _line(row: Row) -> bytes:
    return orjson.dumps(row, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)


def _row(line: bytes, number: int, path: Path) -> Row:
    def unreadable(reason: str) -> ReviewError:
        return ReviewError(
            f"{path}: line {number}: {reason}",
            hint="The file was damaged or edited. Restore it from a copy, or remove this line to go on without its answer.",
        )

    try:
        row = orjson.loads(line)
        if not isinstance(row, dict):
            raise unreadable("not an object")
        if wrong := next((n for n in _TEXTS if not isinstance(row.get(n, None if n in _NEEDED else ""), str)), None):
            raise unreadable(f"{wrong!r} is missing or no text")
        for name in ("created_at", "recorded_at"):
            if name in row:
                row[name] = datetime.fromisoformat(row[name]).astimezone(UTC)
        pa.Table.from_pylist([row], schema=HUMAN)
    except (ValueError, TypeError, OverflowError, pa.ArrowException) as error:
        raise unreadable(str(error)) from error
    return row


def _flush_folder(folder: Path) -> None:
    """Make a new file's name durable (where folders can be flushed)."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
