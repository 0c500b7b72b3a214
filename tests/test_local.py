"""The main job with the real bundled model: nothing between the recipe and the dataset is a double."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.helpers import ROOT, answer, dprm, write_recipe, write_rows
from tests.servers.local_llm import LocalLLM

QUICKSTART = ROOT / "examples" / "quickstart"


def rows() -> list[dict[str, object]]:
    return [json.loads(line) for line in (QUICKSTART / "pairs.jsonl").read_text().splitlines()]


def test_personas_played_by_the_bundled_model(tmp_path: Path) -> None:
    write_rows(tmp_path / "pairs.jsonl", rows()[:2])
    write_recipe(tmp_path, provider={"name": "local"}, elicitation="logprobs", labels=str(QUICKSTART / "labels.yaml"))
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


def test_the_quickstart_is_as_the_readme_says() -> None:
    items = [(row["prompt"], response) for row in rows() for response in row["responses"]]  # type: ignore[attr-defined]
    assert len(items) == len(set(items)) == 12
