"""Early stop: a pilot in full, then rounds; who is not asked has no annotation; running again asks nobody more."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from dprm_data.core.errors import RecipeError
from dprm_data.engine.early_stopping import EarlyStopping
from dprm_data.labels.space import LabelSpace
from dprm_data.recipe.recipe import EarlyStopConfig, Recipe
from tests.engine.helpers import dprm
from tests.engine.test_batch_mode import batch_recipe
from tests.helpers import answer, write_recipe, write_rows
from tests.servers.llm import LLMServer

ITEMS, PILOT = 60, 20
SETTINGS = {"within": 0.45, "pilot": PILOT, "first": 4, "step": 3}


def opinions(double: LLMServer) -> None:
    """Nearly all agree about even items; odd ones divide people."""

    def says(body: dict[str, object]) -> str:
        text = json.dumps(body)
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


def test_everybody_is_left_out_sometimes(tmp_path: Path, double: LLMServer) -> None:
    opinions(double)
    rows = [{"prompt": f"item number {2 * i} ?", "response": "r"} for i in range(ITEMS)]
    write_rows(tmp_path / "pairs.jsonl", rows)
    recipe = write_recipe(tmp_path, double.url, labels=6, panel="paper", early_stop=SETTINGS, limits={"concurrency": 2})
    answer(dprm("run", recipe, "--json", cwd=tmp_path))
    asked = Counter(pq.read_table(tmp_path / "run/tables/annotations.parquet")["annotator_id"].to_pylist())
    assert len(asked) == 15 and max(asked.values()) < ITEMS


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
