"""People compare pairs of responses without Argilla: out as a table, back as comparisons that the fit joins."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.helpers import answer, dprm
from tests.pipeline.test_compare_run import write_compare
from tests.publish.conftest import hub_environment
from tests.servers.hub import Hub
from tests.servers.llm import LLMServer

CRITERION = "Which is shorter?"
ROWS = [{"prompt": f"what is {i}?", "response": f"{word} {i}"} for i in range(6) for word in ("good", "bad", "odd")]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in which a panel compared."""
    folder = tmp_path_factory.mktemp("compared")
    with LLMServer() as server:
        write_compare(folder, server.url, ROWS, compare={"criterion": CRITERION, "steps": 3, "pairs": "adjacent"})
        done = dprm("run", "recipe.yaml", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "copy", ignore=shutil.ignore_patterns("*.lock", ".lock"))
    return tmp_path / "copy"


def table(folder: Path, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(folder / "run" / "tables" / f"{name}.parquet").to_pylist()
    return rows


def exported(folder: Path, name: str = "pairs.csv", *arguments: object) -> list[dict[str, str]]:
    done = dprm("review", "export", "run", "--output", name, "--select", "random", *arguments, cwd=folder)
    assert done.returncode == 0, done.stderr
    with (folder / name).open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file)) if name.endswith("csv") else [json.loads(line) for line in file]


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def liked(row: dict[str, str]) -> str:
    """Who answers prefers odd to bad to good."""
    order = ["odd", "bad", "good"]
    first, second = (order.index(row[f"response_{side}"].split()[0]) for side in "ab")
    return "A is better" if first < second else "B is better"


def people(folder: Path) -> list[dict[str, Any]]:
    return [row for row in table(folder, "comparisons") if row["annotator_kind"] == "human"]


def test_pairs_go_out_in_an_order_drawn_by_lot_and_come_back_as_comparisons(folder: Path) -> None:
    rows = exported(folder, "pairs.csv", "--records", 18)
    texts = {row["item_id"]: row for row in table(folder, "items")}
    assert len(rows) == 18  # three of each of six prompts, once each
    assert len({frozenset((row["first_item_id"], row["second_item_id"])) for row in rows}) == 18
    assert 3 < sum(row["first_item_id"] < row["second_item_id"] for row in rows) < 15
    assert exported(folder, "again.csv", "--records", 18) == rows
    assert exported(folder, "other.csv", "--records", 18, "--seed", 1) != rows
    assert exported(folder, "few.csv", "--records", 5) == rows[:5]
    for row in rows:
        assert row["response_a"] == texts[row["first_item_id"]]["completion"][0]["content"]
        assert row["response_b"] == texts[row["second_item_id"]]["completion"][0]["content"]
        assert row["question"] == CRITERION and row["answers"] == "A is better | neither is better | B is better"
    before = {frozenset((p["chosen_item_id"], p["rejected_item_id"])): p for p in table(folder, "preferences")}

    write_csv(
        folder / "said.csv", [row | {"annotator": f"p{i}", "preference": liked(row)} for i in range(4) for row in rows]
    )
    said = answer(dprm("review", "import", "run", "said.csv", "--json", cwd=folder))["imported"][0]
    assert (said["new"], said["submitted"], said["people"], said["pairs"]) == (72, 72, 4, 18)
    found = people(folder)
    assert len(found) == 72 and all(row["annotator_id"].startswith("person-") for row in found)
    for row in found:
        wins = texts[row["first_item_id"]]["completion"][0]["content"]
        loses = texts[row["second_item_id"]]["completion"][0]["content"]
        assert row["preference"] == (1 if liked({"response_a": wins, "response_b": loses})[0] == "A" else -1)
        assert row["ordered"] and row["steps"] == 3 and row["group_id"] == texts[row["first_item_id"]]["group_id"]
    assert not table(folder, "annotations")  # they are no labels

    done = dprm("ratings", "fit", "run", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "168 comparisons by 4 people and 4 personas count" in " ".join(done.stdout.split())
    assert len(people(folder)) == 72
    for pair in table(folder, "preferences"):
        first, second = (pair[side][0]["content"].split()[0] for side in ("chosen", "rejected"))
        assert (first, second) in (("odd", "bad"), ("odd", "good"), ("bad", "good"))
    assert any(
        pair["chosen_item_id"]
        != before[frozenset((pair["chosen_item_id"], pair["rejected_item_id"]))]["chosen_item_id"]
        for pair in table(folder, "preferences")
    )
    # Changed answers change, and those no longer in a file of this name are withdrawn.
    changed = [row | {"annotator": "p0", "preference": "tie"} for row in rows[:3]]
    write_csv(folder / "said.csv", changed)
    said = answer(dprm("review", "import", "run", "said.csv", "--json", cwd=folder))["imported"][0]
    assert (said["changed"], said["withdrawn"], said["submitted"]) == (3, 69, 3)
    assert [row["preference"] for row in people(folder)] == [0, 0, 0]


def test_json_lines_numbers_and_words(folder: Path) -> None:
    rows = exported(folder, "pairs.jsonl", "--records", 4)
    said: list[Any] = [1, "B", "second", None]
    lines = [row | {"annotator": "ann", "preference": value} for row, value in zip(rows, said, strict=True)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = dprm("review", "import", "run", "pairs.jsonl", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "3 submitted answers by 1 people on 3 pairs" in done.stdout
    found = {(row["first_item_id"], row["second_item_id"]): row["preference"] for row in people(folder)}
    assert [found.get((row["first_item_id"], row["second_item_id"])) for row in rows] == [1, -1, -1, None]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"second_item_id": "nothing"}, "column 'second_item_id': 'nothing' is not an item"),
        ({"preference": "C"}, "column 'preference': found 'C' (allowed: B_is_better"),
        ({"preference": "2"}, "column 'preference': found '2'"),
        ({"steps": "4"}, "column 'steps': found '4'"),
        ({"annotator": ""}, "column 'annotator': empty"),
    ],
)
def test_a_fault_is_said_by_row_and_column(folder: Path, change: dict[str, str], said: str) -> None:
    row = exported(folder, "pairs.csv", "--records", 1)[0] | {"annotator": "ann", "preference": "A"}
    write_csv(folder / "said.csv", [row | change])
    done = dprm("review", "import", "run", "said.csv", cwd=folder)
    assert done.returncode == 2 and said in " ".join(done.stderr.split())
    assert not people(folder)


