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
from typing import Annotated, Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import AwareDatetime, BaseModel, Field, ValidationError

from dprm_data.core.errors import DprmError, ReviewError
from dprm_data.core.tables import ANNOTATIONS
from dprm_data.runs.folder import RunFolder
from dprm_data.runs.raters import ratings_file

# origin: "argilla:<dataset id>", "file:<name>", or "pulled" with a published dataset.
HUMAN = pa.schema([*ANNOTATIONS, pa.field("origin", pa.string())], metadata=ANNOTATIONS.metadata)

Row = dict[str, Any]


class _Recorded(BaseModel):
    """A row as it is read from the ledger."""

    item_id: str
    annotator_id: str
    status: str
    origin: str
    annotator_kind: str = "human"
    elicitation: str | None = None
    label: str | None = None
    probs: list[float] | None = None
    weight: float | None = None
    replicate: Annotated[int, Field(ge=0, lt=1 << 31)] | None = None
    reason: str | None = None
    model: str | None = None
    prompt_version: str | None = None
    rationale: str | None = None
    call_key: str | None = None
    cost: float | None = None
    estimated_calls: Annotated[int, Field(ge=0, lt=1 << 31)] | None = None
    reasoning_tokens: Annotated[int, Field(ge=0, lt=1 << 63)] | None = None
    created_at: AwareDatetime | None = None


@dataclass(frozen=True)
class AnswerLedger:
    """The rows of a run's ledger. `torn`: bytes of a write that was cut off, after the last whole row."""

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

    def append(self, rows: Iterable[Row], source: Mapping[str, Any]) -> AnswerLedger:
        """Write rows to the disk, all or none; the ledger with them. Raises DprmError where there is no room."""
        begun = self.path.is_file() and self.path.stat().st_size > self.torn
        now = datetime.now(UTC)
        new = [{**row, "recorded_at": now, "source": dict(source)} for row in rows]
        if not begun:
            new = [{**row, "recorded_at": now, "source": {"kind": "earlier version"}} for row in self.rows] + new
        if not new:
            return self
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
        return AnswerLedger(self.path, [*(self.rows if begun else []), *new])


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
        elif (
            annotations.is_file() and not ratings_file(folder).is_file()
        ):  # else people's annotations are those ratings
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
    try:
        row = _Recorded.model_validate_json(line).model_dump(exclude_none=True)
        if "created_at" in row:
            row["created_at"] = row["created_at"].astimezone(UTC)
        return row
    except (ValidationError, OverflowError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else {"loc": ("created_at",), "msg": str(error)}
        raise ReviewError(
            f"{path}: line {number}: {' '.join(map(str, first['loc']))}: {first['msg']}",
            hint="The file was damaged or edited. Restore it from a copy, or remove this line to go on without its answer.",
        ) from error


def _flush_folder(folder: Path) -> None:
    """Make a new file's name durable (where folders can be flushed)."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
