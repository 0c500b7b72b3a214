"""A run whose responses were generated, over the Hub and back: who wrote what stays with items and pairs."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.helpers import answer, dprm
from tests.pipeline.test_generate import fresh, recipe
from tests.publish.test_roundtrip import Desk
from tests.servers.hub import Hub
from tests.servers.llm import LLMServer

REPO = "acme/written"
WRITERS = {"writer-a", "writer-b"}
SIDES = ("chosen", "rejected")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("written")
    with LLMServer() as server, Hub() as hub:
        server.says = fresh
        done = dprm("run", recipe(folder, server.url), cwd=folder)
        assert done.returncode == 0, done.stderr
        desk = Desk(hub, folder, folder / "run")
        done = desk.dprm("publish", "run", "--repo", REPO, "--license", "mit")
        assert done.returncode == 0, done.stderr
        yield desk


def table(folder: Path, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(folder / f"tables/{name}.parquet").to_pylist()
    return rows


def check(folder: Path) -> None:
    """Both sides of every pair name who wrote them."""
    writers = {item["item_id"]: item["generator"] for item in table(folder, "items")}
    assert set(writers.values()) == WRITERS
    pairs = table(folder, "preferences")
    assert pairs
    for pair in pairs:
        for side in SIDES:
            assert pair[f"{side}_generator"] == writers[pair[f"{side}_item_id"]]


def test_pairs_name_who_wrote_both_responses(desk: Desk) -> None:
    check(desk.run)
    for to in ("csv", "parquet"):
        done = dprm("export", "run", "--what", "preferences", "--to", to, "--json", cwd=desk.folder)
        assert {"chosen_generator", "rejected_generator"} < set(answer(done)["columns"])


def test_they_are_published_and_come_back(desk: Desk) -> None:
    program = f"""
import json
from datasets import load_dataset
pairs = [row for split in load_dataset({REPO!r}, "preferences").values() for row in split]
items = [row for split in load_dataset({REPO!r}).values() for row in split]
print(json.dumps([[row["chosen_generator"], row["rejected_generator"]] for row in pairs] + [row["generator"] for row in items]))
"""
    found = desk.python(program)
    assert {name for row in found for name in (row if isinstance(row, list) else [row])} == WRITERS
    done = desk.dprm("pull", REPO, "pulled")
    assert done.returncode == 0, done.stderr
    pulled = desk.folder / "pulled"
    check(pulled)
    assert "By generator" in report(desk, "pulled")
    assert desk.dprm("ratings", "fit", "pulled").returncode == 0
    check(pulled)
    again = desk.dprm("publish", "pulled", "--repo", REPO, "--license", "mit", "--dry-run")
    assert again.returncode == 0, again.stderr


def report(desk: Desk, run: str) -> str:
    done = desk.dprm("report", run)
    assert done.returncode == 0, done.stderr
    return (desk.folder / run / "report.html").read_text()


@pytest.mark.slow
def test_a_dataset_and_a_folder_without_the_columns_go_on_working(desk: Desk) -> None:
    files = desk.hub.repos[REPO].files
    marker = json.loads(files["dprm.json"])
    old = desk.hub.create("acme/old")
    for path, data in files.items():
        if path.startswith("data/preferences/"):
            out = io.BytesIO()
            pq.write_table(without(pq.read_table(io.BytesIO(data))), out)
            data = out.getvalue()
            marker["files"][path]["sha256"] = hashlib.sha256(data).hexdigest()
        old.write(path, data)
    old.write("dprm.json", json.dumps(marker).encode())
    done = desk.dprm("pull", "acme/old", "old")
    assert done.returncode == 0, done.stderr
    run = desk.folder / "old"
    assert {pair["chosen_generator"] for pair in table(run, "preferences")} == {None}
    path = run / "tables/preferences.parquet"
    pq.write_table(without(pq.read_table(path)), path)
    for command in (("show", "old"), ("export", "old", "--what", "preferences", "--to", "csv"), ("report", "old")):
        done = desk.dprm(*command)
        assert done.returncode == 0, done.stderr
    done = desk.dprm("publish", "old", "--repo", "acme/again", "--license", "mit", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert desk.dprm("ratings", "fit", "old").returncode == 0
    check(run)


def without(rows: pa.Table) -> pa.Table:
    return rows.drop_columns([f"{side}_generator" for side in SIDES])
