"""Pushing is safe: what becomes of a repository when things go wrong, as the Hub's double sees it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from dprm_data.core.errors import PublishError
from dprm_data.pipeline import stages
from dprm_data.publish import parts as parts_module
from dprm_data.publish.publication import Publication, prepared
from dprm_data.publish.pull import pull
from dprm_data.publish.push import Known, Pushed, push
from dprm_data.runs.run import Run
from tests.servers.hub import READER, TOKEN, Hub

REPO = "acme/prefs"
Push = Callable[..., Pushed]


@pytest.fixture
def publication(run_folder: Path) -> Iterator[Publication]:
    with prepared(Run.open(run_folder), REPO) as made:
        yield made


@pytest.fixture
def publish(publication: Publication, run_folder: Path, hub_here: Hub) -> Push:
    """Push the run to the double; nobody waits."""

    def go(repo: str = REPO, *, of: Publication = publication, **how: Any) -> Pushed:
        return push(of, repo, Known(run_folder), pause=lambda seconds: None, **how)

    return go


@contextmanager
def changed(run_folder: Path, **settings: Any) -> Iterator[Publication]:
    """Another publication of the same run."""
    with prepared(Run.open(run_folder).with_publish(settings or {"license": "mit"}), REPO) as made:
        yield made


def paths(hub: Hub) -> set[str]:
    return set(hub.repos[REPO].files)


# -- what is pushed ---------------------------------------------------------------------------------------------------


def test_one_commit_one_tag_private(publish: Push, publication: Publication, hub: Hub) -> None:
    done = publish()
    repo = hub.repos[REPO]
    assert repo.private
    assert repo.log == ["test, version 1", "initial commit"]
    assert repo.tags == {"v1": repo.branches["main"]} == {"v1": done.commit}
    assert paths(hub) == {*publication.files, "dprm.json", ".gitattributes"}
    assert {path: repo.files[path] for path in publication.files} == {
        path: file.local.read_bytes() for path, file in publication.files.items()
    }


PUBLIC = {"license": "mit", "personal_data": "None."}


def test_public_only_when_said(publish: Push, run_folder: Path, hub: Hub) -> None:
    with changed(run_folder, **PUBLIC) as public:
        publish(of=public, public=True)
    assert not hub.repos[REPO].private


def test_pushing_again_does_nothing(publish: Push, hub: Hub) -> None:
    first = publish()
    again = publish()
    assert again.changes.nothing
    assert again.commit == first.commit
    assert len(hub.repos[REPO].log) == 2
    assert list(hub.repos[REPO].tags) == ["v1"]


def test_the_same_run_gives_the_same_bytes(publication: Publication, run_folder: Path) -> None:
    with prepared(Run.open(run_folder), REPO) as again:
        assert again.content == publication.content


def test_a_new_version_changes_what_is_new(publish: Push, run_folder: Path, hub: Hub) -> None:
    publish()
    before = hub.repos[REPO].files
    with changed(run_folder, license="mit") as second:
        done = publish(of=second)
    repo = hub.repos[REPO]
    assert repo.log[0] == "test, version 2"
    assert set(repo.tags) == {"v1", "v2"}
    assert repo.tags["v1"] != repo.tags["v2"]
    assert set(done.changes.change) >= {"README.md", "dprm.json"}
    assert (
        before["data/annotations/train-00000-of-00001.parquet"]
        == repo.files["data/annotations/train-00000-of-00001.parquet"]
    )
    assert b"license: mit" in repo.files["README.md"]


def test_files_that_are_no_longer_ours_go(publish: Push, run_folder: Path, hub: Hub) -> None:
    publish()
    assert any("/test-" in path for path in paths(hub))
    with changed(run_folder, test=0.0) as second:
        publish(of=second)
    assert not any("/test-" in path for path in paths(hub))


def test_a_tag_of_ones_own_and_a_message(publish: Push, hub: Hub) -> None:
    publish(tag="paper", message="The version of the paper")
    assert list(hub.repos[REPO].tags) == ["paper"]
    assert hub.repos[REPO].log[0] == "The version of the paper"
    publish(tag="paper")  # it is there: nothing to do


def test_a_tag_never_moves(publish: Push, run_folder: Path, hub: Hub) -> None:
    publish(tag="paper")
    with changed(run_folder) as second, pytest.raises(PublishError, match="tag 'paper' already"):
        publish(of=second, tag="paper")
    assert len(hub.repos[REPO].log) == 2


def test_a_dry_run_sends_nothing(publish: Push, hub: Hub) -> None:
    done = publish(dry_run=True)
    assert done.changes.create
    assert "README.md" in done.changes.add
    assert REPO not in hub.repos
    assert {method for method, _, _ in hub.requests} == {"GET"}


def test_a_dry_run_without_a_hub_shows_the_files(publish: Push, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    said: list[str] = []
    done = publish(dry_run=True, say=said.append)
    assert "README.md" in done.changes.add
    assert "the Hub failed" in said[-1]


# -- what is not ours ---------------------------------------------------------------------------------------------------


def test_a_repository_that_is_not_ours_is_left_alone(publish: Push, hub: Hub) -> None:
    hub.create(REPO).write("README.md", b"mine")
    hub.repos[REPO].write("data/train.csv", b"a,b")
    with pytest.raises(PublishError, match=r"not published by dprm.*README\.md, data/train\.csv"):
        publish()
    assert hub.repos[REPO].files["README.md"] == b"mine"
    assert not hub.repos[REPO].tags


def test_force_writes_over_and_keeps_the_rest(publish: Push, hub: Hub) -> None:
    hub.create(REPO).write("README.md", b"mine")
    hub.repos[REPO].write("data/train.csv", b"a,b")
    done = publish(force=True)
    assert hub.repos[REPO].files["README.md"].startswith(b"---")
    assert hub.repos[REPO].files["data/train.csv"] == b"a,b"
    assert done.changes.kept == ["data/train.csv"]


def test_an_empty_repository_is_used(publish: Push, hub: Hub) -> None:
    hub.create(REPO)
    publish()
    assert len(hub.repos[REPO].log) == 2


def test_a_public_repository_is_not_pushed_to_by_accident(publish: Push, run_folder: Path, hub: Hub) -> None:
    hub.create(REPO, private=False)
    with pytest.raises(PublishError, match="is public"):
        publish()
    with changed(run_folder, **PUBLIC) as public:
        publish(of=public, public=True)


@pytest.mark.slow
def test_others_files_stay(publish: Push, run_folder: Path, hub: Hub) -> None:
    publish()
    hub.repos[REPO].write("notes.md", b"from a colleague")
    with changed(run_folder) as second:
        publish(of=second)
    assert hub.repos[REPO].files["notes.md"] == b"from a colleague"


@pytest.mark.parametrize("same", [True, False], ids=["the same again", "a new version"])
def test_others_changes_of_our_files_are_not_written_over(
    publish: Push, run_folder: Path, hub: Hub, same: bool
) -> None:
    publish()
    hub.repos[REPO].write("README.md", b"---\n---\nbetter words")
    with changed(run_folder, **({"test": 0.1} if same else {"license": "mit"})) as second:
        with pytest.raises(PublishError, match=r"others have changed .*README\.md"):
            publish(of=second)
        assert hub.repos[REPO].files["README.md"].endswith(b"better words")
        publish(of=second, force=True)
    assert b"better words" not in hub.repos[REPO].files["README.md"]


@pytest.mark.slow
def test_a_version_from_elsewhere_is_not_written_over(
    publish: Push, run_folder: Path, hub: Hub, tmp_path: Path
) -> None:
    publish()
    with changed(run_folder, license="mit") as theirs:
        push(theirs, REPO, Known(tmp_path / "elsewhere"), force=True)
    with (
        changed(run_folder, license="cc0-1.0") as ours,
        pytest.raises(PublishError, match=r"version 2 .* from another folder"),
    ):
        publish(of=ours)
    assert b"license: mit" in hub.repos[REPO].files["README.md"]


def test_another_run_is_not_written_over(publish: Push, run_folder: Path, hub: Hub) -> None:
    publish()
    recipe = run_folder / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("name: test", "name: other", 1))
    with prepared(Run.open(run_folder), REPO) as other, pytest.raises(PublishError, match="another run: 'test'"):
        publish(of=other)


# -- faults -------------------------------------------------------------------------------------------------------------

COMMIT, HEAD = ("POST", "/commit/"), ("GET", "/api/datasets/acme/prefs$")


@pytest.mark.parametrize(
    ("where", "how"),
    [
        (COMMIT, {"status": 503}),
        (COMMIT, {"status": 500, "times": 3}),
        (COMMIT, {"status": 429, "headers": {"Retry-After": "1"}}),
        (COMMIT, {"status": 409}),
        (COMMIT, {"dropped": True}),
        (COMMIT, {"lost": True}),
        (HEAD, {"status": 502}),
        (HEAD, {"dropped": True}),
        (("POST", "/api/repos/create"), {"lost": True}),
        (("POST", "/preupload/"), {"status": 504}),
        (("POST", "/lfs/objects/batch"), {"dropped": True}),
        (("PUT", "/lfs/"), {"status": 500}),
        (("PUT", "/lfs/"), {"dropped": True}),
        (("POST", "/tag/"), {"status": 503}),
        (("POST", "/tag/"), {"lost": True}),
    ],
    ids=str,
)
def test_what_passes_is_tried_again(
    publish: Push, publication: Publication, hub: Hub, where: tuple[str, str], how: dict[str, Any]
) -> None:
    hub.fault(*where, **how)
    publish()
    repo = hub.repos[REPO]
    assert not hub.faults, "the fault was never met"
    assert repo.log == ["test, version 1", "initial commit"]
    assert repo.tags == {"v1": repo.branches["main"]}
    assert paths(hub) == {*publication.files, "dprm.json", ".gitattributes"}


@pytest.mark.slow
def test_a_head_that_moves_meanwhile_is_read_again(publish: Push, run_folder: Path, hub: Hub) -> None:
    publish()
    hub.fault(*COMMIT, before=lambda: hub.repos[REPO].write("notes.md", b"just now"))
    with changed(run_folder) as second:
        publish(of=second)
    assert hub.repos[REPO].files["notes.md"] == b"just now"
    assert hub.repos[REPO].log == ["test, version 2", "by somebody else", "test, version 1", "initial commit"]
    assert [status for _, path, status in hub.requests if "/commit/" in path] == [200, 412, 200]


@pytest.mark.slow
def test_a_head_that_moves_into_our_way_is_refused(publish: Push, run_folder: Path, hub: Hub) -> None:
    publish()
    hub.fault(*COMMIT, before=lambda: hub.repos[REPO].write("README.md", b"---\n---\njust now"))
    with changed(run_folder) as second, pytest.raises(PublishError, match="others have changed"):
        publish(of=second)
    assert hub.repos[REPO].files["README.md"].endswith(b"just now")


@pytest.mark.slow
def test_an_interrupted_push_ends_as_an_uninterrupted_one(publish: Push, run_folder: Path, hub: Hub) -> None:
    """The commit arrives, but neither its answer nor the tag; before the next push the run has changed."""
    hub.fault(*COMMIT, lost=True)
    hub.fault("POST", "/tag/", status=403)
    with pytest.raises(PublishError):
        publish()
    assert len(hub.repos[REPO].log) == 2
    with changed(run_folder) as second:
        publish(of=second)  # not taken for somebody else's
    assert hub.repos[REPO].log[0] == "test, version 2"
    assert hub.repos[REPO].tags["v2"] == hub.repos[REPO].branches["main"]


@pytest.mark.parametrize(
    ("token", "says"), [("hf_wrongwrongwrong", "does not accept the token"), (READER, "may not do that")]
)
def test_a_token_that_may_not(publish: Push, hub: Hub, monkeypatch: pytest.MonkeyPatch, token: str, says: str) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(PublishError, match=says) as refused:
        publish()
    assert REPO not in hub.repos
    assert token not in f"{refused.value} {refused.value.__cause__}"
    assert len(hub.requests) < 5, "what never passes is not tried again"


def test_no_token_is_said_before_anything_is_sent(publish: Push, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(PublishError, match="no token"):
        publish()
    assert not hub.requests


def test_a_hub_that_stays_broken_is_given_up(publish: Push, hub: Hub) -> None:
    hub.fault(*COMMIT, status=500, times=1000)
    with pytest.raises(PublishError, match="the Hub failed 7 times"):
        publish()
    hub.faults.clear()
    publish()
    assert hub.repos[REPO].log == ["test, version 1", "initial commit"]


@pytest.mark.parametrize("name", ["prefs", "a/b/c", "acme/..", "acme/pre fs", ""])
def test_a_name_that_is_none(publish: Push, hub: Hub, name: str) -> None:
    with pytest.raises(PublishError, match="not the name of a dataset repository"):
        publish(name)
    assert not hub.requests


def content(path: str, data: bytes) -> object:
    """What is in a file, for people."""
    return pq.read_table(BytesIO(data)).to_pylist() if path.endswith(".parquet") else data.decode()


# -- what never leaves ----------------------------------------------------------------------------------------------------


def test_neither_tokens_nor_folders_leave(publish: Push, run_folder: Path, hub: Hub) -> None:
    recipe = run_folder / "recipe.yaml"
    secret = "topsecret-9876"
    extra = f"extra: {{headers: {{X-Api-Key: {secret}}}}}\n  base_url: http://user:{secret}@"
    recipe.write_text(recipe.read_text().replace("base_url: http://", extra, 1))
    assert recipe.read_text().count(secret) == 2
    with prepared(Run.open(run_folder), REPO) as made:
        publish(of=made)
    everything = str([content(path, data) for path, data in hub.repos[REPO].files.items()])
    assert "recipe.yaml" in everything
    for never in (secret, TOKEN, str(run_folder.parent), "ledger.sqlite"):
        assert never not in everything
    assert json.loads((run_folder / "published.json").read_text()).keys() == {REPO}


def test_a_key_in_the_data_stops_the_push(run_folder: Path, hub_here: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "Good answer 3 <script>")  # what an item's text happens to hold
    with (
        pytest.raises(PublishError, match=re.escape("OPENAI_API_KEY")) as refused,
        prepared(Run.open(run_folder), REPO),
    ):
        pass
    assert "Good answer" not in str(refused.value)


# -- many files -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_many_small_files_come_back_as_one_run(
    run_folder: Path, hub_here: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Splits in several files of several row groups each: pulled, the items stand in the run's own order again."""
    monkeypatch.setattr(parts_module, "ROW_GROUP", 3)
    monkeypatch.setattr(parts_module, "SHARD_BYTES", 500)
    with prepared(Run.open(run_folder).with_publish({"test": 0.3, "validation": 0.3}), REPO) as made:
        assert sum(path.startswith("data/default/") for path in made.files) > 3
        assert len(made.rows["default"]) > 1
        push(made, REPO, Known(run_folder))
    folder = pull(REPO, tmp_path / "pulled")
    for name in ("items", "distributions"):
        ids = [
            pq.read_table(path)["item_id"].to_pylist()
            for path in (run_folder / f"tables/{name}.parquet", folder.path / f"tables/{name}.parquet")
        ]
        assert ids[0] == ids[1]
    stages.fit(Run.open(folder.path))
