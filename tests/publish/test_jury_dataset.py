"""A jury's dataset: the card, the manifest and the recipe name every model, and no address or key variable of any of them leaves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from tests.helpers import dprm, write_recipe
from tests.publish.test_roundtrip import REPO, Desk
from tests.servers.hub import Hub
from tests.servers.llm import LLMServer


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A jury of two, of which one has two servers; published."""
    folder = tmp_path_factory.mktemp("desk")
    with LLMServer() as one, LLMServer() as two, Hub() as hub:
        places = [{"base_url": f"{two.url}/v1", "api_key_env": f"PRIVATE_{i}"} for i in range(2)]
        models = [
            {"name": "openai", "model": "gpt-4o-mini", "base_url": f"{one.url}/v1", "temperature": 0.5},
            {"id": "other", "name": "openai", "model": "acme/small", "endpoints": places, "weight": 2}
            | {"price": {"input": 0, "output": 0}},
        ]
        path = write_recipe(folder, models=models, design="balanced", prior={})
        content = yaml.safe_load(path.read_text())
        path.write_text(yaml.safe_dump({name: part for name, part in content.items() if name != "provider"}))
        keys = {"PRIVATE_0": "k" * 20, "PRIVATE_1": "l" * 20}
        done = dprm("run", path, "--quiet", cwd=folder, **keys)
        assert done.returncode == 0, done.stderr
        desk = Desk(hub, folder, folder / "run")
        for command in (("publish", "run", "--repo", REPO), ("pull", REPO, "pulled", "--revision", "v1")):
            done = desk.dprm(*command)
            assert done.returncode == 0, done.stderr
        yield desk


@pytest.mark.slow
def test_the_card_names_every_model(desk: Desk) -> None:
    card = (desk.folder / "pulled" / "README.md").read_text()
    assert "- Model: `gpt-4o-mini`, gpt-4o-mini (openai, a local server)," in card
    assert "- Model: `other`, " in card
    assert "- Sampling parameters sent to `gpt-4o-mini` (weight 1.0): `{'temperature': 0.5}`." in card
    assert "- Sampling parameters sent to `other` (weight 2.0): none (the provider's defaults)." in card
    assert "- Design: `balanced`: one model answers as each persona" in card
    assert "- Each model also stated, once per item," in card


def test_the_manifest_says_what_was_asked_of_each(desk: Desk) -> None:
    manifest = json.loads((desk.folder / "pulled" / "manifest.json").read_text())
    assert manifest["design"] == "balanced"
    assert {id_: (model["provider"], model["weight"]) for id_, model in manifest["models"].items()} == {
        "gpt-4o-mini": ("openai", 1.0),
        "other": ("openai", 2.0),
    }
    assert manifest["models"]["gpt-4o-mini"]["sampling"] == {"temperature": 0.5}


def test_nothing_of_the_publisher_s_machine_leaves(desk: Desk) -> None:
    for file in (
        path for path in desk.folder.joinpath("pulled").rglob("*") if path.suffix in (".md", ".yaml", ".json")
    ):
        text = file.read_text()
        for private in ("127.0.0.1", "PRIVATE_"):
            assert private not in text, (file.name, private)


def test_a_pulled_jury_is_fitted_shown_and_reported(desk: Desk) -> None:
    before = pq.read_table(desk.folder / "pulled/tables/distributions.parquet")
    for command in ("fit", "show", "report"):
        done = desk.dprm(command, "pulled")
        assert done.returncode == 0, done.stderr
    assert pq.read_table(desk.folder / "pulled/tables/distributions.parquet")["votes"] == before["votes"]
    ids = pq.read_table(desk.folder / "pulled/tables/annotations.parquet")["model_id"].to_pylist()
    assert set(ids) == {"gpt-4o-mini", "other"}
    page = Path(desk.folder / "pulled/report.html").read_text()
    assert '<dd class="text">other <small>openai' in page and "each model equally often" in page
