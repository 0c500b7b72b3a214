"""The main job with the real bundled model: nothing between the recipe and the dataset is a double."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from dprm_data import run
from dprm_data.recipe.recipe import Recipe
from tests.helpers import ROOT, answer, dprm, write_recipe, write_rows
from tests.servers.local_llm import LocalLLM

SMALL_WORDS = ROOT / "benchmarks" / "hh6_small_words.yaml"  # of two axes
QUICKSTART = ROOT / "examples" / "quickstart"


def rows() -> list[dict[str, object]]:
    return [json.loads(line) for line in (QUICKSTART / "pairs.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_personas_played_by_the_bundled_model(tmp_path: Path) -> None:
    write_rows(tmp_path / "pairs.jsonl", rows()[:2])
    write_recipe(tmp_path, provider={"name": "local"}, elicitation="logprobs", labels=str(SMALL_WORDS))
    done = answer(dprm("run", "recipe.yaml", "--json", cwd=tmp_path))
    assert done["annotate"]["statuses"] == done["summary"]["statuses"] == {"ok": 16}
    assert done["annotate"]["cost"] == 0
    annotations = pq.read_table(tmp_path / "run/tables/annotations.parquet").to_pylist()
    probs = np.array([row["probs"] for row in annotations])
    assert probs.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert probs.std(axis=0).max() > 0.01  # items and personas move it
    card = (tmp_path / "run/README.md").read_text()
    assert "The annotator is a very small model" in card
    again = answer(dprm("run", "recipe.yaml", "--json", cwd=tmp_path))
    assert again["annotate"]["calls"] == 0


@pytest.mark.slow
def test_the_bundled_model_behind_the_openai_provider_chooses(local_llm: LocalLLM, tmp_path: Path) -> None:
    """A server of one's own: structured output holds even a tiny model to the categories."""
    write_rows(tmp_path / "pairs.jsonl", rows()[:1])
    price = {"input": 0, "output": 0}
    provider = {
        "name": "openai",
        "model": local_llm.model,
        "base_url": f"{local_llm.url}/v1",
        "api_key_env": "LOCAL_TOKEN",
        "price": price,
        "temperature": 0,
    }
    write_recipe(tmp_path, provider=provider, labels="ordinal5", limits={"concurrency": 1})
    done = answer(dprm("run", "recipe.yaml", "--json", cwd=tmp_path, LOCAL_TOKEN=local_llm.token))
    assert done["annotate"]["statuses"] == {"ok": 8}
    labels = set(pq.read_table(tmp_path / "run/tables/annotations.parquet")["label"].to_pylist())
    assert labels <= {"bad", "poor", "fair", "good", "excellent"}


def test_the_quickstart_tells_good_from_bad(tmp_path: Path) -> None:
    """By one of its personas, which is quick; at least 9 of its 10 pairs are in the right order, which by their length 5 would be."""
    for file in QUICKSTART.iterdir():
        shutil.copy(file, tmp_path)
    recipe = Recipe.load(tmp_path / "recipe.yaml")
    one = recipe.model_copy(update={"panel": recipe.panel.model_copy(update={"sample": 1})})
    result = run(one, output=tmp_path / "run")
    rewards = {row["completion"][0]["content"]: row["expected_reward"] for row in result.distributions.to_pylist()}
    margins = [rewards[row["chosen"]] - rewards[row["rejected"]] for row in rows()]
    assert len(margins) == 10 and sum(margin > 0 for margin in margins) >= 9
    assert np.mean(margins) > 0.25  # of a scale from 1 to 5, after one vote
    longer = sum(len(str(row["chosen"])) > len(str(row["rejected"])) for row in rows())
    assert longer == 5


@pytest.mark.slow
def test_the_local_model_is_asked_in_the_label_words_where_it_answers_in_them(tmp_path: Path) -> None:
    write_recipe(tmp_path, provider={"name": "local"})
    planned = dprm("plan", "recipe.yaml", cwd=tmp_path)
    assert planned.returncode == 0, planned.stderr
    assert "elicitation: logprobs, because" in planned.stderr and "helpful" in planned.stderr
    assert "SmolLM2-135M-Instruct (98 MB)" in planned.stderr and "on the CPU" in planned.stderr
    write_recipe(tmp_path, provider={"name": "local"}, labels=5, output="digits")
    assert "elicitation: choice, because only" in dprm("plan", "recipe.yaml", cwd=tmp_path).stderr
