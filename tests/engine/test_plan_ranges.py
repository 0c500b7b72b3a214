"""Plans with a range: what runs cost lies within it, and their first answers say it closely. `benchmarks/plan_ranges.py` has 22 of these."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.plan_ranges import CASES, NARROW, Case, measured, script
from dprm_data.providers.characters import expected_tokens, token_range
from tests.helpers import answer, dprm, write_recipe, write_rows
from tests.servers.llm import LLMServer

BY_NAME = {case.name: case for case in CASES}
SMALL = [
    replace(BY_NAME["plain"], items=12),
    replace(BY_NAME["Korean, tokenizer for English"], items=12),
    replace(BY_NAME["long rationale"], items=12),
    replace(BY_NAME["cached, Anthropic"], items=12),
    replace(BY_NAME["re-asked, 15 %"], items=30),
]


@pytest.mark.parametrize("case", SMALL, ids=lambda case: case.name)
def test_what_a_run_costs_is_within_its_plans_range(tmp_path: Path, case: Case) -> None:
    found = measured(case, tmp_path)
    assert found.low < found.plan < found.high
    assert found.within
    assert found.error is not None and found.error < 0.25, "after the first answers"


def test_a_run_that_costs_far_more_than_planned_says_so(tmp_path: Path) -> None:
    said: list[str] = []
    found = measured(Case("thinks, and nobody knew", items=30, thoughts=900), tmp_path, said=said)
    assert not found.within and found.cost > 2 * found.high
    assert found.error is not None and found.error < 0.4
    [line] = [line for line in said if "expected to cost" in line]
    assert "more than the plan's" in line and "max_cost" in line


def test_the_ledger_corrects_the_plan(tmp_path: Path, double: LLMServer) -> None:
    """A run that a budget stopped: the plan of its rest rests on its answers, and says so."""
    double.bills = lambda asked, text, usage: usage.update(completion_tokens=70)
    write_rows(tmp_path / "pairs.jsonl", [{"prompt": f"q{i}", "response": "r"} for i in range(40)])
    recipe = write_recipe(tmp_path, double.url)
    before = answer(dprm("plan", recipe, "--json", cwd=tmp_path))
    assert before["corrected_by"] == 0 and "characters" in before["assumptions"][0]
    stopped = dprm("run", recipe, "--max-cost", before["cost_at_most"] / 4, cwd=tmp_path)
    assert stopped.returncode == 3
    after = answer(dprm("plan", recipe, "--json", cwd=tmp_path))
    low, high = after["cost_range"]
    assert after["corrected_by"] > 20 and low < after["cost"] < high < 1.3 * low
    assert "70 output tokens" in after["assumptions"][0]
    shown = dprm("plan", recipe, cwd=tmp_path).stdout
    assert ", likely $" in shown and "assumed" in shown
    rest = answer(dprm("run", recipe, "--max-cost", 10, "--json", cwd=tmp_path))
    assert low <= rest["annotate"]["cost"] <= high


@pytest.mark.parametrize("name", ["zh", "ko", "ru", "ar"])
def test_characters_of_other_scripts_count_for_more(name: str) -> None:
    import random

    text = script(name)(random.Random(1), 400)
    low, expected, high = token_range(text)
    assert low <= NARROW(text) <= high
    assert expected == pytest.approx(expected_tokens(text)) and expected > len(text) / 4


def test_english_is_four_characters_a_token() -> None:
    assert expected_tokens("a word " * 40) == 70
    low, expected, high = token_range("a word " * 40)
    assert low < expected == 70 < high


def test_figures_of_a_plan_without_prices(tmp_path: Path) -> None:
    provider: dict[str, Any] = {"name": "openai", "model": "mine", "base_url": "http://127.0.0.1:9/v1"}
    recipe = write_recipe(tmp_path, provider=provider, budget={"allow_unknown_price": True})
    planned = answer(dprm("plan", recipe, "--json", cwd=tmp_path))
    assert planned["cost"] is None and planned["cost_range"] is None and planned["calls_needed"] == 16
