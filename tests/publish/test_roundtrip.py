"""Publish, load, pull, fit: the way of a dataset from one desk to another, by the command and the real clients."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from tests.helpers import answer, dprm, environ
from tests.publish.conftest import PROMPTS, hub_environment
from tests.servers.hub import Hub

REPO = "acme/prefs"
ITEMS, PEOPLE = 2 * PROMPTS, 15


class Desk:
    """A run that was published, and a hub to get it from."""

    def __init__(self, hub: Hub, folder: Path, run: Path) -> None:
        self.hub, self.folder, self.run = hub, folder, run
        self.environment = hub_environment(hub, folder / "hf")

    def dprm(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        return dprm(*arguments, cwd=self.folder, **self.environment)

    def python(self, program: str) -> Any:
        """What a program that prints JSON says."""
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=environ(**self.environment),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=200,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def desk(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("desk")
    run = Path(shutil.copytree(finished, folder / "run", ignore=shutil.ignore_patterns("*.lock", ".lock")))
    with Hub() as hub:
        desk = Desk(hub, folder, run)
        done = desk.dprm("publish", "run", "--repo", REPO, "--test", "0.2", "--license", "mit", "--language", "en")
        assert done.returncode == 0, done.stderr
        assert "private" in done.stdout
        assert "v1" in done.stdout
        yield desk


@pytest.fixture(scope="module")
def pulled(desk: Desk) -> Path:
    done = desk.dprm("pull", REPO, "pulled", "--revision", "v1")
    assert done.returncode == 0, done.stderr
    return desk.folder / "pulled"


def table(folder: Path, name: str) -> dict[str, dict[str, Any]]:
    """Rows by what identifies them."""
    rows = pq.read_table(folder / "tables" / f"{name}.parquet").to_pylist()
    keys = {
        "annotations": ("item_id", "annotator_id", "replicate"),
        "preferences": ("chosen", "rejected"),
        "personas": ("persona_id",),
    }
    return {str([row[key] for key in keys.get(name, ("item_id",))]): row for row in rows}


LOAD = f"""
import json
from datasets import load_dataset, ClassLabel
found = {{}}
for config in ("default", "preferences", "annotations", "personas", "run"):
    for streaming in (False, True):
        splits = load_dataset("{REPO}", config, streaming=streaming)
        rows = {{name: list(split) for name, split in splits.items()}}
        first = next(iter(splits.values()))
        found[f"{{config}} {{streaming}}"] = {{
            "rows": {{name: len(some) for name, some in rows.items()}},
            "same": json.dumps(rows, default=str, sort_keys=True),
            "features": str(first.features),
        }}
