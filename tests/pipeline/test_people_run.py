"""A table of people's ratings as a run: from `dprm run` to a trained reward model, with no model asked."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

from tests.helpers import answer, dprm

RATERS = {f"rater {i}": "old" if i % 2 else "young" for i in range(6)}
LEVELS = ["awful", "bad", "fine", "good"]


def ratings(prompts: int = 15) -> list[dict[str, Any]]:
    """Two responses to each prompt, a rating of each by four of six raters, numbered from 1."""
    draw = random.Random(7)
    rows: list[dict[str, Any]] = []
    for prompt in range(prompts):
        for liked, word in ((1, "rude"), (4, "kind")):
            for who in draw.sample(sorted(RATERS), 4):
                label = min(4, max(1, round(draw.gauss(liked, 0.6))))
                text = f"one {word} {prompt}"
                rows.append({"question": f"what is {prompt}", "answer": text, "rater": who, "label": label})
    return [row | {"age": RATERS[row["rater"]], "id": f"{row['question']}/{row['answer']}"} for row in rows]


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_people(folder: Path, rows: list[dict[str, Any]], **changes: Any) -> Path:
    """A recipe of ratings with its table; `changes` replace its keys (None: removes one)."""
    write_csv(folder / "ratings.csv", rows)
    content: dict[str, Any] = {
        "name": "people",
        "annotators": "people",
        "labels": {"name": "liking", "labels": [{"name": n, "reward": i} for i, n in enumerate(LEVELS)]},
        "ratings": {"path": "ratings.csv", "attributes": ["age"]},
        "output": "run",
    }
    content = {name: value for name, value in (content | changes).items() if value is not None}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(content))
    return folder / "recipe.yaml"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("people")
    write_people(folder, ratings())
    done = dprm("run", "recipe.yaml", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "simulated" not in done.stdout
    assert "120 ratings of 30 items by 6 people" in done.stderr
    assert "from 1" in done.stderr  # what was assumed of the scale is said
    return folder


def table(folder: Path, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(folder / "run" / "tables" / f"{name}.parquet").to_pylist()
    return rows


def test_the_tables_are_those_of_any_run(finished: Path) -> None:
    given = ratings()
    annotations = table(finished, "annotations")
    assert {row["annotator_kind"] for row in annotations} == {"human"}
    assert {row["status"] for row in annotations} == {"ok"}
    texts = {row["item_id"]: row["completion"][0]["content"] for row in table(finished, "items")}
    who = {row["annotator_id"]: row["rater"] for row in table(finished, "raters")}
    found = sorted((texts[row["item_id"]], who[row["annotator_id"]], row["label"]) for row in annotations)
    assert found == sorted((row["answer"], row["rater"], LEVELS[row["label"] - 1]) for row in given)
    assert not {row["annotator_id"] for row in annotations} & set(RATERS)  # people are pseudonyms in what is published
    distributions = table(finished, "distributions")
    assert all(row["evidence"] == 4 and row["prompt"] and row["completion"] for row in distributions)
    pairs = table(finished, "preferences")
    assert len(pairs) == 15
    assert all("kind" in row["chosen"][0]["content"] for row in pairs)
    manifest = json.loads((finished / "run" / "manifest.json").read_text())
    assert manifest["ratings"]["base"] == 1
    assert manifest["ratings"]["people"] == 6
    assert not (finished / "run" / "ledger.sqlite").exists()


def test_a_rerun_changes_nothing_and_a_changed_table_changes_the_run(finished: Path, tmp_path: Path) -> None:
    rows = ratings(4)
    write_people(tmp_path, rows)
    assert dprm("run", "recipe.yaml", cwd=tmp_path).returncode == 0
    kept = tmp_path / "run" / "tables" / "distributions.parquet"
    before = kept.stat().st_mtime_ns
    assert dprm("run", "recipe.yaml", cwd=tmp_path).returncode == 0
    assert kept.stat().st_mtime_ns == before
    write_csv(tmp_path / "ratings.csv", rows[:-1])
    assert dprm("run", "recipe.yaml", cwd=tmp_path).returncode == 0
    assert len(table(tmp_path, "annotations")) == len(rows) - 1


@pytest.mark.parametrize(
    "command",
    [
        ("plan", "recipe.yaml"),
        ("fit", "run", "--family", "dirichlet"),
        ("fit", "run"),
        ("show", "run"),
        ("show", "run", "--personas"),
        ("show", "run", "--persona", "rater 1"),
        ("agreement", "run"),
        ("groups", "run", "--by", "age"),
        ("report", "run", "--output", "report.html"),
    ],
)
def test_commands_take_it_and_say_nothing_of_a_panel(finished: Path, command: tuple[str, ...]) -> None:
    done = dprm(*command, cwd=finished)
    assert done.returncode == 0, done.stderr
    assert "simulated" not in done.stdout + done.stderr
    answer(dprm(*command, "--json", cwd=finished))
    if command[0] == "groups":
        assert "old" in done.stdout
        assert "young" in done.stdout
    if command[0] == "plan":
        assert "no calls" in done.stdout


def test_the_card_and_the_report_call_the_labels_peoples(finished: Path) -> None:
    card = (finished / "run" / "README.md").read_text()
    page = finished / "page.html"
    assert dprm("report", "run", "--output", page, cwd=finished).returncode == 0
    for text in (card, page.read_text()):
        assert "given by people" in text
        for wrong in ("imulated", "personas", "The prompt", "rater 1"):
            assert wrong not in text, wrong
    assert "Annotators by age" in page.read_text()  # on this machine only
    assert "young" not in card
    assert "numbered from 1" in card


def test_publishing_is_prepared_without_names_and_attributes(finished: Path) -> None:
    done = dprm("publish", "run", "--repo", "owner/name", "--dry-run", "--license", "mit", cwd=finished)
    assert done.returncode == 0, done.stderr
    assert "annotations" in done.stdout


@pytest.mark.parametrize(
    "command",
    [
        ("review", "compare", "run"),
        ("review", "export", "run", "sheet.csv"),
        ("pilot", "recipe.yaml"),
        ("try", "recipe.yaml"),
    ],
)
def test_what_needs_a_panel_says_so(finished: Path, command: tuple[str, ...]) -> None:
    done = dprm(*command, cwd=finished)
    assert done.returncode != 0
    assert "people" in done.stderr
    assert "Traceback" not in done.stderr
    assert "no ledger" not in done.stderr


@pytest.mark.parametrize(("command", "what"), [("pilot", "a pilot"), ("try", "a trial")])
def test_without_a_model_nothing_is_tried(tmp_path: Path, command: str, what: str) -> None:
    write_people(tmp_path, ratings(3))
    done = dprm(command, "recipe.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert f"{what} asks a model, and the recipe has none" in done.stderr


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"provider": {"name": "openai", "model": "x"}}, "annotators"),
        ({"prior": {"strength": 2}}, "prior"),
        ({"labels": None}, "labels"),
        ({"ratings": None}, "ratings"),
        ({"ratings": {"path": "ratings.csv", "columns": {"response": "reply"}}}, "reply"),
        ({"ratings": {"path": "nothing.csv"}}, "nothing.csv"),
        ({"ratings": {"path": "ratings.csv", "attributes": ["gender"]}}, "gender"),
    ],
)
def test_mistakes_are_told(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    write_people(tmp_path, ratings(3), **changes)
    done = dprm("run", "recipe.yaml", cwd=tmp_path)
    assert done.returncode != 0
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def as_people_have_it(folder: Path, kind: str) -> str:
    """The ratings in another form of table; returns its file's name."""
    frame = pd.read_csv(folder / "ratings.csv")
    if kind == "xlsx":
        pytest.importorskip("openpyxl")
        frame.to_excel(folder / "ratings.xlsx", index=False)
        return "ratings.xlsx"
    encoding = {"semicolons": "cp1252", "UTF-16": "utf-16"}[kind]
    frame.to_csv(folder / "other.csv", sep=";" if kind == "semicolons" else "\t", encoding=encoding, index=False)
    return "other.csv"


