"""Configs that are published on request: responses labelled good or bad, and ranked lists, as the exports have them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from dprm_data.publish.publication import prepared
from dprm_data.runs.run import Run
from tests.helpers import dprm
from tests.publish.conftest import PROMPTS
from tests.publish.test_roundtrip import Desk
from tests.publish.test_tool_calls import agents, loaded, rows  # noqa: F401 - a fixture
from tests.servers.hub import Hub

REPO = "acme/also"
ASKED = ("--also", "unpaired", "--also", "ranked")


@pytest.fixture(scope="module")
def desk(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("desk")
    run = Path(shutil.copytree(finished, folder / "run", ignore=shutil.ignore_patterns("*.lock", ".lock")))
    with Hub() as hub:
        desk = Desk(hub, folder, run)
        done = desk.dprm("publish", "run", "--repo", REPO, "--test", "0.2", "--license", "mit", *ASKED)
        assert done.returncode == 0, done.stderr
        yield desk


def exported(desk: Desk, what: str) -> list[dict[str, Any]]:
    done = desk.dprm("export", "run", "--what", what, "--output", f"{what}.jsonl")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in (desk.folder / f"{what}.jsonl").read_text().splitlines()]


def published(desk: Desk, config: str) -> dict[str, list[dict[str, Any]]]:
    program = f"""
import json
from datasets import load_dataset
print(json.dumps({{name: list(split) for name, split in load_dataset({REPO!r}, {config!r}).items()}}))
"""
    found: dict[str, list[dict[str, Any]]] = desk.python(program)
    return found


@pytest.mark.slow
def test_they_load_with_the_rows_of_the_exports_in_the_same_splits(desk: Desk) -> None:
    places = {row["group_id"]: split for split, rows in published(desk, "preferences").items() for row in rows}
    for what in ("unpaired", "ranked"):
        found = published(desk, what)
        assert set(found) == {"train", "test"}
        assert all(places[row["group_id"]] == split for split, rows in found.items() for row in rows)
        wanted = exported(desk, what)
        rows = [{name: row[name] for name in wanted[0]} for split in found.values() for row in split]
        assert sorted(map(str, rows)) == sorted(map(str, wanted))
        assert len(rows) == (PROMPTS if what == "ranked" else len(rows)) > 0
        assert all(row.get("item_id") or len(row["item_ids"]) == 2 for split in found.values() for row in split)
    assert {type(row["label"]) for row in published(desk, "unpaired")["train"]} == {bool}


def test_the_card_lists_them_and_pulling_ignores_them(desk: Desk) -> None:
    card = desk.hub.repos[REPO].files["README.md"].decode()
    assert "| `unpaired` |" in card and "| `ranked` |" in card and "`unpaired` (KTO)" in card
    block = yaml.safe_load(card.split("---")[1])
    assert {"unpaired", "ranked"} < {config["config_name"] for config in block["configs"]}
    assert {"unpaired", "ranked"} < {info["config_name"] for info in block["dataset_info"]}
    done = desk.dprm("pull", REPO, "pulled")
    assert done.returncode == 0, done.stderr
    local = (desk.folder / "pulled/README.md").read_text()
    assert "`unpaired`" not in local and "`ranked`" not in local  # a run folder has no such tables
    again = json.loads(desk.dprm("publish", "pulled", "--repo", REPO, "--dry-run", "--json", *ASKED).stdout)
    assert {"unpaired", "ranked"} < set(again["rows"])


def test_without_being_asked_nothing_more_is_published(desk: Desk) -> None:
    done = desk.dprm("publish", "run", "--repo", "acme/plain", "--license", "mit", "--dry-run", "--json")
    assert set(json.loads(done.stdout)["rows"]) == {"default", "preferences", "annotations", "personas", "run"}
    wrong = dprm("publish", "run", "--repo", "acme/plain", "--also", "nothing", cwd=desk.folder)
    assert wrong.returncode == 2 and "unpaired" in wrong.stderr


def test_messages_come_as_they_came(agents: tuple[Path, str], tmp_path: Path) -> None:  # noqa: F811
    run = Run.open(agents[0]).with_publish({"also": ["unpaired", "ranked"]})
    with prepared(run, "acme/agents") as publication:
        files = Path(shutil.copytree(publication.files["README.md"].local.parent, tmp_path / "agents"))
    came = {row["prompt"][1]["content"]: row for row in rows()}
    for row in loaded(files, "ranked", tmp_path / "cache"):
        source = came[row["prompt"][1]["content"]]
        assert row["prompt"] == source["prompt"]
        assert sorted(map(str, row["completions"])) == sorted(map(str, (source["chosen"], source["rejected"])))
    for row in loaded(files, "unpaired", tmp_path / "cache"):
        source = came[row["prompt"][1]["content"]]
        assert row["completion"] in (source["chosen"], source["rejected"])
