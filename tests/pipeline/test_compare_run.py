"""elicitation: compare: a panel compares two responses, both ways round, and preferences follow."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

import dprm_data
from tests.helpers import PAIRS, answer, dprm, write_recipe, write_rows
from tests.publish.conftest import hub_environment
from tests.servers.hub import Hub
from tests.servers.llm import LLMServer

THREE = [
    *PAIRS,
    {"prompt": PAIRS[0]["prompt"], "response": "Ask your mother."},
]  # 3 pairs of one prompt, 1 of the other


def write_compare(folder: Path, url: str, rows: list[dict[str, str]] = THREE, **changes: Any) -> None:
    write_rows(folder / "pairs.jsonl", rows)
    write_recipe(folder, url, elicitation="compare", **changes)


def table(folder: Path, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(folder / "run" / "tables" / f"{name}.parquet").to_pylist()
    return rows


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("compare")
    with LLMServer() as server:
        write_compare(folder, server.url)
        planned = answer(dprm("plan", "recipe.yaml", "--json", cwd=folder))
        done = dprm("run", "recipe.yaml", cwd=folder)
        assert done.returncode == 0, done.stderr
        made = server.tally.requests
        again = dprm("run", "recipe.yaml", cwd=folder)
        assert again.returncode == 0, again.stderr
        yield folder, planned, done, made, server.tally.requests


def test_everybody_compares_every_pair_both_ways_round(finished: Any) -> None:
    folder, planned, done, made, after = finished
    rows = table(folder, "comparisons")
    people = len(table(folder, "personas"))
    assert len(rows) == 4 * 2 * people
    seen = Counter((frozenset((row["first_item_id"], row["second_item_id"])), row["annotator_id"]) for row in rows)
    assert set(seen.values()) == {2}
    assert len({(row["first_item_id"], row["second_item_id"], row["annotator_id"]) for row in rows}) == len(rows)
    assert {row["preference"] for row in rows} <= {-1, 0, 1}
    assert made == after == len(rows)  # a second run pays nothing
    assert planned["annotations"] == planned["calls_needed"] == len(rows)
    assert not table(folder, "annotations")
    assert "Order effect" in done.stdout


def test_preferences_follow_from_them(finished: Any) -> None:
    rows = table(finished[0], "preferences")
    assert len(rows) == 4
    assert {row["basis"] for row in rows} == {"comparisons"}
    assert all(0.5 <= row["probability"] <= 1 and 0 < row["share"] < 1 for row in rows)


def test_cost_and_labels_are_counted(finished: Any) -> None:
    said = answer(dprm("show", "run", "--json", cwd=finished[0]))["summary"]
    rows = table(finished[0], "comparisons")
    assert said["annotations"] == len(rows)
    assert said["cost"] == pytest.approx(sum(row["cost"] for row in rows))
    assert said["voted_items"] == said["items"] == 5
    opened = dprm_data.open_run(str(finished[0] / "run"))
    assert opened.comparisons.num_rows == len(rows)
    assert opened.cost == pytest.approx(said["cost"])
    status = answer(dprm("status", "run", "--json", cwd=finished[0]))
    assert status["items_done"] == 8
    assert not status["calls_left"]


def test_a_report_and_a_card_are_written(finished: Any) -> None:
    done = dprm("report", "run", cwd=finished[0])
    assert done.returncode == 0, done.stderr
    assert "Order effect" in (finished[0] / "run" / "README.md").read_text()


@pytest.mark.slow
def test_over_a_hub_and_back(finished: Any, tmp_path: Path) -> None:
    with Hub() as hub:
        environment = hub_environment(hub, tmp_path / "hf")
        pushed = dprm("publish", "run", "--repo", "acme/pairs", "--license", "mit", cwd=finished[0], **environment)
        assert pushed.returncode == 0, pushed.stderr
        pulled = dprm("pull", "acme/pairs", str(tmp_path / "run"), cwd=tmp_path, **environment)
        assert pulled.returncode == 0, pulled.stderr
    for name in ("comparisons", "preferences"):
        here, there = (sorted(map(str, table(folder, name))) for folder in (finished[0], tmp_path))
        assert len(here) == len(there) > 0
    for command in (("ratings", "fit", "run"), ("show", "run"), ("report", "run")):
        done = dprm(*command, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    again = {(row["chosen_item_id"], row["rejected_item_id"]): row for row in table(tmp_path, "preferences")}
    for row in table(finished[0], "preferences"):
        assert again[row["chosen_item_id"], row["rejected_item_id"]]["probability"] == pytest.approx(row["probability"])


def test_half_of_the_panel_each_way(double: LLMServer, tmp_path: Path) -> None:
    write_compare(tmp_path, double.url, compare={"orders": "half", "steps": 7, "pairs": "adjacent"})
    done = dprm("run", "recipe.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = table(tmp_path, "comparisons")
    people = len(table(tmp_path, "personas"))
    assert len(rows) == 3 * people  # two neighbours of three responses, and one pair
    assert {row["steps"] for row in rows} == {7}
    by_pair = Counter((row["first_item_id"], row["second_item_id"]) for row in rows)
    assert all(abs(count - people / 2) <= 0.5 for count in by_pair.values())
    assert len(
        {(frozenset((row["first_item_id"], row["second_item_id"])), row["annotator_id"]) for row in rows}
    ) == len(rows)


def test_each_model_of_a_jury_has_its_order_effect(double: LLMServer, tmp_path: Path) -> None:
    write_compare(tmp_path, double.url)
    recipe = yaml.safe_load((tmp_path / "recipe.yaml").read_text())
    entry = recipe.pop("provider")
    recipe |= {"models": [entry | {"id": "one"}, entry | {"id": "two", "model": "gpt-4.1-mini"}], "design": "balanced"}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    done = dprm("run", "recipe.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "personas played by two choose the one shown first" in " ".join(done.stdout.split())
    played = Counter(
        (frozenset((row["first_item_id"], row["second_item_id"])), row["annotator_id"], row["model_id"])
        for row in table(tmp_path, "comparisons")
    )
    assert set(played.values()) == {2}  # the same model answers as a persona both ways round


def test_a_new_response_is_compared_and_nothing_is_paid_twice(double: LLMServer, tmp_path: Path) -> None:
    write_compare(tmp_path, double.url, PAIRS)
    assert dprm("run", "recipe.yaml", cwd=tmp_path).returncode == 0
    people, before = len(table(tmp_path, "personas")), double.tally.requests
    write_compare(tmp_path, double.url, THREE)
    assert dprm("run", "recipe.yaml", cwd=tmp_path).returncode == 0
    assert double.tally.requests - before == 2 * 2 * people


def test_who_always_says_the_first_is_named(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"what is {i}? [[say:A]]", "response": f"{word} {i}"} for i in range(6) for word in ("good", "bad")
    ]
    with LLMServer() as server:
        write_compare(tmp_path, server.url, rows)
        done = dprm("run", "recipe.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert "chose the first in 12 of 12 comparisons" in said
    assert all(row["probability"] == pytest.approx(0.5, abs=0.02) for row in table(tmp_path, "preferences"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"elicitation": "choice", "compare": {"steps": 3}}, "give elicitation: compare"),
        ({"compare": {"steps": 4}}, "compare.steps"),
        ({"compare": {"criterion": "  "}}, "criterion is empty"),
        ({"prior": {}}, "with elicitation: compare, leave it out"),
        ({"early_stop": {"within": 0.2}}, "with elicitation: compare, leave it out"),
    ],
)
def test_what_does_not_go_together_is_said(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    write_recipe(tmp_path, **({"elicitation": "compare"} | changes))
    done = dprm("run", "recipe.yaml", cwd=tmp_path)
    assert done.returncode == 2, done.stdout
    assert said in " ".join(done.stderr.split())


def test_a_source_with_one_response_to_each_prompt_has_nothing_to_compare(tmp_path: Path) -> None:
    write_rows(tmp_path / "pairs.jsonl", PAIRS[::2])
    write_recipe(tmp_path, elicitation="compare")
    done = dprm("run", "recipe.yaml", cwd=tmp_path)
    assert "no prompt of the source has two responses" in done.stderr


@pytest.mark.parametrize("command", [("try",), ("pilot",)])
def test_commands_that_look_at_labels_say_so(tmp_path: Path, command: tuple[str, ...]) -> None:
    write_recipe(tmp_path, elicitation="compare")
    done = dprm(*command, "recipe.yaml", cwd=tmp_path)
    assert done.returncode != 0
    assert "elicitation: compare" in done.stderr
    assert "Traceback" not in done.stderr
