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


FAVOUR = "['Very favorable', 'Somewhat favorable', 'Very unfavorable', 'DK/Refused']"


def globalopinionqa(folder: Path) -> None:
    def selections(**shares: list[float]) -> str:
        return f"defaultdict(<class 'list'>, {shares!r})"

    rows = [
        {
            "question": "Do you have a favorable view of France?",
            "selections": selections(France=[0.5, 0.25, 0.05, 0.2], Japan=[0.1, 0.3, 0.5, 0.1]),
            "options": FAVOUR,
            "source": "GAS",
        },
        {
            "question": "And of Japan?",
            "selections": selections(France=[1, 0, 0, 0]),
            "options": FAVOUR,
            "source": "GAS",
        },
        {"question": "Yes?", "selections": selections(Japan=[0.4, 0.6]), "options": "['Yes', 'No']", "source": "WVS"},
        {"question": "", "selections": selections(Japan=[0.4, 0.6]), "options": "['Yes', 'No']", "source": "WVS"},
    ]
    write_csv(folder / "data" / "global_opinions.csv", rows)


def opinionqa(folder: Path) -> None:
    safe = "['Safer', 'Less safe', 'No more or less safe', 'Refused']"
    yes = "['Yes', \"No, I don't\", 'Refused']"
    waves = {
        "W26": [("GUNSAFE_W26", "Does a gun make you feel", safe, "[1.0, 2.0, 1.5]"), ("GUN_W26", "Own?", yes, "[1.0, 2.0]")],
        "W27": [("CAR_W27", "Does a driverless car make you feel", safe, "[1.0, 2.0, 1.5]")],
    }  # fmt: skip
    for wave, questions in waves.items():
        at = folder / "human_resp" / f"American_Trends_Panel_{wave}"
        names = ("key", "question", "references", "option_ordinal")
        write_csv(at / "info.csv", [dict(zip(names, question, strict=True)) for question in questions])
    people = [("100", "Safer", "Yes", "18-29", "0.5"), ("101", "No more or less safe", "", "Refused", "1.5"), ("102", "Refused", "Yes", "65+", "1")]  # fmt: skip
    w26 = [dict(zip(("QKEY", "GUNSAFE_W26", "GUN_W26", "AGE", "WEIGHT_W26"), person, strict=True)) for person in people]
    write_csv(folder / "human_resp/American_Trends_Panel_W26/responses.csv", w26)
    write_csv(
        folder / "human_resp/American_Trends_Panel_W27/responses.csv", [{"CAR_W27": "Less safe", "SEX": "Female"}]
    )


def subpop(folder: Path) -> None:
    row = {
        "qkey": "A_W96",
        "attribute": "POLPARTY",
        "group": "Democrat",
        "question": "How much do you trust it?",
        "options": ["A lot", "Some", "Not at all", "Refused"],
        "responses": [0.5, 0.25, 0.25],
        "refusal_rate": 0.01,
        "ordinal": [1, 2, 3],
    }
    write_lines(
        folder / "subpop_train.jsonl",
        [row, row | {"attribute": "AGE", "group": "65+", "responses": [0, 0, 1]}],
    )
    other = {"qkey": "gss", "options": ["Yes", "No", "Refused"], "responses": [0.5, 0.5], "ordinal": [1, 2]}
    write_lines(folder / "subpop_eval.jsonl", [row | {"qkey": "B"}, row | other])


def simbench(folder: Path) -> None:
    row = {
        "dataset_name": "OpinionQA",
        "group_prompt_template": "You are from {country}.",
        "group_prompt_variable_map": "{'country': 'Kenya', 'age_group': '18-29'}",
        "input_template": "Do you agree?\nOptions:\n(A): Yes\n(B): No\n(C): Don't know",
        "human_answer": "{'A': 0.5, 'B': 0.3, 'C': 0.2}",
        "group_size": 200,
        "auxiliary": "{}",
    }
    write_csv(
        folder / "SimBenchPop.csv", [row, row | {"input_template": "Guess a number.", "dataset_name": "NumberGame"}]
    )
    texts = {"input_template": "Do you agree?", "answer_options": "{'A': 'Yes', 'B': 'No', 'C': 'Refused'}"}
    write_csv(
        folder / "SimBenchGrouped.csv",
        [
            row | texts,
            row | texts | {"group_prompt_variable_map": "{'country': 'Mali'}", "human_answer": "{'A': 100, 'B': 0}"},
        ],
    )
