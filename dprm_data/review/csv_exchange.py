"""The same without Argilla: items out as a table, people's answers back from one.

`export` writes a row per item with empty columns `annotator`, `label`, `comment`. Whoever annotates fills them in, in a copy of their own or one row below
the other; `import` reads any number of such files. A row without a label is not answered yet. A table may come from another tool altogether, as long as
it has the columns item_id, annotator and label; `status` (submitted, draft, discarded) and `at` (ISO 8601) are read where they are there.

CSV is written as spreadsheets open it (UTF-8 with a mark at the beginning), and a text that a spreadsheet would take for a formula begins with an
apostrophe. A CSV that comes back with semicolons or tabs is understood.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow.parquet as pq

from dprm_data.core.errors import InputError
from dprm_data.core.tables import write_text
from dprm_data.labels.space import LabelSpace
from dprm_data.review.human_annotations import (
    DISCARDED,
    DRAFT,
    SUBMITTED,
    Answer,
    Stored,
    in_utc,
    merge,
    pseudonym,
    store,
)
from dprm_data.review.records import Record, panel_view, records
from dprm_data.review.selection import select
from dprm_data.review.sent_log import SentLog

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dprm_data.runs.run import Run

_STATUSES = {"": SUBMITTED, "submitted": SUBMITTED, "ok": SUBMITTED, "draft": DRAFT, "discarded": DISCARDED}
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_NEEDED = ("item_id", "annotator", "label")


@dataclass(frozen=True)
class Exported:
    """The file, its records, and how they were chosen."""

    file: str
    records: int
    purpose: str
    blind: bool


def export(
    run: Run,
    file: Path,
    *,
    purpose: str = "divided",
    count: int = 100,
    ids: Sequence[str] = (),
    seed: int = 0,
    blind: bool = False,
) -> Exported:
    """Write items for people to judge, as .csv or .jsonl. Raises InputError for another ending, or for items that cannot be chosen."""
    if file.suffix.lower() not in (".csv", ".jsonl"):
        raise InputError(f"{file}: what is it to be?", hint="Name it .csv or .jsonl.")
    panel = panel_view(run)
    item_ids = panel.fit.votes.item_ids
    chosen = select(panel.fit, purpose, count, seed=seed, ids=ids)
    register = SentLog.of(run.folder)
    register.add(chosen, item_ids)
    register.went({"kind": "file", "file": file.name, "blind": blind, "at": _now()}, ("file",))
    purposes = {item: why for item, (why, _) in register.chosen.items()}
    found = records(run, panel, [item_ids[int(row)] for row in chosen.rows], purposes)
    rows = [_row(record, run.space, panel.agent, blind) for record in found]
    if file.suffix.lower() == ".csv":
        write_text(file, "\ufeff" + _csv(rows))
    else:
        write_text(file, "".join(orjson.dumps(row).decode() + "\n" for row in rows))
    register.write(run.folder)
    return Exported(str(file), len(rows), purpose, blind)


def _row(record: Record, space: LabelSpace, agent: str, blind: bool) -> dict[str, Any]:
    *prompt, response = record.conversation
    row: dict[str, Any] = {
        "item_id": record.item_id,
        "prompt": "\n\n".join(f"{message['role']}: {message['content']}" for message in prompt),
        "response": response["content"],
        "labels": " | ".join(space.names),
        "annotator": "",
        "label": "",
        "comment": "",
    }
    if not blind:
        figures = {name: record.metadata.get(name) for name in ("expected_reward", "disagreement")}
        row |= {
            "panel_says": record.suggestion,
            "panel_probability": round(record.probability, 4),
            "panel": agent,
        } | figures
    return row


def _csv(rows: list[dict[str, Any]]) -> str:
    out = io.StringIO()
    if rows:
        writer = csv.DictWriter(out, fieldnames=list(rows[0]), lineterminator="\r\n")
        writer.writeheader()
        writer.writerows({name: _harmless(value) for name, value in row.items()} for row in rows)
    return out.getvalue()


def _harmless(value: Any) -> Any:
    """A text that no spreadsheet takes for a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def import_answers(run: Run, files: Sequence[Path]) -> list[tuple[str, Stored]]:
    """Bring people's answers from these files into the run, and merge them into its annotations. A file replaces what came from a file of its name before.

    Raises InputError with file, row and column where one cannot be read; then nothing is brought in.
    """
    known = set(pq.read_table(run.folder.needs("items"), columns=["item_id"])["item_id"].to_pylist())
    names = [file.name for file in files]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"two files are called {twice}", hint="A file is known by its name: give them different ones.")
    read = [(file, list(_answers(run, file, known))) for file in files]
    stored = [(file.name, store(run.folder, f"file:{file.name}", answers)) for file, answers in read]
    merge(run.folder)
    return stored