def test_two_prompts_and_one_answer_twice(folder: Path) -> None:
    items = table(folder, "items")
    other = next(row for row in items if row["group_id"] != items[0]["group_id"])
    row = exported(folder, "pairs.csv", "--records", 1)[0] | {"annotator": "ann", "preference": "A"}
    write_csv(
        folder / "said.csv",
        [row, row, row | {"first_item_id": items[0]["item_id"], "second_item_id": other["item_id"]}],
    )
    said = " ".join(dprm("review", "import", "run", "said.csv", cwd=folder).stderr.split())
    assert "row 3: 'ann' has judged" in said and "in row 2" in said
    assert "row 4, column 'second_item_id': is not another response to the same prompt" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--select", "gain"), "--select gain is for items"),
        (("--select", "ids", "--id", "zzz"), "begins with 'zzz'"),
        (("--what", "items"), "--what pairs"),
    ],
)
def test_what_cannot_be_chosen(folder: Path, arguments: tuple[str, ...], said: str) -> None:
    done = dprm("review", "export", "run", "--output", "pairs.csv", *arguments, cwd=folder)
    assert done.returncode and said in " ".join(done.stderr.split())


def test_the_least_certain_and_the_most_divided_pairs(folder: Path) -> None:
    pairs = table(folder, "preferences")
    for purpose, worth in (
        ("uncertain", lambda pair: pair["probability"]),
        ("divided", lambda pair: abs(2 * pair["share"] + pair["tie"] - 1)),
    ):
        done = dprm("review", "export", "run", "--output", "p.jsonl", "--select", purpose, "--records", 3, cwd=folder)
        assert done.returncode == 0, done.stderr
        rows = [json.loads(line) for line in (folder / "p.jsonl").read_text().splitlines()]
        by_sides = {frozenset((p["chosen_item_id"], p["rejected_item_id"])): worth(p) for p in pairs}
        found = [by_sides[frozenset((row["first_item_id"], row["second_item_id"]))] for row in rows]
        assert found == sorted(by_sides.values())[:3]


@pytest.mark.slow
def test_people_of_a_pulled_dataset_stay_beside_new_ones(folder: Path) -> None:
    rows = exported(folder, "pairs.csv", "--records", 4)
    write_csv(folder / "said.csv", [row | {"annotator": "ann", "preference": "A"} for row in rows])
    for command in (("review", "import", "run", "said.csv"), ("ratings", "fit", "run")):
        assert dprm(*command, cwd=folder).returncode == 0
    with Hub() as hub:
        environment = hub_environment(hub, folder / "hf")
        pushed = dprm("publish", "run", "--repo", "acme/pairs", "--license", "mit", cwd=folder, **environment)
        assert pushed.returncode == 0, pushed.stderr
        pulled = dprm("pull", "acme/pairs", "pulled/run", cwd=folder, **environment)
        assert pulled.returncode == 0, pulled.stderr
    write_csv(folder / "ben.csv", [row | {"annotator": "ben", "preference": "B"} for row in rows])
    for command in (("import", "run", "../ben.csv"), ("import", "run", "../ben.csv")):
        assert dprm("review", *command, cwd=folder / "pulled").returncode == 0
        assert sorted(row["preference"] for row in people(folder / "pulled")) == [-1] * 4 + [1] * 4
    assert dprm("ratings", "fit", "run", cwd=folder / "pulled").returncode == 0
    assert len(people(folder / "pulled")) == 8
