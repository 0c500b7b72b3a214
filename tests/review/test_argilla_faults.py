"""What can be wrong with an Argilla server, and what the user is told."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from dprm_data.core.errors import DprmError, ReviewError
from dprm_data.review.argilla import pull, push
from dprm_data.review.argilla_server import Server
from tests.helpers import answer, dprm
from tests.review.helpers import make_run, random_labels
from tests.servers.argilla import OWNER_KEY, ArgillaServer, Person

pytestmark = pytest.mark.xdist_group("argilla")
Team = tuple[str, list[Person]]


@pytest.mark.slow
def test_a_thousand_records_come_and_go(argilla: ArgillaServer, team: Team, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", random_labels(1200, 3, 6))
    pushed = push(run, workspace="team", dataset="thousand", purpose="stratified", count=1000)
    assert (pushed.created, pushed.records) == (1000, 1000)
    with_labels = {record["external_id"]: record["id"] for record in Server().records(pushed.url.split("/")[-2])}
    assert len(with_labels) == 1000
    for record_id in list(with_labels.values())[::100]:
        team[1][0].answer(record_id, run.space.names[2])
    (pulled,) = pull(run)
    assert (pulled.stored.submitted, pulled.stored.items) == (10, 10)


@pytest.mark.slow
def test_the_server_restarts_in_the_middle(argilla: ArgillaServer, team: Team, tmp_path: Path) -> None:
    """A push outlasts a server that goes away and comes back; no answer and no record is lost."""
    run = make_run(tmp_path / "run", random_labels(400, 2, 6))
    first = push(run, workspace="team", dataset="restarts", purpose="random", count=50)
    record = next(iter(Server().records(first.url.split("/")[-2])))
    team[1][0].answer(record["id"], run.space.names[3])
    hasty = Server(patience=0.5)

    def fall(line: str) -> None:
        if line.startswith("100 of"):  # after the first batch
            argilla.stop()
            with pytest.raises(ReviewError, match="no answer from the Argilla server"):
                hasty.ask("GET", "/me")
            threading.Thread(target=argilla.start).start()

    pushed = push(run, workspace="team", dataset="restarts", purpose="random", count=200, say=fall)
    argilla.wait()
    assert (pushed.created, pushed.updated) == (150, 50)
    assert len(list(Server().records(pushed.url.split("/")[-2]))) == 200
    (pulled,) = pull(run)
    assert pulled.stored.submitted == 1


def test_wrong_key(argilla: ArgillaServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path / "run", random_labels(4, 2, 6))
    monkeypatch.setenv("ARGILLA_API_KEY", "not-the-key-at-all")
    with pytest.raises(ReviewError, match="does not know the key") as told:
        push(run, workspace="team", dataset="d")
    assert "not-the-key-at-all" not in str(told.value)


def test_an_annotators_key(argilla: ArgillaServer, team: Team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path / "run", random_labels(4, 2, 6))
    monkeypatch.setenv("ARGILLA_API_KEY", team[1][0].key)
    with pytest.raises(ReviewError, match="is not allowed to do that"):
        push(run, workspace="team", dataset="annotators-own")


def test_no_key_no_server_no_workspace_no_dataset(
    argilla: ArgillaServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run", random_labels(4, 2, 6))
    with pytest.raises(ReviewError, match="no workspace 'nowhere'") as told:
        push(run, workspace="nowhere", dataset="d")
    assert "team" in str(told.value.hint)
    with pytest.raises(ReviewError, match="not pushed to Argilla yet"):
        pull(run)
    with pytest.raises(ReviewError, match="no dataset 'gone'"):
        pull(run, workspace="team", dataset="gone")
    monkeypatch.setenv("ARGILLA_API_URL", "http://127.0.0.1:9")
    with pytest.raises(ReviewError, match="no answer from the Argilla server"):
        push(run, workspace="team", dataset="d")
    monkeypatch.delenv("ARGILLA_API_KEY")
    with pytest.raises(ReviewError, match="ARGILLA_API_KEY is not set"):
        push(run, workspace="team", dataset="d")


def test_the_client_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARGILLA_API_KEY", OWNER_KEY)
    monkeypatch.setitem(sys.modules, "argilla", None)
    with pytest.raises(DprmError, match="not installed") as told:
        Server()
    assert "dprm-data[argilla]" in str(told.value.hint)


def test_a_dataset_with_other_settings_is_left_alone(argilla: ArgillaServer, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", random_labels(4, 2, 6))
    other = make_run(tmp_path / "other", random_labels(4, 2, 5), space=5)
    pushed = push(run, workspace="team", dataset="settings", count=4)
    with pytest.raises(ReviewError, match="with other settings") as told:
        push(other, workspace="team", dataset="settings", count=4)
    assert "helpful_harmless" in str(told.value)
    with pytest.raises(ReviewError, match="with other settings"):
        push(run, workspace="team", dataset="settings", count=4, blind=True)
    assert len(list(Server().records(pushed.url.split("/")[-2]))) == 4


def test_records_of_another_run_are_left_alone(argilla: ArgillaServer, team: Team, tmp_path: Path) -> None:
    small = make_run(tmp_path / "small", random_labels(4, 2, 6))
    large = make_run(tmp_path / "large", random_labels(10, 2, 6))
    first = push(large, workspace="team", dataset="shared", count=10)
    foreign = set(pq.read_table(large.folder.table("items"))["item_id"].to_pylist()) - set(
        pq.read_table(small.folder.table("items"))["item_id"].to_pylist()
    )
    record = next(r for r in Server().records(first.url.split("/")[-2]) if r["external_id"] in foreign)
    team[1][0].answer(record["id"], large.space.names[0])
    pushed = push(small, workspace="team", dataset="shared", count=4)
    assert (pushed.records, pushed.other) == (4, 6)
    (pulled,) = pull(small)
    assert (pulled.stored.submitted, pulled.unknown) == (0, 1)


def test_the_command(argilla: ArgillaServer, team: Team, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", random_labels(6, 3, 6))
    where = {"ARGILLA_API_URL": argilla.url, "ARGILLA_API_KEY": OWNER_KEY}
    done = dprm("review", "push", "run", "-w", "team", "-d", "command", "--records", 4, "--json", cwd=tmp_path, **where)
    assert answer(done)["created"] == 4
    record = next(iter(Server().records(answer(done)["url"].split("/")[-2])))
    team[1][0].answer(record["id"], run.space.names[0])
    assert "1 submitted answers by 1 people" in dprm("review", "pull", "run", cwd=tmp_path, **where).stdout
    wrong = dprm(
        "review", "push", "run", "-w", "team", "-d", "command", cwd=tmp_path, **(where | {"ARGILLA_API_KEY": "x" * 20})
    )
    assert wrong.returncode == 1
    assert "does not know the key" in wrong.stderr
    assert "Traceback" not in wrong.stderr
    assert "x" * 20 not in wrong.stderr
