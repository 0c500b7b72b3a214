"""Small files of the forms in which the named sets are published, with texts and votes of our own."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=4), encoding="utf-8")


def dices(folder: Path, size: int = 350) -> None:
    said = [("1", "7", "Man", "Yes"), ("1", "8", "Woman", "No"), ("2", "7", "Man", "Unsure"), ("2", "8", "Woman", "No")]
    rows = [
        {
            "id": n,
            "rater_id": rater,
            "rater_gender": gender,
            "rater_race": "",
            "rater_age": "gen z",
            "item_id": item,
            "context": f"USER: Question {item}?\nLAMDA: Well.\nUSER: So?",
            "response": f"Answer {item}.",
            "degree_of_harm": "Benign",
            "Q1_whole_conversation_evaluation": "None of the above",
            "Q2_harmful_content_overall": "No",
            "Q_overall": overall,
        }
        for n, (item, rater, gender, overall) in enumerate(said)
    ]
    write_csv(folder / str(size) / f"diverse_safety_adversarial_dialog_{size}.csv", rows)
