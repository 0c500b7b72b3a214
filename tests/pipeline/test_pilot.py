"""The pilot: what it finds, what it pays, and what the run after it does not pay again."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from dprm_data import pilot, run
from dprm_data.cli import app
from dprm_data.core.errors import BudgetReached
from tests.helpers import answer, dprm, write_recipe, write_rows
from tests.servers.llm import LLMServer

ITEMS, PERSONAS, PILOT = 40, 4, 12
LABELS = ["helpful, harmless", "neutral, harmless", "not helpful, harmless"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)  # the recipe's output is relative to it
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    rows = [{"prompt": f"Question {i}?", "response": f"Answer number {i}."} for i in range(ITEMS)]
    write_rows(tmp_path / "pairs.jsonl", rows)
    return tmp_path


def someone(moves: bool) -> Callable[[dict[str, Any]], str | None]:
    """Answers that the item decides, but for every sixth; each persona has a view of its own if `moves`. The same request gets the same answer."""

    def digits(*texts: str) -> bytes:
        return hashlib.sha256("\0".join(texts).encode()).digest()

    def says(data: dict[str, Any]) -> str | None:
        text = "\n".join(message["content"] for message in data["messages"])
        eyes, item = re.search("with these eyes: (.*)", text), re.search(r"Answer number (\d+)", text)
        if not eyes or not item:
            return None  # a stated distribution
        words = sorted(re.findall(r'"([^"]+)"', text.split("Answer with one of:")[1].split("Reply with")[0]))
        place = digits(item[1])[0] + (digits(text)[0] % 6 == 0)
        if moves:
            place += digits(eyes[1], item[1])[0]
        return json.dumps({"label": words[place % len(words)]})

    return says


def requests(double: LLMServer) -> int:
    return double.tally.requests


# -- what it finds ------------------------------------------------------------------------------------------------------


def test_the_warning_comes_where_personas_do_nothing(double: LLMServer, place: Path) -> None:
    double.says = someone(moves=False)
    write_recipe(place, double.url)
    done = dprm("pilot", "recipe.yaml", "--items", PILOT, cwd=place)
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert "do not move the answers beyond noise" in said
    assert "replicate noise" in said
    assert "These labels are simulated" in said
    content = answer(dprm("pilot", "recipe.yaml", "--items", PILOT, "--json", cwd=place))
    assert content["personas_above_noise"] is False
    assert requests(double) == PILOT * (PERSONAS * 2 + 1)  # the second pilot found all in the ledger
    assert content["stated"]["items"] == PILOT
    assert content["ok"] == content["annotations"] == PILOT * (PERSONAS * 2 + 1)


def test_no_warning_comes_where_personas_move_the_answers(double: LLMServer, place: Path) -> None:
    double.says = someone(moves=True)
    write_recipe(place, double.url)
    found = pilot(place / "recipe.yaml", items=PILOT)
    assert not found.warns
    assert found.as_dict()["personas_above_noise"] is True
    assert not any("beyond noise" in sentence for sentence in found.as_dict()["findings"])


def test_what_cannot_be_asked_twice_says_that_noise_was_not_measured(double: LLMServer, place: Path) -> None:
    write_recipe(place, double.url, elicitation="logprobs")
    double.script({"words": ["helpful", "somewhat", "not", "harmless", "harmful"]})
    found = pilot(place / "recipe.yaml", items=3)
    assert found.replicates == 1
    assert any("noise was not measured" in note for note in found.notes)
    assert found.variance
    assert found.variance.components.noise is None
    assert not found.warns


# -- what it pays -------------------------------------------------------------------------------------------------------


def test_a_run_does_not_pay_the_pilots_calls_again(double: LLMServer, place: Path) -> None:
    """The run asks once, and for no stated distribution: what the pilot asked beyond that is its own."""
    write_recipe(place, double.url)
    pilot(place / "recipe.yaml", items=PILOT)
    paid = requests(double)
    assert run(place / "recipe.yaml").counters.items == ITEMS
    assert requests(double) - paid == (ITEMS - PILOT) * PERSONAS
    items = pq.read_table(place / "run/tables/items.parquet")["item_id"].to_pylist()
    drawn = pq.read_table(place / "run/pilot/tables/items.parquet")["item_id"].to_pylist()
    assert len(drawn) == PILOT
    assert drawn == [item for item in items if item in set(drawn)]
    assert drawn != items[:PILOT]


@pytest.mark.slow
def test_a_pilot_after_the_run_pays_only_what_the_run_did_not_ask(double: LLMServer, place: Path) -> None:
    write_recipe(place, double.url, prior={"strength": 2}, replicates=2)
    run(place / "recipe.yaml")
    paid = requests(double)
    projection = pilot(place / "recipe.yaml", items=PILOT).projection
    assert requests(double) == paid
    assert (projection.calls_left, projection.left) == (0, 0)


def test_a_larger_pilot_contains_the_smaller(double: LLMServer, place: Path) -> None:
    write_recipe(place, double.url)
    each = PERSONAS * 2 + 1
    for items in (5, 9):
        pilot(place / "recipe.yaml", items=items)
        assert requests(double) == items * each
    pilot(place / "recipe.yaml", items=5, seed=1)
    assert requests(double) > 9 * each


def test_the_projection_is_what_the_run_costs(double: LLMServer, place: Path) -> None:
    write_recipe(place, double.url, replicates=3, prior={"strength": 2})
    projection = pilot(place / "recipe.yaml", items=PILOT).projection
    assert (projection.items, projection.calls) == (ITEMS, ITEMS * (PERSONAS * 3 + 1))
    assert projection.seconds
    run(place / "recipe.yaml")
    cost = sum(pq.read_table(place / "run/tables/annotations.parquet")["cost"].to_pylist())
    assert projection.cost.value == pytest.approx(cost, rel=0.02)
    assert 0 < (projection.left or 0) < cost


def test_a_large_run_knows_the_pilots_calls(double: LLMServer, place: Path) -> None:
    """Its plan counts a sample of the items, which the pilot's are not in."""
    write_rows(place / "pairs.jsonl", [{"prompt": f"Question {i}?", "response": "Yes."} for i in range(6000)])
    write_recipe(place, double.url)
    projection = pilot(place / "recipe.yaml", items=5).projection
    assert (projection.calls, projection.calls_left) == (6000 * PERSONAS, 5995 * PERSONAS)


