"""Tables of people's answers, CSV (with commas, semicolons or tabs) and JSONL: taken whole, or refused with every fault by row and column.

A table is about items (item_id, label), or about pairs of responses (first_item_id, second_item_id, preference).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from dprm_data.core.errors import InputError
from dprm_data.ingest.csv_check import checked_rows, other_encoding
from dprm_data.ingest.faults import Faults
from dprm_data.labels.space import LabelSpace
from dprm_data.review.cells import restored
from dprm_data.review.human_annotations import DISCARDED, DRAFT, SUBMITTED, Answer, answer_time, named_person
from dprm_data.review.shown_pairs import ShownPair
from dprm_data.runs.folder import RunFolder

NEEDED = ("item_id", "annotator", "label")
PAIRS_NEED = ("first_item_id", "second_item_id", "annotator", "preference")
OPTIONAL = ("comment", "status", "at", "steps")
_STATUSES = {"": SUBMITTED, "submitted": SUBMITTED, "ok": SUBMITTED, "draft": DRAFT, "discarded": DISCARDED}

Rows = Iterator[
    tuple[int, dict[str, str]]
]  # a row's number, as an editor or a spreadsheet counts, and its cells by column


def read_answers(
    folder: RunFolder, space: LabelSpace, files: Sequence[Path], items: Mapping[str, str], steps: int
) -> list[list[Answer]]:
    """The answers in each file, to these items (with their prompts' ids). steps: of a comparison whose table does not say it. Raises InputError with all faults of all files."""
    faults = Faults()
    read = [_AnswerTable(folder, space, file, items, faults, steps).answers() for file in files]
    faults.raise_any()
    return read


class _AnswerTable:
    def __init__(
        self,
        folder: RunFolder,
        space: LabelSpace,
        file: Path,
        items: Mapping[str, str],
        faults: Faults,
        steps: int,
    ) -> None:
        self.folder, self.space, self.file, self.items, self.faults = folder, space, file, items, faults
        self.steps = steps
        self.needed: tuple[str, ...] = NEEDED  # columns
        self.seen: dict[tuple[str, str], int] = {}  # item and annotator to the row of their answer

    def answers(self) -> list[Answer]:
        try:
            if not self.file.is_file():
                raise FileNotFoundError("no such file")
            written = self._written()
            rows = self._json_rows() if self.file.suffix.lower() == ".jsonl" else self._csv_rows()
            found = [self._answer(number, row, written) for number, row in rows]
        except OSError as error:
            raise InputError(
                f"{self.file} cannot be read: {error}", hint="It must be a .csv or .jsonl in UTF-8."
            ) from error
        return [answer for answer in found if answer is not None]

    def _written(self) -> datetime:
        """The time of the file; never one to come."""
        now = datetime.now(UTC)
        try:
            return min(datetime.fromtimestamp(self.file.stat().st_mtime, UTC), now)
        except (OverflowError, ValueError):
            return now

    def _answer(self, number: int, row: dict[str, str], written: datetime) -> Answer | None:
        """The answer in a row; None if it is not answered yet, or has faults."""
        faults_before = self.faults.count
        *about, who, label = (row[name].strip() for name in self.needed)
        status = _STATUSES.get(row.get("status", "").strip().lower())
        if not label and status == SUBMITTED:
            return None
        if status is None:
            self._fault(number, "status", f"found {row['status']!r} (allowed: submitted, draft, discarded)")
        for name, item in zip(self.needed, about, strict=False):
            if item not in self.items:
                self._fault(number, name, f"{item!r} is not an item of this run", "Check that it is this run's file.")
        pair = self._pair(number, about, row) if len(about) > 1 else None
        item, space = (pair.key, pair.space) if pair else (about[0], self.space)
        if not who:
            self._fault(number, "annotator", "empty", "Give every annotator a name or code, always the same.")
        index = space.find((pair.label(label) or label) if pair else label) if label else None
        if label and index is None:
            self._fault(number, self.needed[-1], f"found {label!r} (allowed: {', '.join(space.names)})")
        at = self._time(number, row.get("at", "").strip())
        before = self.seen.setdefault((item, who.casefold()), number)
        if who and before != number:
            self.faults.add(
                self.file, number, f"{who!r} has judged {item} before, in row {before}", "Keep one row for each answer."
            )
        if self.faults.count > faults_before or status is None:
            return None
        return Answer(
            item_id=item,
            person=named_person(self.folder, who),
            label=None if index is None else space.names[index],
            status=status,
            comment=row.get("comment", "").strip() or None,
            at=at or written,
        )

    def _pair(self, number: int, about: Sequence[str], row: dict[str, str]) -> ShownPair | None:
        """The pair that a row is about; None if there is none."""
        first, second = about
        if first == second or self.items.get(first) != self.items.get(second):
            self._fault(number, "second_item_id", "is not another response to the same prompt")
        steps = row.get("steps", "").strip() or str(self.steps)
        pair = ShownPair.of(f"{first}:{second}:{steps}")
        if pair is None:
            self._fault(number, "steps", f"found {steps!r} (allowed: 2, 3, 7)")
        return pair

    def _time(self, number: int, text: str) -> datetime | None:
        if not text:
            return None
        try:
            time = answer_time(datetime.fromisoformat(text))
        except ValueError:
            time = None
        if time is None:
            self._fault(number, "at", f"{text!r} is no time from 1900 until now (such as 2026-05-17T14:30:00+02:00)")
        return time

    def _fault(self, row: int, column: str, text: str, hint: str | None = None) -> None:
        self.faults.add(self.file, row, text, hint, column=column)

    # -- rows -----------------------------------------------------------------------------------------------------------

    def _csv_rows(self) -> Rows:
        with self.file.open("rb") as opened:
            begin = opened.readline(1 << 20)
        delimiter = max(",;\t", key=begin.decode("utf-8", "replace").count)
        header: list[str] = []
        for number, cells in checked_rows(self.file, delimiter, self.faults, spreadsheet=True):
            if not header:
                header = cells
                if not self._has_columns(header):
                    return
                continue
            self._check_swallowed(number, header, cells, delimiter)
            yield number, dict(zip(header, map(restored, cells), strict=True))
        if not header and not self.faults.count:
            self._has_columns(header)

    def _check_swallowed(self, number: int, header: list[str], cells: list[str], delimiter: str) -> None:
        """A forgotten quote may be closed by a later one; then rows of the table are lines of a cell."""
        for name, cell in zip(header, cells, strict=True):
            for line in cell.splitlines()[1:] if "\n" in cell or "\r" in cell else ():
                if any(part.strip(' "') in self.items for part in line.split(delimiter)[: len(header)]):
                    self._fault(number, name, "holds other rows of the table: a quote opened here is closed too late")
                    return

    def _json_rows(self) -> Rows:
        if name := other_encoding(self.file):
            self.faults.add(self.file, 0, f"the file is {name}", "Save it as UTF-8.")
            return
        with self.file.open("rb") as opened:
            for number, line in enumerate(opened, 1):
                content = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                if content.strip() and (row := self._json_row(number, content)) is not None:
                    yield number, row

    def _json_row(self, number: int, line: bytes) -> dict[str, str] | None:
        if b"\0" in line or b"\\u0000" in line:
            self.faults.add(self.file, number, "found a NUL byte", "Save it as UTF-8.")
            return None
        try:
            row = orjson.loads(line)
            names = [name for name, _ in json.loads(line, object_pairs_hook=list)] if isinstance(row, dict) else []
        except (ValueError, RecursionError) as error:
            self.faults.add(self.file, number, f"not JSON ({error})")
            return None
        if not isinstance(row, dict):
            self.faults.add(self.file, number, "must be an object")
            return None
        if twice := next((name for name in names if names.count(name) > 1), None):
            self.faults.add(self.file, number, f"names {twice!r} twice")
            return None
        self.needed = _needed(row)
        if missing := next((name for name in self.needed if name not in row), None):
            self.faults.add(self.file, number, f"has no {missing!r}", f"Needed: {', '.join(self.needed)}.")
            return None
        read = (*self.needed, *OPTIONAL)
        if wrong := next((name for name in read if not _is_plain(row.get(name))), None):
            self._fault(number, wrong, f"found {str(row[wrong])[:100]} (allowed: text or a number)")
            return None
        return {name: "" if row.get(name) is None else str(row[name]) for name in read}

    def _has_columns(self, header: list[str]) -> bool:
        self.needed = _needed(header)
        missing = [name for name in self.needed if name not in header]
        if missing:
            self.faults.add(
                self.file,
                0,
                f"no column {missing[0]!r} (found: {', '.join(header) or 'none'})",
                f"Needed: {', '.join(self.needed)}; comment, status and at are optional.",
            )
        return not missing


def _needed(columns: Collection[str]) -> tuple[str, ...]:
    """The columns that a table needs: of one about pairs, where it has one of those."""
    return PAIRS_NEED if "first_item_id" in columns and "item_id" not in columns else NEEDED


def _is_plain(value: Any) -> bool:
    return value is None or (isinstance(value, str | int | float) and not isinstance(value, bool))
