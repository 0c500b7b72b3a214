"""elicitation: best_worst: a panel says which response of a set is the best and which the worst, and preferences follow."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from itertools import combinations
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest

import dprm_data
from tests.helpers import answer, dprm, write_recipe, write_rows
from tests.publish.conftest import hub_environment
from tests.servers.hub import Hub
from tests.servers.llm import LLMServer

# 1 prompt with six responses, 3 with four, 1 with three, 1 with two, 1 with one; a response is as good as its number.
SIZES = (6, 4, 4, 4, 3, 2, 1)
ROWS = [
    {"prompt": f"What is question {prompt}?", "response": f"Answer worth {place} points."}
    for prompt, size in enumerate(SIZES)
    for place in range(size)
]
PEOPLE = 15
SETS = 3 + 3 + 1 + 1


def by_points(request: dict[str, Any]) -> str:
    """The best has the most points, the worst the fewest."""
    shown = re.findall(r"Response ([A-D]):\n#\w+#\nAnswer worth (\d+)", request["messages"][-1]["content"])
    worth = {letter: int(points) for letter, points in shown}
    return orjson.dumps(
        {"best": max(worth, key=worth.__getitem__), "worst": min(worth, key=worth.__getitem__)}
    ).decode()


def write_sets(folder: Path, url: str, rows: list[dict[str, str]] = ROWS, **changes: Any) -> None:
    write_rows(folder / "pairs.jsonl", rows)
    write_recipe(folder, url, **({"elicitation": "best_worst", "panel": "paper"} | changes))


def table(folder: Path, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(folder / "run" / "tables" / f"{name}.parquet").to_pylist()
    return rows


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("best_worst")
    with LLMServer() as server:
        server.says = by_points
        write_sets(folder, server.url)
        planned = answer(dprm("plan", "recipe.yaml", "--json", "--output", "planned", cwd=folder))
        done = dprm("run", "recipe.yaml", cwd=folder)
        assert done.returncode == 0, done.stderr
        made = server.tally.requests
        again = dprm("run", "recipe.yaml", cwd=folder)
        assert again.returncode == 0, again.stderr
        yield folder, planned, done, made, server.tally.requests


def test_everybody_is_asked_once_about_every_set(finished: Any) -> None:
    folder, planned, done, made, after = finished
    assert len(table(folder, "personas")) == PEOPLE
    assert planned["annotations"] == planned["calls_needed"] == made == after == SETS * PEOPLE
    assert "8 sets of responses, each shown in 4 orders" in done.stderr
    status = answer(dprm("status", "run", "--json", cwd=folder))
    assert status["items_done"] == SETS * 4
    assert not status["calls_left"]


def test_five_comparisons_follow_from_an_answer_about_four(finished: Any) -> None:
    points = {
        row["item_id"]: int(re.findall(r"\d+", row["completion"][0]["content"])[0])
        for row in table(finished[0], "items")
    }
    answers = defaultdict(list)
    for row in table(finished[0], "comparisons"):
        answers[row["set_id"], row["annotator_id"]].append(row)
    assert len(answers) == SETS * PEOPLE
    pairs = pq.read_table(finished[0] / "run" / "tables" / "pairs.parquet").to_pylist()
    shown = {row["item_id"]: orjson.loads(row["metadata"])["responses"] for row in pairs}
    for (set_id, _), rows in answers.items():
        responses = shown[set_id]
        assert len(rows) == {4: 5, 3: 3, 2: 1}[len(responses)]
        assert [row["place"] for row in rows] == [*range(len(rows))]
        worth = sorted((points[each] for each in responses), reverse=True)
        ends = {worth[0], worth[-1]}
        said = {(points[row["first_item_id"]], points[row["second_item_id"]]) for row in rows}
        assert {frozenset(pair) for pair in said} == {frozenset(p) for p in combinations(worth, 2) if ends & {*p}}
        for row in rows:
            first, second = row["first_item_id"], row["second_item_id"]
            assert responses.index(first) < responses.index(second)
            assert row["preference"] == (1 if points[first] > points[second] else -1)
            assert (row["steps"], row["ordered"], row["status"]) == (2, True, "ok")
        assert len({row["call_key"] for row in rows}) == 1
        assert rows[0]["cost"] > 0
        assert not any(row["cost"] for row in rows[1:])


def test_each_response_is_shown_in_every_place_and_before_every_other(finished: Any) -> None:
    asked = Counter({row["set_id"]: 0 for row in table(finished[0], "comparisons")})
    asked.update(row["set_id"] for row in table(finished[0], "comparisons") if row["place"] == 0)
    places, before = defaultdict(set), Counter[tuple[str, str]]()
    for row in pq.read_table(finished[0] / "run" / "tables" / "pairs.parquet").to_pylist():
        responses = orjson.loads(row["metadata"])["responses"]
        assert asked[row["item_id"]] in (3, 4)  # a quarter of fifteen
        for place, each in enumerate(responses):
            places[frozenset(responses), each].add(place)
        before.update(combinations(responses, 2))
    for (together, _), found in places.items():
        assert len(together) < 4 or found == {0, 1, 2, 3}
    assert all(count == before[second, first] for (first, second), count in before.items())


def test_preferences_put_the_responses_in_their_order(finished: Any) -> None:
    rows = table(finished[0], "preferences")
    assert len(rows) == sum(size * (size - 1) // 2 for size in SIZES)
    worth = [[int(re.findall(r"\d+", row[side][0]["content"])[0]) for side in ("chosen", "rejected")] for row in rows]
    decided = [row["probability"] for row, (chosen, rejected) in zip(rows, worth, strict=True) if chosen > rejected]
    assert len(decided) > 0.85 * len(rows)  # nobody was asked which of two in the middle is better
    assert {row["basis"] for row in rows} == {"comparisons"}
    four = [row for row, (chosen, rejected) in zip(rows, worth, strict=True) if {chosen, rejected} == {0, 3}]
    assert all(row["probability"] > 0.95 and row["votes"] >= PEOPLE / 2 for row in four)


def test_an_answer_is_counted_and_paid_once(finished: Any) -> None:
    said = answer(dprm("show", "run", "--json", cwd=finished[0]))["summary"]
    rows = table(finished[0], "comparisons")
    assert said["annotations"] == said["comparisons"] == SETS * PEOPLE
    assert said["cost"] == pytest.approx(sum(row["cost"] for row in rows))
    opened = dprm_data.open_run(str(finished[0] / "run"))
    assert opened.cost == pytest.approx(said["cost"])
    shown = " ".join(finished[2].stdout.split())
    assert f"{len(rows)} comparisons by 15 personas, from {SETS * PEOPLE} answers that name the best" in shown
    report = dprm("report", "run", cwd=finished[0])
    assert report.returncode == 0, report.stderr


@pytest.mark.slow
def test_over_a_hub_and_back(finished: Any, tmp_path: Path) -> None:
    with Hub() as hub:
        environment = hub_environment(hub, tmp_path / "hf")
        pushed = dprm("publish", "run", "--repo", "acme/sets", "--license", "mit", cwd=finished[0], **environment)
        assert pushed.returncode == 0, pushed.stderr
        pulled = dprm("pull", "acme/sets", str(tmp_path / "run"), cwd=tmp_path, **environment)
        assert pulled.returncode == 0, pulled.stderr
    here, there = (sorted(map(str, table(folder, "comparisons"))) for folder in (finished[0], tmp_path))
    assert here == there
    assert dprm("ratings", "fit", "run", cwd=tmp_path).returncode == 0
    before, after = (
        {(row["chosen_item_id"], row["rejected_item_id"]): row["probability"] for row in table(folder, "preferences")}
        for folder in (finished[0], tmp_path)
    )
    assert after == pytest.approx(before)


BAD = ['{"best": "A", "worst": "a"}', '{"best": "A", "worst": "E"}', '{"best": "Response b"}', "A, then B."]


def test_what_cannot_be_read_is_asked_again(tmp_path: Path) -> None:
    faults, stubborn = set[str](), []

    def says(request: dict[str, Any]) -> str:
        asked, *reminders = [each["content"] for each in request["messages"] if each["role"] == "user"]
        faults.update(reminders)
        stubborn.append(asked)
        again = len(reminders)
        return BAD[again] if again < 3 or asked == stubborn[0] else '{"best": "Response b", "worst": "c."}'

    with LLMServer() as server:
        write_sets(tmp_path, server.url, ROWS[6:10], max_reasks=3, limits={"give_up_unusable": 0})
        server.says = says
        done = dprm("run", "recipe.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for fault in ("A cannot be both the best and the worst", "'E' is none of A, B, C, D", 'there is no "worst"'):
        assert any(fault in each for each in faults)
    rows = table(tmp_path, "comparisons")
    [failed] = [row for row in rows if row["status"] != "ok"]
    assert (failed["status"], failed["preference"]) == ("unparsable", None)
    assert len(rows) == 5 * (PEOPLE - 1) + 1


@pytest.mark.slow
def test_sets_per_prompt_and_half_of_a_run_is_gone_on_with(tmp_path: Path) -> None:
    with LLMServer() as server:
        server.says = by_points
        write_sets(tmp_path, server.url, ROWS[:6], compare={"sets": 2}, budget={"max_cost": 0.001})
        stopped = dprm("run", "recipe.yaml", cwd=tmp_path)
        assert stopped.returncode != 0
        made = server.tally.requests
        assert 0 < made < 2 * PEOPLE
        write_sets(tmp_path, server.url, ROWS[:6], compare={"sets": 2})
        assert dprm("run", "recipe.yaml", cwd=tmp_path).returncode == 0
        assert server.tally.requests == 2 * PEOPLE


def test_a_panel_of_two_and_a_rationale(tmp_path: Path) -> None:
    with LLMServer() as server:
        write_sets(tmp_path, server.url, ROWS[6:21], panel={"use": "paper", "sample": 2}, rationale=True)
        done = dprm("run", "recipe.yaml", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        rows = [row for row in table(tmp_path, "comparisons") if row["place"] == 0]
    assert len(rows) == 4 * 2
    assert all(row["rationale"] for row in rows if row["status"] == "ok")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"compare": {"pairs": "all"}}, "compare.pairs: says nothing to elicitation: best_worst"),
        ({"compare": {"steps": 3}}, "compare.steps: says nothing to elicitation: best_worst"),
        ({"elicitation": "compare", "compare": {"sets": 3}}, "compare.sets: says nothing to elicitation: compare"),
        ({"compare": {"sets": 0}}, "compare.sets"),
        ({"prior": {}}, "with elicitation: best_worst, leave it out"),
    ],
)
def test_what_does_not_go_together_is_said(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    write_recipe(tmp_path, **({"elicitation": "best_worst"} | changes))
    done = dprm("run", "recipe.yaml", cwd=tmp_path)
    assert done.returncode == 2, done.stdout
    assert said in " ".join(done.stderr.split())
