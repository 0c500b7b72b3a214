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


def helpsteer2(folder: Path) -> None:
    rows = [
        {"prompt": "Name a fruit.", "response": "Apple.", "helpfulness": [4, 4, 3], "verbosity": [0, 1, 0]},
        {
            "prompt": "Hi.\n\n<extra_id_1>Assistant\nHello!\n\n<extra_id_1>User\nA fruit?\n",
            "response": "Pear.",
            "helpfulness": [0, 2],
            "verbosity": [0, 0],
        },
    ]
    write_lines(folder / "disagreements" / "disagreements.jsonl.gz", rows)


def helpsteer3(folder: Path) -> None:
    turns = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello!"}]
    rows = [
        {
            "domain": "general",
            "language": "english",
            "context": [*turns, {"role": "user", "content": "A fruit?"}],
            "response1": "Apple.",
            "response2": "A stone.",
            "overall_preference": -2,
            "individual_preference": [
                {"score": score, "reasoning": "", "feedback1": "", "feedback2": ""} for score in (-3, -3, 1)
            ],
        }
    ]
    write_lines(folder / "preference" / "train.jsonl.gz", rows)
    write_lines(folder / "preference" / "validation.jsonl.gz", [rows[0] | {"response1": "Pear."}])


def prism(folder: Path) -> None:
    survey = {
        "user_id": "user0",
        "age": "18-24 years old",
        "gender": "Female",
        "religion": {"self_described": "none", "categorised": "No Affiliation", "simplified": "No Affiliation"},
        "ethnicity": {"self_described": "white", "categorised": "White", "simplified": "White"},
        "location": {"birth_region": "Europe", "reside_region": "Americas", "reside_country": "Chile"},
    }
    said = {"conversation_id": "c0", "user_id": "user0", "turn": 0, "user_prompt": "Is it wrong?", "if_chosen": True}
    write_lines(folder / "survey.jsonl", [survey])
    write_lines(
        folder / "utterances.jsonl",
        [
            said | {"utterance_id": "ut0", "model_response": "Yes.", "score": 100},
            said | {"utterance_id": "ut1", "model_response": "No.", "score": 11},
            said | {"utterance_id": "ut2", "model_response": "Perhaps.", "score": 10},
            said | {"utterance_id": "ut3", "model_response": "As I said.", "score": 50, "turn": 1},
        ],
    )
