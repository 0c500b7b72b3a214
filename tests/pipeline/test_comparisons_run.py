"""People's comparisons in a run: from a table to preferences, alone and beside ratings."""

from __future__ import annotations

import json
import random
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from dprm_data.core.errors import InputError
from dprm_data.core.tables import COMPARISONS
from dprm_data.pipeline.fit_stage import fit_run
from dprm_data.runs.run import Run
from tests.helpers import answer, dprm
from tests.pipeline.test_people_run import ratings, write_csv, write_people

PROMPTS = 25
LIKED = {"kind": 1.5, "plain": 0.0, "rude": -1.5}


def comparisons() -> list[dict[str, Any]]:
    """Six people compare two of three responses to each prompt, the one shown first at an advantage; the seventh always says the first."""
    draw, rows = random.Random(3), []
    for prompt in range(PROMPTS):
        for who in range(7):
            first, second = draw.sample(sorted(LIKED), 2)
            felt = LIKED[first] - LIKED[second] + 0.5 + draw.gauss(0, 1)
            said = 0 if abs(felt) < 0.3 else 1 if felt > 0 or who == 6 else -1
            row = {"prompt": f"what is {prompt}", "first": f"one {first} {prompt}", "second": f"one {second} {prompt}"}
            rows.append(row | {"rater": f"rater {who}", "preference": 1 if who == 6 else said})
    return rows


def write_compared(folder: Path, rows: list[dict[str, Any]], **changes: Any) -> None:
    write_csv(folder / "comparisons.csv", rows)
    content = {"name": "compared", "annotators": "people", "comparisons": {"path": "comparisons.csv"}, "output": "run"}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(content | changes))


