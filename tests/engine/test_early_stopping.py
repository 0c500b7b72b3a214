"""Early stop: a pilot in full, then rounds; who is not asked has no annotation; running again asks nobody more."""

from __future__ import annotations

import json
import random
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from dprm_data.core.errors import RecipeError
from dprm_data.engine.early_stopping import EarlyStopping
from dprm_data.labels.space import LabelSpace
from dprm_data.recipe.recipe import EarlyStopConfig, Recipe
from tests.engine.test_batch_mode import batch_recipe
from tests.helpers import answer, write_recipe, write_rows
from tests.processes import dprm
from tests.servers.llm import LLMServer

ITEMS, PILOT = 60, 20
SETTINGS = {"within": 0.45, "pilot": PILOT, "first": 4, "step": 3}


def opinions(double: LLMServer) -> None:
    """Nearly all agree about even items; odd ones divide people."""

    def says(body: dict[str, Any]) -> str | None:
        text = json.dumps(body)
        if "label" not in body["response_format"]["json_schema"]["schema"]["properties"]:
            return None  # a whole distribution is asked for: the double makes one up
        number = int(text.split("item number ")[1].split(" ")[0])
        dice = random.Random(text)
        label = dice.choice("123456") if number % 2 else "5" if dice.random() < 0.97 else "4"
        return json.dumps({"label": label})

    double.says = says


def asked_per_item(folder: Path) -> tuple[list[int], list[int]]:
    """Annotations of the items on which people agree, and of those that divide them, after the pilot."""
    prompts = {
        row["item_id"]: int(row["prompt"][-1]["content"].split("item number ")[1].split(" ")[0])
        for row in pq.read_table(folder / "run/tables/items.parquet").to_pylist()
    }
    found = Counter(pq.read_table(folder / "run/tables/annotations.parquet")["item_id"].to_pylist())
    numbers = {prompts[item]: count for item, count in found.items()}
    late = range(PILOT + 16, ITEMS)  # those opened before the prior was learned are asked in full too
    return [numbers[n] for n in late if n % 2 == 0], [numbers[n] for n in late if n % 2]


@pytest.mark.parametrize("mode", ["direct", "batch"])
def test_agreement_is_asked_less(tmp_path: Path, double: LLMServer, mode: str) -> None:
    opinions(double)
    rows = [{"prompt": f"item number {i} ?", "response": "r"} for i in range(ITEMS)]
    write_rows(tmp_path / "pairs.jsonl", rows)
    changes = {"labels": 6, "panel": "paper", "early_stop": SETTINGS}
    if mode == "batch":
        recipe = batch_recipe(tmp_path, double.url, **changes)
    else:
        recipe = write_recipe(tmp_path, double.url, limits={"concurrency": 4}, **changes)
    done = answer(dprm("run", recipe, "--json", cwd=tmp_path))
    assert double.tally.requests == len(double.tally.bodies) == done["summary"]["annotations"]
    agreed, divided = asked_per_item(tmp_path)
    assert np.mean(agreed) < 0.75 * np.mean(divided)
    assert min(agreed) >= 4 and max(divided) <= 15
    requests = double.tally.requests
    answer(dprm("run", recipe, "--json", cwd=tmp_path))
    assert double.tally.requests == requests, "an item that was left early stays left"


@pytest.mark.slow
def test_everybody_is_left_out_sometimes(tmp_path: Path, double: LLMServer) -> None:
    opinions(double)
    rows = [{"prompt": f"item number {2 * i} ?", "response": "r"} for i in range(ITEMS)]
    write_rows(tmp_path / "pairs.jsonl", rows)
    recipe = write_recipe(tmp_path, double.url, labels=6, panel="paper", early_stop=SETTINGS, limits={"concurrency": 2})
    answer(dprm("run", recipe, "--json", cwd=tmp_path))
    asked = Counter(pq.read_table(tmp_path / "run/tables/annotations.parquet")["annotator_id"].to_pylist())
    assert len(asked) == 15 and max(asked.values()) < ITEMS


