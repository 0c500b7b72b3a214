"""The trial: raw answers beside what was read from them, and what the run after it does not pay again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import answer, dprm, write_recipe, write_rows
from tests.servers.llm import LLMServer

ITEMS, PERSONAS, TRIED = 12, 4, 5


@pytest.fixture
def place(tmp_path: Path) -> Path:
    rows = [{"prompt": f"Question {i}?", "response": f"Answer number {i}."} for i in range(ITEMS)]
    write_rows(tmp_path / "pairs.jsonl", rows)
    return tmp_path


def test_it_shows_raw_answers_with_what_was_read_and_the_price(double: LLMServer, place: Path) -> None:
    double.says = lambda data: 'Let me see. {"label": "helpful and harmless"} I hope this helps!'
    write_recipe(place, double.url)
    done = dprm("try", "recipe.yaml", cwd=place)
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert said.count("I hope this helps!") == TRIED * PERSONAS
    assert "5 items, 20 annotations (all with a label), $0." in said
    assert "the whole run 12 items, 48 calls" in said
    assert "the trial: 5 items, 20 calls" in done.stderr
    found = answer(dprm("try", "recipe.yaml", "--json", cwd=place))
    assert double.tally.requests == TRIED * PERSONAS  # the second trial found all in the ledger
    assert found["items"][0]["answers"][0]["label"] == "helpful_harmless"
    assert found["projection"]["calls_left"] == (ITEMS - TRIED) * PERSONAS


def test_it_says_how_it_asks_where_the_recipe_does_not(double: LLMServer, place: Path) -> None:
    write_recipe(place, double.url, elicitation="auto")
    done = dprm("try", "recipe.yaml", "--items", "1", cwd=place)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("elicitation: choice, because") == 1


def test_the_run_does_not_pay_for_it_again(double: LLMServer, place: Path) -> None:
    write_recipe(place, double.url, prior={"strength": 2})
    assert dprm("try", "recipe.yaml", cwd=place).returncode == 0
    assert dprm("run", "recipe.yaml", cwd=place).returncode == 0
    assert double.tally.requests == ITEMS * (PERSONAS + 1)


def test_answers_that_cannot_be_read_are_shown_with_what_to_change(double: LLMServer, place: Path) -> None:
    double.says = lambda data: "I would rather not put a number on that."
    write_recipe(place, double.url)
    done = dprm("try", "recipe.yaml", cwd=place)
    assert done.returncode == 1
    assert "I would rather not put a number on that." in done.stdout
    assert "stopped early" in done.stdout
    assert (done.stdout + done.stderr).count("The model does not keep to JSON.") == 1
    assert "Traceback" not in done.stderr
    write_recipe(place, double.url, limits={"give_up_unusable": 0})
    done = dprm("try", "recipe.yaml", cwd=place)
    assert done.returncode == 1
    assert "20 without a label" in done.stdout
    assert "To change: The model does not keep to JSON." in done.stdout
    assert "could not be read" in done.stdout


def test_a_wrong_key_says_so(double: LLMServer, place: Path) -> None:
    double.script({"key": "right"})
    write_recipe(place, double.url)
    done = dprm("try", "recipe.yaml", cwd=place, OPENAI_API_KEY="wrong")
    assert done.returncode == 1
    assert "Incorrect API key" in done.stderr
    assert "Traceback" not in done.stderr


def test_log_probabilities_are_shown_as_shares(double: LLMServer, place: Path) -> None:
    write_recipe(place, double.url, elicitation="logprobs")
    double.script({"words": ["helpful", "somewhat", "not", "harmless", "harmful"]})
    found = answer(dprm("try", "recipe.yaml", "--items", "1", "--json", cwd=place))
    assert sum(found["items"][0]["answers"][0]["probs"].values()) == pytest.approx(1, abs=1e-5)
    shown = dprm("try", "recipe.yaml", "--items", "1", cwd=place).stdout
    assert "%" in shown
