"""Reading tables of people's answers: CSV (commas, semicolons or tabs) and JSONL, taken whole or refused with every fault by row and column."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from dprm_data.core.errors import InputError
from dprm_data.ingest.csv_check import checked_rows, other_encoding
from dprm_data.ingest.faults import Faults
from dprm_data.labels.space import LabelSpace
from dprm_data.review.cells import restored
from dprm_data.review.human_annotations import DISCARDED, DRAFT, SUBMITTED, Answer, in_utc
from dprm_data.runs.folder import RunFolder
from dprm_data.review.pseudonyms import pseudonym

NEEDED = ("item_id", "annotator", "label")
_STATUSES = {"": SUBMITTED, "submitted": SUBMITTED, "ok": SUBMITTED, "draft": DRAFT, "discarded": DISCARDED}
_EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)
Row = dict[str, str]


def read_answers(folder: RunFolder, space: LabelSpace, files: Collection[Path], items: Collection[str]) -> list[list[Answer]]:
    """The answers in each file. Raises InputError with all faults of all files."""
    faults = Faults()
    read = [_answers(folder, space, file, items, faults) for file in files]
    faults.raise_any()
    return read


def _answers(folder: RunFolder, space: LabelSpace, file: Path, items: Collection[str], faults: Faults) -> list[Answer]:
    if not file.is_file():
        raise InputError(f"{file} cannot be read: no such file", hint="It must be a .csv or .jsonl in UTF-8.")
    now = datetime.now(UTC)
    written = _time_of(file, now)
    seen: dict[tuple[str, str], int] = {}
    answers = []
    try:
        for number, row in _json_rows(file, faults) if file.suffix.lower() == ".jsonl" else _csv_rows(file, items, faults):
            count = faults.count
            label, who, item = row["label"].strip(), row["annotator"].strip(), row["item_id"].strip()
            status = _STATUSES.get(row.get("status", "").strip().lower())
            if status == SUBMITTED and not label:
                continue  # not answered yet
            _check(file, number, row, items, space, faults)
            at = _time(row.get("at", "").strip(), now)
            if at is None:
                faults.add(file, number, f"{row['at']!r} is not a time from 1900 until now (such as 2026-05-17T14:30:00+02:00)", column="at")
            if who and (item, who.casefold()) in seen:
                before = seen[item, who.casefold()]
                faults.add(file, number, f"{who!r} has judged {item} before, in row {before}", "Keep one of the two rows.")
            seen.setdefault((item, who.casefold()), number)
            if faults.count == count:
                index = space.find(label) if label else None
                answers.append(
                    Answer(
                        item_id=item,
                        person=pseudonym(folder, f"name:{who.casefold()}"),
                        label=None if index is None else space.names[index],
                        status=status or SUBMITTED,
                        comment=row.get("comment", "").strip() or None,
                        at=at or written,
                    )
                )
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error}", hint="It must be a .csv or .jsonl in UTF-8.") from error
    return answers
