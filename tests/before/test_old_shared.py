"""Published datasets are pulled and published again; what people said of a run, and what was learned from it, still counts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.before.make_shared import REPO
from tests.before.saved import DATA, assert_holds, assert_same_tables, dprm_each, unpack
from tests.publish.conftest import hub_environment
from tests.servers.hub import Hub
from tests.servers.hub_repo import LARGE, Blob
from tests.servers.llm import LLMServer


@pytest.fixture(scope="module")
def server() -> Iterator[Hub]:
    with Hub() as hub:
        yield hub


@pytest.fixture
def hub(server: Hub, tmp_path: Path) -> Hub:
    """The double of the Hub, with the repository as it was pushed."""
    files = unpack("published", tmp_path / "published") / "files"
    repo = server.create(REPO)
    tree = {str(file.relative_to(files)): file.read_bytes() for file in files.rglob("*") if file.is_file()}
    repo.commit({path: Blob(data, path.endswith(LARGE)) for path, data in tree.items()}, "version 1")
    repo.tags["v1"] = repo.branches["main"]
    return server


@pytest.fixture
def environment(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return hub_environment(hub, tmp_path_factory.getbasetemp() / "hf")


def test_an_old_dataset_is_pulled_and_published_again(tmp_path: Path, hub: Hub, environment: dict[str, str]) -> None:
    before = hub.repos[REPO].files
    publish = ["publish", "run", "--repo", REPO, "--test", 0.25, "--license", "mit", "--language", "en"]
    commands = [["pull", REPO, "run"], ["show", "run"], ["fit", "run"], ["report", "run"], [*publish, "--dry-run"]]
    said = [json.loads(text) for text in dprm_each([[*c, "--json"] for c in commands], cwd=tmp_path, **environment)]
    known = json.loads((DATA / "published/show.json").read_text())
    assert_holds(said[1]["summary"], known)
    assert_holds(said[2]["summary"], known)
    assert_same_tables(tmp_path / "run", DATA / "published/pulled")
    assert hub.repos[REPO].files == before
    again, pulled = dprm_each([[*publish, "--quiet"], ["pull", REPO, "twice", "--quiet"]], cwd=tmp_path, **environment)
    assert again and pulled
    assert_same_tables(tmp_path / "twice", DATA / "published/pulled")
    assert {path for path in before if path.startswith("data/")} <= hub.repos[REPO].files.keys()


def test_a_folder_pulled_by_an_earlier_version(tmp_path: Path, environment: dict[str, str]) -> None:
    run = unpack("published/pulled", tmp_path / "run")
    commands = [["show", "run", "--json"], ["fit", "run", "--json"], ["report", "run", "--json"]]
    shown, fitted, _ = map(json.loads, dprm_each(commands, cwd=tmp_path))
    known = json.loads((DATA / "published/show.json").read_text())
    assert_holds(shown["summary"], known)
    assert_holds(fitted["summary"], known)
    assert_same_tables(run, DATA / "published/pulled")
    dry = ["publish", "run", "--repo", REPO, "--dry-run", "--json"]
    assert json.loads(dprm_each([dry], cwd=tmp_path, **environment)[0])["rows"]


@pytest.mark.slow
def test_what_people_said_still_counts(tmp_path: Path, double: LLMServer) -> None:
    old = unpack("reviewed", tmp_path / "old", double.url)
    job = unpack("reviewed", tmp_path / "new", double.url)
    said = json.loads((old / "said.json").read_text())
    commands = [["show", "run"], ["review", "compare", "run"], ["fit", "run"], ["run", "recipe.yaml"]]
    shown, compared, fitted, again = map(json.loads, dprm_each([[*c, "--json"] for c in commands], cwd=job))
    assert double.tally.requests == again["annotate"]["calls"] == 0
    for one in (shown, fitted, again):
        assert_holds(one["summary"], said["shown"]["summary"])
    assert_holds(compared, said["compared"])
    assert_same_tables(job / "run", old / "run")
    was, found = (pq.read_table(folder / "run/tables/uncalibrated.parquet") for folder in (old, job))
    assert_holds(found.to_pylist(), was.to_pylist())
    assert json.loads((job / "run/manifest.json").read_text())["fit"]["calibrated"] is True


def test_an_old_review_goes_on(tmp_path: Path) -> None:
    """The same answers are nobody new; the calibration is learned as before, and given up."""
    job = unpack("reviewed", tmp_path)
    said = json.loads((job / "said.json").read_text())
    commands = [
        ["review", "import", "run", "people.csv"],
        ["review", "calibrate", "run"],
        ["review", "calibrate", "run", "--discard"],
        ["review", "export", "run", "more.csv", "--select", "random", "--records", "50"],
    ]
    imported, learned, given_up, exported = map(json.loads, dprm_each([[*c, "--json"] for c in commands], cwd=job))
    [one], [was] = imported["imported"], said["imported"]["imported"]
    assert (one["new"], one["unchanged"], one["people"]) == (0, was["new"], was["people"])
    assert_holds(learned, {name: value for name, value in said["calibrated"].items() if name != "written_at"})
    assert given_up == {"discarded": True}
    assert exported["records"] == 50