@pytest.mark.parametrize("kind", ["semicolons", "UTF-16", "xlsx"])
def test_tables_of_spreadsheets_are_read_as_the_plain_one(tmp_path: Path, kind: str) -> None:
    rows = [row | {"answer": f"{row['answer']}; “NA”, très"} for row in ratings(4)]
    write_people(tmp_path, rows)
    assert dprm("run", "recipe.yaml", cwd=tmp_path).returncode == 0
    plain = table(tmp_path, "distributions")
    recipe = yaml.safe_load((tmp_path / "recipe.yaml").read_text())
    name = as_people_have_it(tmp_path, kind)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe | {"ratings": recipe["ratings"] | {"path": name}}))
    done = dprm("run", "recipe.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert kind == "xlsx" or "is read as" in done.stderr or "separated by" in done.stderr
    given = table(tmp_path, "distributions")
    assert len(given) == 8
    for before, after in zip(plain, given, strict=True):
        assert after | {"source": before["source"]} == before
        assert after["source"] == before["source"].replace("ratings.csv", name)


def test_a_broken_row_of_a_spreadsheet_s_table_is_refused_alone(tmp_path: Path) -> None:
    write_people(tmp_path, ratings(3))
    name = as_people_have_it(tmp_path, "semicolons")
    with (tmp_path / name).open("a", encoding="cp1252") as file:
        file.write("too few;cells\n")
    recipe = yaml.safe_load((tmp_path / "recipe.yaml").read_text())
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe | {"ratings": recipe["ratings"] | {"path": name}}))
    done = dprm("run", "recipe.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 rows refused" in done.stderr and "row 25" in done.stderr
    assert len(table(tmp_path, "annotations")) == 24


def test_a_rater_column_of_an_unknown_name_is_asked_about(tmp_path: Path) -> None:
    rows = [{**row, "who": row["rater"]} for row in ratings()]
    for row in rows:
        del row["rater"], row["id"]
    write_people(tmp_path, rows)
    said = dprm("run", "recipe.yaml", cwd=tmp_path).stderr
    assert (
        "no column is known to say who rated; if one of who does, name it: ratings: {columns: {annotator_id: who}}"
        in said
    )
    write_people(tmp_path, rows, ratings={"path": "ratings.csv", "columns": {"annotator_id": "who"}}, output="named")
    named = dprm("run", "recipe.yaml", cwd=tmp_path).stderr
    assert "by 6 people" in named and "no column is known" not in named


def test_a_wrong_column_names_those_of_the_table(tmp_path: Path) -> None:
    write_people(tmp_path, ratings(), ratings={"path": "ratings.csv", "columns": {"response": "reply"}})
    done = dprm("run", "recipe.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert "there is no column 'reply'" in done.stderr
    assert "Columns found: question, answer, rater, label, age, id." in done.stderr
    assert "ratings: {columns: {prompt: ..., response: ...}}" in done.stderr