def _answers(run: Run, file: Path, known: set[str]) -> Iterator[Answer]:
    seen: dict[tuple[str, str], int] = {}
    changed = datetime.fromtimestamp(file.stat().st_mtime, UTC) if file.is_file() else datetime.now(UTC)
    for number, row in _rows(file):
        where = f"{file}: row {number}"
        label = str(row.get("label") or "").strip()
        status = _STATUSES.get(str(row.get("status") or "").strip().lower())
        if status is None:
            raise InputError(
                f"{where}, column 'status': found {row['status']!r} (allowed: submitted, draft, discarded)"
            )
        if not label and status == SUBMITTED:
            continue  # not answered yet
        item, who = str(row["item_id"] or "").strip(), str(row["annotator"] or "").strip()
        if item not in known:
            raise InputError(
                f"{where}, column 'item_id': {item!r} is no item of this run", hint="Is it another run's file?"
            )
        if not who:
            raise InputError(
                f"{where}, column 'annotator': empty",
                hint="Say who judged it: a name, or any word that is always the same.",
            )
        at = run.space.find(label) if label else None
        if label and at is None:
            raise InputError(f"{where}, column 'label': found {label!r} (allowed: {', '.join(run.space.names)})")
        if (item, who) in seen:
            raise InputError(
                f"{where}: {who!r} has judged {item} before, in row {seen[item, who]}", hint="Keep one of them."
            )
        seen[item, who] = number
        yield Answer(
            item_id=item,
            person=pseudonym(run.folder, f"name:{who.casefold()}"),
            label=None if at is None else run.space.names[at],
            status=status,
            comment=str(row.get("comment") or "").strip() or None,
            at=_time(row.get("at"), where) or changed,
        )


def _rows(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows with their numbers, as an editor or a spreadsheet counts them."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read: {error}", hint="It must be a .csv or .jsonl in UTF-8.") from error
    if file.suffix.lower() == ".jsonl":
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                yield number, _checked(_json(line, f"{file}: row {number}"), file)
        return
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    _checked(dict.fromkeys(reader.fieldnames or ()), file)
    for number, row in enumerate(reader, 2):
        yield number, row


def _json(line: str, where: str) -> dict[str, Any]:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise InputError(f"{where}: no JSON ({error})") from error
    if not isinstance(row, dict):
        raise InputError(f"{where}: must be an object")
    return row


def _checked(row: dict[str, Any], file: Path) -> dict[str, Any]:
    missing = [name for name in _NEEDED if name not in row]
    if missing:
        raise InputError(
            f"{file} has no column {missing[0]!r} (found: {', '.join(map(str, row)) or 'none'})",
            hint=f"Needed: {', '.join(_NEEDED)}; comment, status and at are read where they are there.",
        )
    return row


def _time(said: Any, where: str) -> datetime | None:
    if said in (None, ""):
        return None
    try:
        return in_utc(datetime.fromisoformat(str(said)))
    except ValueError as error:
        raise InputError(f"{where}, column 'at': {said!r} is no time (such as 2026-05-17T14:30:00+02:00)") from error


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