def test_it_says_its_own_price_first_and_keeps_to_the_budget(double: LLMServer, place: Path) -> None:
    write_recipe(place, double.url)
    done = dprm("pilot", "recipe.yaml", "--max-cost", "0.001", cwd=place)
    assert done.returncode == 3
    assert re.search(r"the pilot: 25 items, 225 calls, about \$0\.\d+, at most \$0\.\d+", done.stderr)
    assert "budget of $0.001 is reached" in done.stderr
    assert 0 < requests(double) < 60
    write_recipe(place, double.url, budget={"max_cost": 0.001})
    with pytest.raises(BudgetReached):  # the recipe's budget holds, too
        pilot(place / "recipe.yaml", max_cost=5)


def test_max_cost_is_the_pilots_own(double: LLMServer, place: Path) -> None:
    """What the run has spent before does not count against it."""
    write_recipe(place, double.url)
    spent = run(place / "recipe.yaml").counters.cost
    assert pilot(place / "recipe.yaml", items=3, max_cost=spent / 2).items == 3


# -- mistakes -----------------------------------------------------------------------------------------------------------


def test_mistakes_are_said_without_a_traceback(place: Path) -> None:
    done = dprm("pilot", "nowhere.yaml", cwd=place)
    assert done.returncode == 2
    assert "nowhere.yaml" in done.stderr
    assert "Traceback" not in done.stderr
    for option, value in (("--items", "1"), ("--replicates", "0"), ("--max-cost", "-1")):
        refused = CliRunner().invoke(app, ["pilot", "recipe.yaml", option, value])
        assert refused.exit_code == 2
        assert option in refused.output
    assert "Ask about a few items twice" in CliRunner().invoke(app, ["pilot", "--help"]).output


def test_a_smaller_source_is_asked_whole(double: LLMServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_recipe(tmp_path, double.url)  # four items
    found = pilot(tmp_path / "recipe.yaml")
    assert found.items == 4
    assert found.variance
    assert any("too narrow" in note for note in found.variance.components.notes)
