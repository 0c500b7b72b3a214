"""From a table of people's ratings to a trained reward model and its evaluation: three commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from dprm_data.cli import app
from tests.pipeline.test_people_run import ratings, write_people
from tests.trainers import tiny

CONVABUSE = Path(__file__).resolve().parents[3] / "shared" / "data" / "convabuse.parquet"


def said(*arguments: object) -> dict[str, Any]:
    done = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert done.exit_code == 0, done.output
    content: dict[str, Any] = json.loads(done.stdout)
    return content


def three_commands(recipe: Path, model: Path, folder: Path, *, epochs: int = 1) -> dict[str, Any]:
    """The three commands of the README; what the last one says."""
    run, reward = folder / "run", folder / "reward"
    said("run", recipe, "--output", run, "--quiet")
    said("train", "reward", "--data", run, "--model", model, "--output", reward, "--epochs", epochs, "--quiet")
    assert "given by people" in (reward / "README.md").read_text()
    assert "simulated" not in (reward / "README.md").read_text()
    found: dict[str, Any] = said("eval", "reward", "-m", reward, "--data", run)["figures"]
    assert str(reward) in found
    return found


def test_from_ratings_to_a_reward_model(tmp_path: Path) -> None:
    recipe = write_people(tmp_path, ratings(40), publish={"test": 0.25})
    three_commands(recipe, tiny.base_model(tmp_path / "base"), tmp_path, epochs=2)
    said("train", "reward", "--data", tmp_path / "run", "--model", tmp_path / "base", "--groups", "age",
         "--output", tmp_path / "groups", "--epochs", 1, "--quiet")  # fmt: skip


@pytest.mark.skipif(not CONVABUSE.is_file(), reason="the real ratings are not beside this checkout")
def test_real_ratings(tmp_path: Path) -> None:
    table = pq.read_table(CONVABUSE).slice(0, 400)
    pq.write_table(table, tmp_path / "convabuse.parquet")
    columns = {"prompt": "context"}
    recipe = {
        "annotators": "people",
        "labels": 5,
        "ratings": {"path": "convabuse.parquet", "columns": columns, "keep": ["bot"]},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    three_commands(tmp_path / "recipe.yaml", tiny.base_model(tmp_path / "base", context=512), tmp_path)
    items = pq.read_table(tmp_path / "run" / "tables" / "items.parquet").to_pylist()
    kept = [json.loads(item["metadata"]) for item in items]
    assert {row["item_id"] for row in kept} == set(table["item_id"].to_pylist())
    annotations = pq.read_table(tmp_path / "run" / "tables" / "annotations.parquet")
    assert annotations.num_rows == table.num_rows