data = load_dataset("{REPO}")
label = data["train"].features["label"]
found["label"] = label.names if isinstance(label, ClassLabel) else None
found["prompts"] = {{name: [json.dumps(p) for p in split["prompt"]] for name, split in data.items()}}
found["argmax"] = all(max(range(6), key=lambda k: row["label_distribution"][k]) == row["label"] for row in data["train"])
print(json.dumps(found))
"""


def test_every_config_loads_and_streams_with_its_types(desk: Desk) -> None:
    found = desk.python(LOAD)
    for config in ("default", "preferences", "annotations", "personas", "run"):
        whole, streamed = found[f"{config} False"], found[f"{config} True"]
        assert whole["same"] == streamed["same"], config
        assert whole["features"] == streamed["features"]
    assert sum(found["default False"]["rows"].values()) == ITEMS
    assert set(found["default False"]["rows"]) == {"train", "test"}
    assert sum(found["annotations False"]["rows"].values()) == ITEMS * PEOPLE * 2
    assert found["personas False"]["rows"] == {"train": PEOPLE}
    space = json.loads((desk.run / "manifest.json").read_text())["label_space"]
    assert found["label"] == [label["name"] for label in space["labels"]]
    assert found["argmax"]
    assert "'prompt': List({'role': Value('string'), 'content': Value('string')})" in found["default False"]["features"]
    assert "ClassLabel" in found["annotations False"]["features"]
    # No conversation stands on both sides: not the prompt, and not what opens it.
    openings = {
        split: {json.loads(prompt)[0]["content"] for prompt in prompts} for split, prompts in found["prompts"].items()
    }
    assert not openings["train"] & openings["test"]


def test_the_pulled_folder_holds_the_same_tables(desk: Desk, pulled: Path) -> None:
    for name in ("items", "annotations", "distributions", "preferences", "personas"):
        assert table(pulled, name) == table(desk.run, name), name
    ids = [pq.read_table(folder / "tables/items.parquet")["item_id"].to_pylist() for folder in (desk.run, pulled)]
    assert ids[0] == ids[1], "the order counts too"


def test_fitting_again_gives_the_same_distributions(desk: Desk, pulled: Path) -> None:
    done = desk.dprm("fit", "pulled", "--json")
    assert answer(done)["summary"]["items"] == ITEMS
    first, again = table(desk.run, "distributions"), table(pulled, "distributions")
    assert first.keys() == again.keys()
    for key, row in first.items():
        np.testing.assert_allclose(again[key]["label_distribution"], row["label_distribution"], atol=1e-5)
        assert again[key]["votes"] == row["votes"]
    assert desk.dprm("show", "pulled").returncode == 0


@pytest.mark.slow
def test_a_pulled_dataset_can_be_published_again(desk: Desk, pulled: Path) -> None:
    done = desk.dprm("publish", "pulled", "--repo", REPO, "--license", "cc0-1.0", "--json")
    pushed = answer(done)
    assert pushed["changes"]["version"] == 2
    # The split travels with the recipe: nothing has moved between training and testing.
    assert (
        pushed["rows"]["default"]
        == answer(desk.dprm("publish", "run", "--repo", "acme/again", "--test", "0.2", "--json"))["rows"]["default"]
    )


@pytest.mark.slow
def test_a_pulled_run_does_not_need_the_model(desk: Desk, pulled: Path) -> None:
    """Whoever pulls labels of a local model need not have its file."""
    folder = Path(shutil.copytree(pulled, desk.folder / "without-model"))
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    recipe["provider"] = {"name": "local", "model": "/nowhere/model.gguf"}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    for command in ("fit", "show", "report"):
        done = desk.dprm(command, folder)
        assert done.returncode == 0, done.stderr
    page = (folder / "report.html").read_text()
    assert "There is no ledger (" in page
    assert "gpt-4o-mini" in page


def test_annotating_in_a_pulled_folder_is_refused(desk: Desk, pulled: Path) -> None:
    done = desk.dprm("run", "pulled/recipe.yaml", "--output", "pulled")
    assert done.returncode != 0
    assert "Traceback" not in done.stderr


READERS = """
import json, sys, glob
files = sorted(glob.glob("parquet/data/default/*.parquet"))
import pandas, polars, duckdb
frames = [pandas.concat([pandas.read_parquet(f) for f in files]), polars.concat([polars.read_parquet(f) for f in files])]
frames[1] = frames[1].to_dicts()
frames[0] = frames[0].to_dict("records")
ducks = duckdb.sql("select item_id, prompt, expected_reward, label, label_distribution from read_parquet('parquet/data/default/*.parquet')")
frames.append([dict(zip(ducks.columns, row)) for row in ducks.fetchall()])
mean = duckdb.sql("select avg(len(prompt)), count(*) from 'parquet/data/preferences/*.parquet' where margin > 0").fetchall()[0]
rows = [sorted((r["item_id"], r["prompt"][-1]["content"], round(float(r["expected_reward"]), 6), int(r["label"]), len(r["label_distribution"])) for r in frame) for frame in frames]
print(json.dumps({"same": rows[0] == rows[1] == rows[2], "rows": len(rows[0]), "pairs": mean[1], "turns": mean[0]}))
"""


def test_pandas_polars_and_duckdb_read_the_files(desk: Desk) -> None:
    for path, data in desk.hub.repos[REPO].files.items():
        if path.endswith(".parquet"):
            local = desk.folder / "parquet" / path
            local.parent.mkdir(parents=True, exist_ok=True)
            local.write_bytes(data)
    found = desk.python(READERS)
    assert found["same"]
    assert found["rows"] == ITEMS
    assert found["pairs"] == len(table(desk.run, "preferences"))
    assert found["turns"] > 1


def test_what_cannot_be_pulled(desk: Desk) -> None:
    (desk.folder / "there").mkdir(exist_ok=True)
    (desk.folder / "there" / "file").touch()
    desk.hub.create("acme/other").write("README.md", b"not ours")
    for arguments, says in (
        ((REPO, "there"), "already exists"),
        (("acme/nothing", "new"), "no dataset acme/nothing"),
        (("acme/other", "new"), "was not published by dprm"),
        ((REPO, "new", "--revision", "v99"), "no such dataset or version"),
        (("nonsense", "new"), "not the name of a dataset repository"),
    ):
        done = desk.dprm("pull", *arguments)
        assert done.returncode in (1, 2), arguments
        assert says in done.stderr
        assert "Traceback" not in done.stderr
        assert not (desk.folder / "new").exists()


def test_a_dataset_that_others_changed_is_not_pulled(desk: Desk) -> None:
    whole = desk.hub.repos[REPO]
    broken = desk.hub.repos["acme/broken"] = type(whole)("acme/broken", True, dict(whole.commits), dict(whole.branches))
    path = next(path for path in broken.files if path.startswith("data/default/train"))
    broken.write(path, broken.files[path][:-10] + b"0123456789")
    done = desk.dprm("pull", "acme/broken", "new")
    assert done.returncode == 1
    assert "others have changed it" in done.stderr
    assert not (desk.folder / "new").exists()


def test_a_refused_token_is_a_message_and_stands_nowhere(desk: Desk) -> None:
    token = "hf_notATokenAtAll1234567890"
    done = dprm("publish", "run", "--repo", "acme/refused", cwd=desk.folder, **(desk.environment | {"HF_TOKEN": token}))
    assert done.returncode == 1
    assert "does not accept the token (401)" in done.stderr
    assert "hf auth login" in done.stderr
    assert "Traceback" not in done.stderr
    assert token not in done.stderr + done.stdout
    assert "acme/refused" not in desk.hub.repos


def test_a_run_that_is_not_fitted_is_not_published(desk: Desk, finished: Path) -> None:
    bare = Path(shutil.copytree(finished, desk.folder / "bare"))
    (bare / "tables" / "distributions.parquet").unlink()
    done = desk.dprm("publish", "bare", "--repo", "acme/bare")
    assert done.returncode == 2
    assert "no distributions yet" in done.stderr
    assert "acme/bare" not in desk.hub.repos
