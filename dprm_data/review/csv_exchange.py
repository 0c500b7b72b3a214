"""Review without Argilla: items, or pairs of responses, out as a table, people's answers back from one.

`export` writes a row per item with empty columns `annotator`, `label`, `comment`, or a row per pair with `annotator`, `preference`, `comment`. Annotators fill them in, each in a copy of their own or one row below
the other; `import` reads any number of such files (`answer_tables`). A row without a label is not answered yet. A table may come from another tool, if
it has the columns item_id, annotator and label (of pairs: first_item_id, second_item_id, annotator and preference); `status` (submitted, draft, discarded) and `at` (ISO 8601) are optional.

CSV is written as spreadsheets open it (UTF-8 with a byte order mark), without cells that they would evaluate (`cells`).
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow.parquet as pq

from dprm_data.core.errors import InputError
from dprm_data.core.tables import sha256_of, write_text
from dprm_data.labels.space import LabelSpace
from dprm_data.review.answer_tables import read_answers
from dprm_data.review.cells import defused
from dprm_data.review.human_annotations import Stored, merge, store
from dprm_data.review.open_pairs import best_order
from dprm_data.review.pair_answers import merge_comparisons
from dprm_data.review.records import Record, panel_view, records
from dprm_data.review.selection import select
from dprm_data.review.sent_log import SentLog
from dprm_data.review.shown_pairs import PairRecord, What, choose_pairs, pair_records, response_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dprm_data.runs.run import Run


@dataclass(frozen=True)
class Exported:
    """The result of an export. what: items or pairs."""

    file: str
    records: int
    purpose: str
    blind: bool
    what: What = "items"


def export(
    run: Run,
    file: Path,
    *,
    what: What = "items",
    purpose: str = "divided",
    count: int = 100,
    ids: Sequence[str] = (),
    seed: int = 0,
    blind: bool = False,
) -> Exported:
    """Write items for people to judge, or pairs to compare, as .csv or .jsonl. Raises InputError for another suffix, or for items that cannot be chosen."""
    if file.suffix.lower() not in (".csv", ".jsonl"):
        raise InputError(f"{file}: unknown kind of file", hint="Name it .csv or .jsonl.")
    register = SentLog.of(run.folder)
    blind = blind or what == "pairs"
    if what == "pairs":
        pairs = choose_pairs(run, purpose, count, seed=seed, ids=ids)
        register.chosen |= {pair.key: (purpose, 1.0) for pair in pairs}
        rows = [_pair_row(record, run.recipe.compare.criterion) for record in pair_records(run, pairs)]
    else:
        rows = _item_rows(run, register, purpose, count, ids, seed, blind)
    register.went({"kind": "file", "file": file.name, "what": what, "blind": blind, "at": _now()}, ("file",))
    if file.suffix.lower() == ".csv":
        write_text(file, "\ufeff" + _csv(rows))
    else:
        write_text(file, "".join(orjson.dumps(row).decode() + "\n" for row in rows))
    register.write(run.folder)
    return Exported(str(file), len(rows), purpose, blind, what)


def _item_rows(
    run: Run, register: SentLog, purpose: str, count: int, ids: Sequence[str], seed: int, blind: bool
) -> list[dict[str, Any]]:
    """The chosen items as rows; the register says how they were chosen."""
    panel = panel_view(run, blind=blind)
    item_ids = panel.fit.votes.item_ids
    best = partial(best_order, run, panel, purpose=purpose, each=1)
    chosen = select(panel.fit, purpose, count, seed=seed, ids=ids, best=best)
    register.add(chosen, item_ids)
    purposes = {item: why for item, (why, _) in register.chosen.items()}
    found = records(run, panel, [item_ids[int(row)] for row in chosen.rows], purposes)
    return [_row(record, run.space, panel.agent, blind) for record in found]


def _pair_row(record: PairRecord, criterion: str) -> dict[str, Any]:
    pair = record.pair
    return {
        "first_item_id": pair.first,
        "second_item_id": pair.second,
        "prompt": _with_roles(record.prompt),
        "response_a": response_text(record.first),
        "response_b": response_text(record.second),
        "question": criterion.strip(),
        "answers": " | ".join(label.said for label in reversed(pair.space.labels)),
        "steps": pair.steps,
        "annotator": "",
        "preference": "",
        "comment": "",
    }


def _with_roles(messages: Sequence[dict[str, str]]) -> str:
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in messages)


def _row(record: Record, space: LabelSpace, agent: str, blind: bool) -> dict[str, Any]:
    *prompt, response = record.conversation
    row: dict[str, Any] = {
        "item_id": record.item_id,
        "prompt": _with_roles(prompt),
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
        writer.writerows(
            {name: defused(value) if isinstance(value, str) else value for name, value in row.items()} for row in rows
        )
    return out.getvalue()


def import_answers(run: Run, files: Sequence[Path]) -> list[tuple[str, Stored]]:
    """Import people's answers from these files, and merge them into the run's annotations. A file replaces the answers of an earlier file of its name.

    Raises InputError with every fault by file, row and column; then nothing is imported.
    """
    table = pq.read_table(run.folder.needs("items"), columns=["item_id", "group_id"])
    items = dict(zip(table["item_id"].to_pylist(), table["group_id"].to_pylist(), strict=True))
    names = [file.name for file in files]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"two files are called {twice}", hint="Files are identified by name: rename one of them.")
    read = read_answers(run.folder, run.space, files, items, run.recipe.compare.steps)
    stored = [
        (file.name, store(run.folder, f"file:{file.name}", answers, source={"sha256": sha256_of(file)}))
        for file, answers in zip(files, read, strict=True)
    ]
    merge(run.folder)
    merge_comparisons(run.folder)
    return stored


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