def preferences(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(folder / "run" / "tables" / "preferences.parquet").to_pylist()
    return rows


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("compared")
    write_compared(folder, comparisons())
    done = dprm("run", "recipe.yaml", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout + done.stderr


def test_every_pair_of_a_prompt_has_its_probability_and_share(finished: tuple[Path, str]) -> None:
    rows = preferences(finished[0])
    assert len(rows) == 3 * PROMPTS  # also those that nobody compared
    assert {row["basis"] for row in rows} == {"comparisons"}
    for row in rows:
        assert 0.5 <= row["probability"] <= 1
        assert 0 <= row["share_low"] <= row["share"] <= row["share_high"] <= 1
        assert row["margin"] >= 0
        assert 0 < row["tie"] < 0.5
    best = [row for row in rows if "rude" in row["rejected"][0]["content"] and "kind" in row["chosen"][0]["content"]]
    assert len(best) > 0.9 * PROMPTS
    assert sum(row["share"] for row in best) / len(best) > 0.8


def test_the_summary_says_the_order_effect_and_who_looks_at_the_place_alone(finished: tuple[Path, str]) -> None:
    said = " ".join(finished[1].split())
    assert "Order effect: of two equal responses people choose the one shown first in" in said
    assert f"chose the first in {PROMPTS} of {PROMPTS} comparisons" in said
    found = json.loads((finished[0] / "run" / "manifest.json").read_text())["preferences"]["compared"]
    effect = found["order"]["human"]
    assert effect["low"] < effect["effect"] < effect["high"]
    assert effect["share_low"] < effect["share"] < effect["share_high"]
    assert len(found["places"]) == 1


def test_a_prompt_shows_its_responses_in_the_order_of_the_comparisons(finished: tuple[Path, str]) -> None:
    folder = finished[0]
    pair = preferences(folder)[0]
    by_sides = {(row["chosen_item_id"], row["rejected_item_id"]): row for row in preferences(folder)}
    shown = answer(dprm("show", "run", "--prompt", pair["group_id"], "--json", cwd=folder))
    responses = shown["responses"]
    assert shown["basis"] == "comparisons"
    assert len(responses) == 3 and shown["without_votes"] == 0
    for each, after in pairwise(responses):
        step = by_sides[each["item_id"], after["item_id"]]
        for name in ("probability", "share", "tie"):
            assert each[name] == pytest.approx(step[name], abs=1e-5)
        assert each["expected_reward"] - after["expected_reward"] == pytest.approx(step["margin"], abs=1e-5)
        assert each["evidence"] + after["evidence"] == pytest.approx(step["votes"], abs=1e-4)
    assert all(each["distribution"] is None for each in responses)  # nobody rated them
    assert all(each["reward_low"] < each["expected_reward"] < each["reward_high"] for each in responses)
    view = dprm("show", "run", "--prompt", pair["group_id"], cwd=folder).stdout
    assert "Better than the next with probability" in view and "by comparisons" in view


def test_ranked_lists_follow_from_the_comparisons(finished: tuple[Path, str]) -> None:
    folder = finished[0]
    done = dprm("export", "run", "--what", "ranked", "--output", "ranked.jsonl", cwd=folder)
    assert done.returncode == 0, done.stderr
    by_sides = {(row["chosen"][0]["content"], row["rejected"][0]["content"]): row for row in preferences(folder)}
    lists = [json.loads(line) for line in (folder / "ranked.jsonl").read_text().splitlines()]
    assert len(lists) == PROMPTS
    for row in lists:
        assert row["basis"] == "comparisons"
        texts = [completion[0]["content"] for completion in row["completions"]]
        steps = [by_sides[sides] for sides in pairwise(texts)]
        assert row["probability"] == pytest.approx([step["probability"] for step in steps], abs=1e-5)
        assert row["rewards"] == sorted(row["rewards"], reverse=True)
        assert all(0 < error < 5 for error in row["reward_errors"])


def test_a_run_of_comparisons_shows_its_pairs(finished: tuple[Path, str]) -> None:
    said = dprm("show", "run", cwd=finished[0]).stdout
    assert "no votes" not in said
    assert "surest" in said and "most divided" in said
    assert f"{3 * PROMPTS} preference pairs" in said
    assert "dprm show run --prompt" in " ".join(said.split())
    found = answer(dprm("show", "run", "--json", cwd=finished[0]))["pairs"]
    assert found["pairs"] == 3 * PROMPTS
    assert found["surest"][0]["probability"] >= found["surest"][-1]["probability"]


def test_an_order_that_an_older_version_did_not_keep_is_asked_for(finished: tuple[Path, str], tmp_path: Path) -> None:
    shutil.copytree(finished[0] / "run", tmp_path / "run")
    (tmp_path / "run" / "tables" / "utilities.parquet").unlink()
    group = preferences(tmp_path)[0]["group_id"]
    for command in (("show", "run", "--prompt", group), ("export", "run", "--what", "ranked", "--to", "jsonl")):
        done = dprm(*command, cwd=tmp_path)
        assert done.returncode == 2
        assert "dprm ratings fit" in done.stderr
    assert dprm("ratings", "fit", "run", cwd=tmp_path).returncode == 0
    assert dprm("show", "run", "--prompt", group, cwd=tmp_path).returncode == 0


def test_the_card_says_that_nothing_was_rated(finished: tuple[Path, str]) -> None:
    assert "Responses were compared and not rated" in (finished[0] / "run" / "README.md").read_text()


def test_the_table_of_comparisons_names_nobody(finished: tuple[Path, str]) -> None:
    table = pq.read_table(finished[0] / "run" / "tables" / "comparisons.parquet")
    assert table.schema.equals(COMPARISONS)
    assert table.num_rows == 7 * PROMPTS
    assert all(name.startswith("person-") for name in table["annotator_id"].to_pylist())


def test_a_run_again_reads_nothing_and_changes_nothing(finished: tuple[Path, str]) -> None:
    folder = finished[0]
    before = (folder / "run" / "tables" / "preferences.parquet").stat().st_mtime_ns
    done = dprm("run", "recipe.yaml", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "reading comparisons" not in done.stderr
    assert (folder / "run" / "tables" / "preferences.parquet").stat().st_mtime_ns == before


def test_ratings_and_comparisons_together(tmp_path: Path) -> None:
    pairs = [row for row in comparisons() if "plain" not in row["first"] + row["second"] and row["rater"] != "rater 6"]
    rated = ratings(20)
    write_people(tmp_path, rated, comparisons={"path": "comparisons.csv"})
    write_csv(tmp_path / "comparisons.csv", [row for row in pairs if 2 < int(row["prompt"].split()[-1]) < 30])
    done = dprm("run", "recipe.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = preferences(tmp_path)
    bases = {row["prompt"][0]["content"]: row["basis"] for row in rows}
    assert set(bases.values()) <= {"both", "ratings"}
    assert list(bases.values()).count("both") > 5
    assert "are of responses that the run does not have" in done.stderr  # prompts 20 to 24 are not rated
    slope = json.loads((tmp_path / "run" / "manifest.json").read_text())["preferences"]["compared"]["slope"]
    assert slope > 0
    both = next(row for row in rows if row["basis"] == "both")
    shown = answer(dprm("show", "run", "--prompt", both["group_id"], "--json", cwd=tmp_path))
    assert shown["basis"] == "both"
    first, second = shown["responses"]
    assert (first["item_id"], second["item_id"]) == (both["chosen_item_id"], both["rejected_item_id"])
    assert first["probability"] == pytest.approx(both["probability"], abs=1e-5)
    assert first["expected_reward"] - second["expected_reward"] == pytest.approx(both["margin"], abs=1e-5)
    judged = {row["item_id"]: row for row in pq.read_table(tmp_path / "run/tables/distributions.parquet").to_pylist()}
    means = [
        [of(row) for row in (first, second)]
        for of in (lambda row: row["expected_reward"], lambda row: judged[row["item_id"]]["expected_reward"])
    ]
    assert sum(means[0]) == pytest.approx(sum(means[1]), abs=1e-4)  # on the scale of the ratings
    done = dprm("export", "run", "--what", "ranked", "--output", "ranked.jsonl", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line)["basis"] for line in (tmp_path / "ranked.jsonl").read_text().splitlines()]
    assert set(found) == {"both", "ratings"}


def test_runs_without_comparisons_say_nothing_of_them(tmp_path: Path) -> None:
    write_people(tmp_path, ratings(5))
    assert dprm("run", "recipe.yaml", cwd=tmp_path).returncode == 0
    assert not (tmp_path / "run" / "tables" / "comparisons.parquet").exists()
    assert "compared" not in json.loads((tmp_path / "run" / "manifest.json").read_text())["preferences"]


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("steps", 100, "steps that is not known"),
        ("preference", 3, "beyond its steps"),
        ("weight", float("nan"), "weight"),
        ("step_probs", [0.5, 0.4, 0.2], "step_probs of a comparison are no probabilities of its 3 steps"),
        ("step_probs", [0.5, None, 0.5], "are no probabilities"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused(
    finished: tuple[Path, str], tmp_path: Path, column: str, value: Any, said: str
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(finished[0] / "run", copy)
    path = copy / "tables" / "comparisons.parquet"
    rows = pq.read_table(path).to_pylist()
    rows[4][column] = value
    pq.write_table(pa.Table.from_pylist(rows, schema=COMPARISONS), path)
    for file in copy.glob("tables/people_*"):
        file.unlink()
    with pytest.raises(InputError, match=said):
        fit_run(Run.open(copy))


def test_a_table_of_an_earlier_version_is_fitted_and_published(finished: tuple[Path, str], tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(finished[0] / "run", copy)
    for path in (copy / "tables" / "comparisons.parquet", copy / "tables" / "people_comparisons.parquet"):
        pq.write_table(pq.read_table(path).drop_columns(["set_id", "place", "step_probs"]), path)
    before = pq.read_table(copy / "tables" / "preferences.parquet")
    fit_run(Run.open(copy))
    assert pq.read_table(copy / "tables" / "preferences.parquet").equals(before)
    done = dprm("publish", "run", "--repo", "acme/pairs", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert answer(dprm("show", "run", "--json", cwd=tmp_path))["summary"]["comparisons"] > 0


SOURCE = [{"id": f"{p}{s}", "prompt": f"what is {p}", "response": f"one {s}"} for p in (1, 2) for s in "ab"]


@pytest.mark.parametrize(
    ("rows", "changes", "said"),
    [
        ([("1a", "2b", 1)], {}, "comparisons.csv:2: the two responses are to different prompts"),
        ([("1a", "1b", 1), ("1a", "9z", 1)], {}, "comparisons.csv:3: no such response: 9z"),
        ([("1a", "1b", 1), ("1a", "1a", 1)], {}, "comparisons.csv:3: a response is compared with itself"),
        ([("1a", "1b", 1), ("1a", "1b", "perhaps")], {}, "comparisons.csv:3: preference: found 'perhaps'"),
        ([("1a", "1b", 2)], {"steps": 3}, "a preference of 2 does not fit comparisons.steps: 3"),
        ([("1a", "1b", 1)], {"columns": {"preference": "liked"}}, "no column 'liked' for preference"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, rows: Any, changes: dict[str, Any], said: str) -> None:
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in SOURCE))
    table = [
        {"first_item_id": a, "second_item_id": b, "annotator": f"p{i}", "preference": v}
        for i, (a, b, v) in enumerate(rows)
    ]
    write_compared(tmp_path, table, source={"path": "items.jsonl"}, comparisons={"path": "comparisons.csv"} | changes)
    done = dprm("run", "recipe.yaml", cwd=tmp_path)
    assert said in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


def test_a_table_that_lists_the_preferred_one_first_says_nothing_of_the_order(tmp_path: Path) -> None:
    rows = [row for row in comparisons() if row["preference"]]
    turned = [row if row["preference"] > 0 else row | {"first": row["second"], "second": row["first"]} for row in rows]
    write_compared(tmp_path, [row | {"preference": 1} for row in turned])
    done = dprm("run", "recipe.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "every comparison prefers the first" in done.stderr
    assert "Order effect" not in done.stdout
    kind = [row for row in preferences(tmp_path) if "kind" in row["chosen"][0]["content"]]
    assert len(kind) > PROMPTS
