"""People's ratings beside a panel's, ratings of a source's items by id, answers of a review beside ratings, and the way over a hub."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

import dprm_data
from dprm_data.core.errors import DprmError
from tests.helpers import PAIRS, answer, dprm, write_recipe, write_rows
from tests.pipeline.test_people_run import LEVELS, ratings, write_csv, write_people
from tests.publish.conftest import hub_environment
from tests.servers.hub import Hub
from tests.servers.llm import LLMServer

GOOD, BAD = "helpful_harmless", "nothelpful_harmful"


def annotations(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(folder / "run" / "tables" / "annotations.parquet").to_pylist()
    return rows


def votes_of(pairs: list[dict[str, str]]) -> list[dict[str, Any]]:
    return [pair | {"rater": who, "label": GOOD} for pair in pairs for who in ("ann", "bo")]


def test_people_and_personas_in_one_run(double: LLMServer, tmp_path: Path) -> None:
    write_csv(tmp_path / "ratings.csv", votes_of(PAIRS[:3]))
    write_recipe(tmp_path, double.url, ratings={"path": "ratings.csv"}, fit={"human_weight": 3.0})
    done = dprm("run", "recipe.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = annotations(tmp_path)
    kinds = Counter((row["annotator_kind"], row["item_id"]) for row in rows)
    people = {item for kind, item in kinds if kind == "human"}
    assert len(people) == 3
    assert {n for (kind, _), n in kinds.items() if kind == "human"} == {2}
    personas = sum(row["annotator_kind"] == "persona" for row in rows)
    fitted = pq.read_table(tmp_path / "run" / "tables" / "distributions.parquet").to_pylist()
    alone = personas / len(PAIRS)
    for row in fitted:
        assert sum(row["votes"]) == pytest.approx(alone + (6 if row["item_id"] in people else 0))
    card = (tmp_path / "run" / "README.md").read_text()
    assert "were given by people" in card
    assert "are simulated" in card
    assert dprm("review", "compare", "run", cwd=tmp_path).returncode == 0  # people who rated are people to compare with
    before = double.tally.requests
    write_csv(tmp_path / "ratings.csv", votes_of(PAIRS[:2]))
    assert dprm("run", "recipe.yaml", cwd=tmp_path).returncode == 0
    assert double.tally.requests == before  # ratings change, and no call is made again
    assert sum(row["annotator_kind"] == "human" for row in annotations(tmp_path)) == 4


def test_the_panel_judges_what_people_rated_where_there_is_no_source(double: LLMServer, tmp_path: Path) -> None:
    write_csv(tmp_path / "ratings.csv", votes_of(PAIRS))
    recipe = yaml.safe_load(write_recipe(tmp_path, double.url, ratings={"path": "ratings.csv"}).read_text())
    del recipe["source"]
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    done = dprm("run", "recipe.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    kinds = Counter(row["annotator_kind"] for row in annotations(tmp_path))
    assert kinds["human"] == 2 * len(PAIRS)
    assert kinds["persona"] > len(PAIRS)


def test_ratings_by_the_sources_ids(tmp_path: Path) -> None:
    write_rows(tmp_path / "pairs.jsonl", [{"id": i, **pair} for i, pair in enumerate(PAIRS)])
    rows = [{"id": i % 5, "rater": f"r{i // 5}", "label": LEVELS[i % 4]} for i in range(20)]  # there is no item 4
    changes = {"source": {"path": "pairs.jsonl"}, "ratings": {"path": "ratings.csv", "columns": {"item_id": "id"}}}
    write_people(tmp_path, rows, **changes)
    done = dprm("run", "recipe.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "4 ratings are of items that the source does not have" in done.stderr
    assert len(annotations(tmp_path)) == 16
    write_rows(tmp_path / "pairs.jsonl", [{"id": 1, **pair} for pair in PAIRS])
    done = dprm("run", "recipe.yaml", cwd=tmp_path)
    assert done.returncode != 0
    assert "'1' is the id of several responses" in done.stderr


def test_files_in_the_home_folder(tmp_path: Path) -> None:
    """What has changed there is read again, also by the recipe that the run folder keeps."""
    (home := tmp_path / "home").mkdir()
    pairs = [{"id": i, **pair} for i, pair in enumerate(PAIRS)]
    rows = [{"id": i % 5, "rater": f"r{i // 5}", "label": LEVELS[i % 4]} for i in range(20)]
    write_rows(home / "pairs.jsonl", pairs)
    write_csv(home / "ratings.csv", rows)
    ratings = {"path": "~/ratings.csv", "columns": {"item_id": "id"}}
    write_people(tmp_path, rows, source={"path": "~/pairs.jsonl"}, ratings=ratings)
    for recipe, count in (("recipe.yaml", 16), ("run/recipe.yaml", 20)):
        done = dprm("run", recipe, cwd=tmp_path, HOME=str(home))
        assert done.returncode == 0, done.stderr
        assert len(annotations(tmp_path)) == count
        write_rows(home / "pairs.jsonl", [*pairs, pairs[0] | {"id": 4, "prompt": "one more"}])
    write_rows(home / "pairs.jsonl", pairs)
    assert dprm("run", "recipe.yaml", cwd=tmp_path, HOME=str(home)).returncode == 0
    assert len(annotations(tmp_path)) == 16


def test_ratings_by_the_ids_that_the_source_names(tmp_path: Path) -> None:
    """The source keeps no other column, so that its ids are nowhere else; the ratings may call them otherwise."""
    write_rows(tmp_path / "pairs.jsonl", [{"ticket": f"T{i}", **pair} for i, pair in enumerate(PAIRS)])
    source = {"path": "pairs.jsonl", "id": "ticket", "keep": []}
    for column in ("ticket", "item_id"):
        rows = [{column: f"T{i % 5}", "rater": f"r{i // 5}", "label": LEVELS[i % 4]} for i in range(20)]  # no T4
        write_people(tmp_path, rows, source=source, ratings={"path": "ratings.csv", "columns": {"item_id": column}})
        done = dprm("run", "recipe.yaml", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "4 ratings are of items that the source does not have" in done.stderr
        assert len(annotations(tmp_path)) == 16
    nameless = {"path": "pairs.jsonl", "keep": []}
    write_people(tmp_path, rows, source=nameless, ratings={"path": "ratings.csv", "columns": {"item_id": column}})
    done = dprm("run", "recipe.yaml", cwd=tmp_path)
    assert done.returncode != 0
    assert "the source has no column 'item_id'" in done.stderr


def test_rows_that_cannot_be_used_do_not_lose_the_others(tmp_path: Path) -> None:
    rows = ratings(4)
    rows[0]["label"] = "banana"
    rows[1]["label"] = ""
    rows[2]["rater"] = ""
    rows[3]["answer"] = ""
    write_people(tmp_path, rows)
    done = dprm("run", "recipe.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(annotations(tmp_path)) == len(rows) - 4
    said = done.stderr
    assert "1 rows have no rating" in said
    assert "ratings.csv:2: label: found 'banana'" in said
    assert "ratings.csv:4: rater is empty" in said
    assert "ratings.csv:5: the response is empty" in said


def test_somebody_who_judged_twice_is_asked_about(tmp_path: Path) -> None:
    rows = ratings(4)
    write_people(tmp_path, [*rows, rows[3]])
    done = dprm("run", "recipe.yaml", cwd=tmp_path)
    assert done.returncode != 0
    assert f"ratings.csv:{len(rows) + 2}" in done.stderr
    for policy, count in (("first", len(rows)), ("all", len(rows) + 1), ("mean", len(rows) + 1)):
        write_people(tmp_path, [*rows, rows[3]], ratings={"path": "ratings.csv", "duplicates": policy})
        assert dprm("run", "recipe.yaml", cwd=tmp_path).returncode == 0
        found = annotations(tmp_path)
        assert len(found) == count
        assert sum(row["weight"] for row in found) == (len(rows) if policy == "mean" else count)
    assert len({(row["item_id"], row["annotator_id"], row["replicate"]) for row in found}) == count


def test_ratings_without_names_count_all_the_same(tmp_path: Path) -> None:
    rows = [{name: row[name] for name in ("question", "answer", "label")} for row in ratings(4)]
    write_people(tmp_path, rows, ratings={"path": "ratings.csv"})
    done = dprm("run", "recipe.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "people whom the table does not name" in done.stderr
    assert len(annotations(tmp_path)) == len(rows)
    assert len({row["annotator_id"] for row in annotations(tmp_path)}) == 4


def test_rows_from_python(tmp_path: Path) -> None:
    recipe = {"annotators": "people", "labels": 4, "ratings": {"base": 1}}
    made = dprm_data.run(recipe, source=ratings(4), output=tmp_path / "run")
    assert made.distributions.num_rows == 8
    with pytest.raises(DprmError, match="no ratings"):
        dprm_data.run({"annotators": "people", "labels": 4}, output=tmp_path / "other")


@pytest.mark.slow
def test_a_review_adds_to_ratings_and_replaces_one_of_the_same_person(tmp_path: Path) -> None:
    rows = ratings(4)
    write_people(tmp_path, rows)
    assert dprm("run", "recipe.yaml", cwd=tmp_path).returncode == 0
    item = annotations(tmp_path)[0]["item_id"]
    text = pq.read_table(tmp_path / "run" / "tables" / "items.parquet").to_pylist()
    answered = next(row["completion"][0]["content"] for row in text if row["item_id"] == item)
    known = next(row["rater"] for row in rows if row["answer"] == answered)
    (tmp_path / "more.csv").write_text(f"item_id,annotator,label\n{item},{known},good\n{item},somebody,awful\n")
    assert dprm("review", "export", "run", "sheet.csv", "--blind", cwd=tmp_path).returncode == 0
    done = dprm("review", "import", "run", "more.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for command in ((), ("fit", "run"), ("run", "recipe.yaml")):
        if command:
            assert dprm(*command, cwd=tmp_path).returncode == 0
        mine = [row for row in annotations(tmp_path) if row["item_id"] == item]
        assert len(annotations(tmp_path)) == len(rows) + 1
        assert len(mine) == 5


@pytest.mark.slow
def test_over_a_hub_and_back(tmp_path: Path) -> None:
    write_people(tmp_path, ratings())
    assert dprm("run", "recipe.yaml", cwd=tmp_path).returncode == 0
    with Hub() as hub:
        environment = hub_environment(hub, tmp_path / "hf")
        pushed = dprm("publish", "run", "--repo", "acme/votes", "--license", "mit", cwd=tmp_path, **environment)
        assert pushed.returncode == 0, pushed.stderr
        pulled = dprm("pull", "acme/votes", "pulled", cwd=tmp_path, **environment)
        assert pulled.returncode == 0, pulled.stderr
    for name in ("annotations", "distributions", "preferences"):
        here, there = (pq.read_table(tmp_path / at / "tables" / f"{name}.parquet") for at in ("run", "pulled"))
        assert here.num_rows == there.num_rows
    everything = b"".join(file.read_bytes() for file in (tmp_path / "pulled").rglob("*") if file.is_file())
    assert b"rater 1" not in everything
    assert b"young" not in everything
    assert str(tmp_path / "ratings.csv").encode() not in everything
    for command in (("fit", "pulled"), ("show", "pulled"), ("report", "pulled", "--output", "page.html")):
        done = dprm(*command, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "simulated" not in done.stdout
    assert "given by people" in (tmp_path / "pulled" / "README.md").read_text()
    refused = dprm("run", "pulled/recipe.yaml", "--output", "again", cwd=tmp_path)
    assert refused.returncode != 0
    assert "Traceback" not in refused.stderr
    summary = answer(dprm("show", "run", "--json", cwd=tmp_path))["summary"]
    assert json.dumps(summary).count("human") == 1