@pytest.mark.parametrize("mode", ["direct", "batch"])
def test_the_population_is_asked_about_every_item_and_is_nobody_of_the_panel(
    tmp_path: Path, double: LLMServer, mode: str
) -> None:
    opinions(double)
    double.script({"chances": {"unparsable": 0.1}})  # which is asked again
    rows = [{"prompt": f"item number {2 * i} ?", "response": "r"} for i in range(ITEMS)]
    write_rows(tmp_path / "pairs.jsonl", rows)
    # As wide as can be: the first few people are enough everywhere.
    settings = SETTINGS | {"within": 3.0, "first": 3}
    changes = {"labels": 6, "panel": "paper", "prior": {}, "early_stop": settings}
    if mode == "batch":
        recipe = batch_recipe(tmp_path, double.url, **changes)
    else:
        recipe = write_recipe(tmp_path, double.url, limits={"concurrency": 2}, **changes)
    answer(dprm("run", recipe, "--json", cwd=tmp_path))
    annotations = pq.read_table(tmp_path / "run/tables/annotations.parquet").to_pylist()
    stated = Counter(row["item_id"] for row in annotations if row["annotator_id"] == "population")
    people = Counter(row["item_id"] for row in annotations if row["annotator_id"] != "population")
    assert len(stated) == ITEMS and set(stated.values()) == {1}
    assert Counter(people.values()) == {15: people_in_full(people), 3: ITEMS - people_in_full(people)}
    assert people_in_full(people) < ITEMS / 2


def people_in_full(people: Counter[str]) -> int:
    """Items that were asked of the whole panel: the pilot, and those opened before its prior was learned."""
    return sum(count == 15 for count in people.values())


@pytest.mark.slow
def test_a_run_that_left_the_population_out_asks_it_now(tmp_path: Path, double: LLMServer) -> None:
    """What a run had in which the population took its turn among the people is kept; only missing distributions are asked for."""
    opinions(double)
    rows = [{"prompt": f"item number {2 * i} ?", "response": "r"} for i in range(ITEMS)]
    write_rows(tmp_path / "pairs.jsonl", rows)
    settings = SETTINGS | {"within": 3.0, "first": 3}
    changes = {"labels": 6, "panel": "paper", "early_stop": settings, "limits": {"concurrency": 2}}
    answer(dprm("run", write_recipe(tmp_path, double.url, prior={}, **changes), "--json", cwd=tmp_path))
    annotations = pq.read_table(tmp_path / "run/tables/annotations.parquet").to_pylist()
    lost = [row["call_key"] for row in annotations if row["annotator_id"] == "population"][PILOT + 10 :]
    with sqlite3.connect(tmp_path / "run/ledger.sqlite") as db:  # as the version before left it
        gone = sum(db.execute("DELETE FROM calls WHERE key = ?", (bytes.fromhex(k),)).rowcount for k in lost)
        assert gone == len(lost) == ITEMS - PILOT - 10
        db.execute("UPDATE done SET plan = x'00'")
    requests = double.tally.requests
    answer(dprm("run", tmp_path / "recipe.yaml", "--json", cwd=tmp_path))
    after = pq.read_table(tmp_path / "run/tables/annotations.parquet").to_pylist()
    assert double.tally.requests - requests == len(lost)
    assert {row["call_key"] for row in after} == {row["call_key"] for row in annotations}


def test_more_votes_make_it_narrower() -> None:
    dice = np.random.default_rng(0)
    for measure in ("reward", "wasserstein"):
        config = EarlyStopConfig(within=0.3, pilot=20, measure=measure)  # type: ignore[arg-type]
        rounds = EarlyStopping(config, LabelSpace.load(6))
        for _ in range(20):
            rounds.learn(dice.multinomial(15, dice.dirichlet(np.ones(6))).astype(float))
        assert rounds.ready
        few, many = np.array([0, 0, 1, 2, 1, 0.0]), np.array([0, 0, 10, 20, 10, 0.0])
        assert rounds.width(many) < 0.6 * rounds.width(few)


def test_logprobs_cannot_stop_early() -> None:
    content = {"provider": {"name": "local"}, "elicitation": "logprobs", "early_stop": {"within": 0.3}}
    with pytest.raises(RecipeError, match="early_stop"):
        Recipe.of(content)
