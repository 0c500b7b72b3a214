"""Small files of the forms in which the named sets are published, with texts and votes of our own."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
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


def changed(file: Path) -> Iterator[bytes]:
    """The file's content with another value in one field of its first row, for each field."""
    if file.suffix == ".csv":
        header, *rows = csv.reader(file.read_text(encoding="utf-8").splitlines())
        for at in range(len(header)):
            for value in ("", "[7", "{'a': [None]}"):
                content = io.StringIO()
                csv.writer(content).writerows([header, [*rows[0][:at], value, *rows[0][at + 1 :]], *rows[1:]])
                yield content.getvalue().encode()
        return
    packed = file.suffix == ".gz"
    text = (gzip.decompress(file.read_bytes()) if packed else file.read_bytes()).decode()
    first, *rest = [text] if file.suffix == ".json" else text.splitlines()
    row = json.loads(first)
    inner = row if file.suffix == ".json" else {"": row}
    for key, entry in inner.items():
        for name in entry:
            for value in (None, 7, "x", [None], {"a": []}):
                other = entry | {name: value}
                content = "\n".join([json.dumps(row | {key: other} if key else other), *rest]).encode()
                yield gzip.compress(content) if packed else content


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


def chaosnli(folder: Path) -> None:
    row = {
        "uid": "46359n",
        "label_counter": {"e": 76, "n": 24},
        "label_count": [76, 24, 0],
        "example": {"uid": "46359n", "premise": "It rains.", "hypothesis": "It is wet.", "source": "mnli_agree_3"},
        "old_label": "n",
    }
    write_lines(folder / "chaosNLI_v1.0" / "chaosNLI_mnli_m.jsonl", [row])
    write_lines(folder / "chaosNLI_v1.0" / "chaosNLI_snli.jsonl", [row | {"uid": "2.jpg", "label_count": [0, 0, 100]}])


def convabuse(folder: Path) -> None:
    degrees = ["1", "0", "-1", "-2", "-3"]

    def row(who: str, degree: str, before: str = "_") -> dict[str, Any]:
        turns = {"prev_agent": before, "prev_user": before, "agent": "Please go on.", "user": "You fool"}
        marks = {f"is_abuse.{each}": int(each == degree) for each in degrees}
        return {"example_no": 0, "annotator_id": who, "conv_id": "1.0"} | turns | {"bot": "E.L.I.Z.A."} | marks

    rows = [row("Annotator7", "-1"), row("Annotator1", "1"), row("Annotator7", "-3"), row("Annotator1", "0", "Hi.")]
    write_csv(folder / "1_full" / "ConvAbuseEMNLPfull.csv", rows)


def popquorn(folder: Path) -> None:
    about = {
        "gender": "Man",
        "race": "White",
        "age": "35-39",
        "occupation": "Unemployed",
        "education": "College degree",
    }
    said = {"instance_id": 530, "user_id": 0, "text": "What a day."}
    write_csv(folder / "dataset/offensiveness/raw_data.csv", [said | {"offensiveness": "1.0"} | about])
    write_csv(folder / "dataset/politeness_rating/raw_data.csv", [said | {"politeness": "5.0"} | about])


def community_alignment(folder: Path) -> None:
    responses = {f"first_turn_response_{letter}": f"Answer {letter}." for letter in "abcd"}
    row = {
        "conversation_id": "c1",
        "annotator_id": "a1",
        "assigned_lang": "en",
        "annotator_country": "india",
        "annotator_age": "18-34",
        "annotator_gender": "female",
        "first_turn_prompt": "What shall I read?",
        **responses,
        "first_turn_preferred_response": "response_b",
    }
    other = {"annotator_id": "a2", "first_turn_preferred_response": "response_d", "annotator_country": "france"}
    empty = {"first_turn_response_d": "EMPTY STRING"}
    write_csv(folder / "community_alignment.csv", [row, row | other, row | empty])


def lewidi(folder: Path) -> None:
    def item(text: Any, said: Any, **more: Any) -> dict[str, Any]:
        people = ",".join(said) if isinstance(said, dict) else "Ann1,Ann2,Ann3"
        return {"text": text, "annotators": people, "annotations": said, "lang": "en", "split": "dev"} | more

    sarcasm = item({"context": "Steve sighs.", "response": "Great."}, {"Ann64": "1", "Ann65": "6"})
    write_json(folder / "CSC/CSC_dev.json", {"3944": sarcasm})
    write_json(folder / "CSC/CSC_annotators_meta.json", {"64": {"Age": 19.0, "Gender": "DATA_EXPIRED"}})
    nli = item(
        {"context": "He built it.", "statement": "It is old."}, {"Ann1": "neutral", "Ann2": "entailment,neutral"}
    )
    write_json(folder / "VariErrNLI/VariErrNLI_dev.json", {"49807": nli})
    trailing = '{\n\t"Ann1":{\n\t\t"Gender":"Male",\n\t\t"Education":"master, student",\n\t},\n}'
    (folder / "VariErrNLI/VariErrNLI_annotators_meta.json").write_text(trailing)
    groups = {"other_info": {"Annotators_group": "group1,group1,group2"}}
    write_json(folder / "HS-Brexit_dataset/HS-Brexit_dev.json", {"1": item("Leave!", "0,1,0", **groups)})
    turns = json.dumps({"prev_agent": "_", "prev_user": "_", "agent": "Go on.", "user": "No"})
    write_json(folder / "ConvAbuse_dataset/ConvAbuse_dev.json", {"1": item(turns, "-3,1,0")})
