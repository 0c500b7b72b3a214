"""Push, people's answers, update and pull, against a real Argilla server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from dprm_data.core.errors import ReviewError
from dprm_data.pipeline import stages
from dprm_data.review.answer_ledger import human_file, ledger_file
from dprm_data.review.argilla import Pushed, pull, push
from dprm_data.review.calibrate import calibrate
from dprm_data.review.compare import compare
from dprm_data.runs.run import Run
from tests.helpers import dprm
from tests.review.helpers import NOBODY, make_run, random_labels
from tests.servers.argilla import OWNER_KEY, ArgillaServer, Person

pytestmark = pytest.mark.xdist_group("argilla")  # one server for all
Team = tuple[str, list[Person]]


def records_of(server: ArgillaServer, pushed: Pushed) -> list[dict[str, Any]]:
    include = {"include": ["responses", "suggestions", "vectors"], "limit": 1000}
    return server.ask("GET", f"/datasets/{pushed.url.split('/')[-2]}/records", params=include)["items"]  # type: ignore[no-any-return]


def human_rows(run: Run) -> list[dict[str, Any]]:
    return pq.read_table(run.folder.table("annotations"), filters=[("annotator_kind", "=", "human")]).to_pylist()


def test_a_record_says_what_the_panel_said(argilla: ArgillaServer, tmp_path: Path) -> None:
    labels = random_labels(12, 4, 6)
    labels[3, 2] = NOBODY
    run = make_run(tmp_path / "run", labels)
    pushed = push(run, workspace="team", dataset="record", count=12)
    assert (pushed.created, pushed.updated, pushed.other) == (12, 0, 0)
    records = {record["external_id"]: record for record in records_of(argilla, pushed)}
    table = {row["item_id"]: row for row in pq.read_table(run.folder.table("distributions")).to_pylist()}
    assert records.keys() == table.keys()
    for item_id, row in table.items():
        record = records[item_id]
        (suggestion,) = record["suggestions"]
        best = max(range(6), key=lambda k: row["label_distribution"][k])
        assert record["fields"]["conversation"] == [*row["prompt"], *row["completion"]]
        assert suggestion["value"] == run.space.names[best]
        assert suggestion["score"] == pytest.approx(row["label_distribution"][best], abs=1e-6)
        assert suggestion["agent"] == "gpt-4o-mini-2024-07-18 as 4 personas"
        assert record["vectors"]["distribution"] == pytest.approx(row["label_distribution"], abs=1e-6)
        for name in ("entropy", "disagreement", "expected_reward", "evidence"):
            assert record["metadata"][name] == pytest.approx(row[name], abs=1e-4)
        assert record["metadata"]["source"] == "pairs.jsonl"
        assert record["metadata"]["cost"] == pytest.approx(0.004)
        assert all(f"Persona {a}" in record["fields"]["panel"] for a in range(4))
    refused = next(r["fields"]["panel"] for r in records.values() if "refused" in r["fields"]["panel"])
    assert "I cannot say" in refused
    assert "<script>" not in refused


def test_pushing_again_updates_and_keeps_every_answer(argilla: ArgillaServer, team: Team, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", random_labels(30, 4, 6))
    first = push(run, workspace="team", dataset="again", purpose="random", count=10)
    names = run.space.names
    records = records_of(argilla, first)
    ann, ben, _ = team[1]
    ann.answer(records[0]["id"], names[0], comment="so it is")
    ben.answer(records[0]["id"], names[1], status="draft")
    ben.answer(records[1]["id"], None, status="discarded")
    before = {r["external_id"]: r["responses"] for r in records_of(argilla, first)}

    stages.fit(run, family="dirichlet")  # other distributions: suggestions and metadata are to follow
    second = push(run, workspace="team", dataset="again", purpose="random", count=20)
    after = {r["external_id"]: r for r in records_of(argilla, second)}
    assert (second.created, second.updated, len(after)) == (10, 10, 20)
    assert {item: after[item]["responses"] for item in before} == before
    assert all(record["metadata"] for record in after.values())
    assert all(len(record["suggestions"]) == 1 for record in after.values())
    third = push(run, workspace="team", dataset="again", purpose="random", count=20)
    assert (third.created, third.updated) == (0, 20)


@pytest.mark.slow
def test_pull_is_idempotent_and_keeps_drafts_and_discards_apart(
    argilla: ArgillaServer, team: Team, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", random_labels(10, 3, 6))
    pushed = push(run, workspace="team", dataset="pull", count=5, people=2)
    names = run.space.names
    one, two, three, *_ = records_of(argilla, pushed)
    ann, ben, cem = team[1]
    changes = ann.answer(one["id"], names[0], comment="because")
    ben.answer(one["id"], names[5])
    cem.answer(two["id"], names[1], status="draft")
    ann.answer(three["id"], None, status="discarded")
    withdrawn = ben.answer(three["id"], names[2])

    (pulled,) = pull(run)
    stored = pulled.stored
    assert (stored.new, stored.submitted, stored.drafts, stored.discarded, stored.people) == (5, 3, 1, 1, 2)
    rows = human_rows(run)
    assert {(row["item_id"], row["label"]) for row in rows} == {
        (one["external_id"], names[0]),
        (one["external_id"], names[5]),
        (three["external_id"], names[2]),
    }
    assert {row["status"] for row in rows} == {"ok"}
    assert all(row["created_at"] and row["elicitation"] == "vote" and row["cost"] == 0 for row in rows)
    assert [row["rationale"] for row in rows if row["label"] == names[0]] == ["because"]
    kept = human_file(run.folder).read_bytes()
    everything = b"".join(path.read_bytes() for path in run.folder.path.rglob("*") if path.is_file())
    for person in (ann, ben, cem):  # pseudonyms only, and no key
        assert person.user_id.encode() not in everything
        assert person.key.encode() not in everything
    assert OWNER_KEY.encode() not in everything
    assert all(row["annotator_id"].startswith("person-") for row in rows)

    (again,) = pull(run)
    assert (again.stored.new, again.stored.changed, again.stored.unchanged) == (0, 0, 5)
    assert human_file(run.folder).read_bytes() == kept
    assert human_rows(run) == rows

    ann.change(changes, names[3])
    ben.withdraw(withdrawn)
    (last,) = pull(run)
    assert (last.stored.changed, last.stored.withdrawn, last.stored.unchanged) == (1, 1, 3)
    assert {row["label"] for row in human_rows(run)} == {names[3], names[5]}


def test_people_weigh_as_the_recipe_says(argilla: ArgillaServer, team: Team, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", random_labels(8, 3, 6), fit={"human_weight": 4.0, "family": "empirical"})
    pushed = push(run, workspace="team", dataset="weight", count=2)
    record = records_of(argilla, pushed)[0]
    team[1][0].answer(record["id"], run.space.names[4])
    before = {row["item_id"]: row["votes"] for row in pq.read_table(run.folder.table("distributions")).to_pylist()}
    pull(run)
    stages.collect(run)
    stages.fit(run)
    after = {row["item_id"]: row["votes"] for row in pq.read_table(run.folder.table("distributions")).to_pylist()}
    changed = {item for item in after if after[item] != before[item]}
    assert changed == {record["external_id"]}
    gained = [b - a for a, b in zip(before[record["external_id"]], after[record["external_id"]], strict=True)]
    assert gained == [0, 0, 0, 0, 4.0, 0]
    # Suggestions stay the panel's own.
    said = records_of(argilla, push(run, workspace="team", dataset="weight", count=2))[0]["suggestions"]
    assert said[0]["value"] == record["suggestions"][0]["value"]
    assert said[0]["score"] == pytest.approx(record["suggestions"][0]["score"])


def test_blind_people_see_nothing_of_the_panel(argilla: ArgillaServer, team: Team, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", random_labels(6, 3, 6))
    pushed = push(run, workspace="team", dataset="blind", count=3, blind=True)
    dataset = pushed.url.split("/")[-2]
    person = team[1][0]
    seen = argilla.ask(
        "POST", f"/me/datasets/{dataset}/records/search", key=person.key, json={}, params={"include": "suggestions"}
    )
    for hit in seen["items"]:
        assert set(hit["record"]["fields"]) == {"conversation"}
        assert not hit["record"]["suggestions"]
        assert not hit["record"]["metadata"]
    assert len(seen["items"]) == 3


def test_records_wait_for_so_many_people(argilla: ArgillaServer, team: Team, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", random_labels(6, 3, 6))
    pushed = push(run, workspace="team", dataset="people", count=2, people=1)
    pushed = push(run, workspace="team", dataset="people", count=2, people=2)
    record = records_of(argilla, pushed)[0]
    ann, ben, _ = team[1]
    ann.answer(record["id"], run.space.names[0])
    assert records_of(argilla, pushed)[0]["status"] == "pending"
    ben.answer(record["id"], run.space.names[0])
    assert records_of(argilla, pushed)[0]["status"] == "completed"
    push(run, workspace="team", dataset="people", count=2, people=3)  # a third is wanted after all
    assert records_of(argilla, pushed)[0]["status"] == "pending"


def test_long_and_empty_messages_are_taken(
    argilla: ArgillaServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dprm_data.review import argilla_schema

    monkeypatch.setattr(argilla_schema, "_MESSAGE", 7)
    run = make_run(tmp_path / "run", random_labels(2, 3, 6))
    pushed = push(run, workspace="team", dataset="long", count=2)
    for record in records_of(argilla, pushed):
        row = next(
            r for r in pq.read_table(run.folder.table("items")).to_pylist() if r["item_id"] == record["external_id"]
        )
        messages = record["fields"]["conversation"]
        assert "".join(m["content"] for m in messages if m["role"] == "assistant") == row["completion"][0]["content"]
    assert argilla_schema.chat([{"role": "user", "content": ""}]) == [{"role": "user", "content": "(empty)"}]


@pytest.mark.slow
def test_from_people_to_a_calibrated_dataset(argilla: ArgillaServer, team: Team, tmp_path: Path) -> None:
    """The whole way: push at random, people answer with their own keys, pull, compare, calibrate, fit."""
    rng = np.random.default_rng(0)
    truth = rng.dirichlet(np.full(6, 0.5), size=60)
    drawn = (truth.cumsum(axis=1)[:, None, :] > rng.random((60, 9, 1))).argmax(axis=2)
    swap = np.array([5, 4, 3, 2, 1, 0])  # a panel that says the opposite
    run = make_run(tmp_path / "run", swap[drawn[:, :6]])
    pushed = push(run, workspace="team", dataset="whole", purpose="random", count=30)
    ids = pq.read_table(run.folder.table("items"))["item_id"].to_pylist()
    for record in records_of(argilla, pushed):
        row = ids.index(record["external_id"])
        for at, person in enumerate(team[1]):
            person.answer(record["id"], run.space.names[drawn[row, 6 + at]])
    (pulled,) = pull(run)
    assert (pulled.stored.submitted, pulled.stored.people, pulled.stored.items) == (90, 3, 30)
    compared = compare(run, resamples=100)
    assert compared.representative
    assert (compared.excess.low or 0) > 0
    calibrated = calibrate(run, resamples=200)
    assert calibrated.applied
    stages.collect(run)
    stages.fit(run)
    rewards = [
        np.array(pq.read_table(run.folder.path / "tables" / name)["expected_reward"])
        for name in ("distributions.parquet", "uncalibrated.parquet")
    ]
    true = truth @ run.space.rewards
    read, given = (np.abs(one - true).mean() for one in rewards)
    assert read < given


@pytest.mark.slow
def test_answers_of_deleted_accounts_and_records_stay(argilla: ArgillaServer, team: Team, tmp_path: Path) -> None:
    """Argilla deletes a user's responses with the account, and a record's with the record: nobody withdrew them."""
    run = make_run(tmp_path / "run", random_labels(6, 3, 6))
    workspace = team[0]
    leaves, stays = (argilla.add_person(f"deleted-{name}", workspace) for name in ("leaves", "stays"))
    pushed = push(run, workspace="team", dataset="deleted", count=4)
    one, two, three, _ = records_of(argilla, pushed)
    names = run.space.names
    for record in (one, two):
        leaves.answer(record["id"], names[0])
    stays.answer(one["id"], names[1])
    withdrawn = stays.answer(two["id"], names[2])
    stays.answer(three["id"], names[3])
    (first,) = pull(run)
    assert (first.stored.submitted, first.stored.from_deleted_accounts) == (5, 0)
    rows = human_rows(run)

    argilla.ask("DELETE", f"/users/{leaves.user_id}")
    argilla.ask("DELETE", f"/datasets/{pushed.url.split('/')[-2]}/records", params={"ids": three["id"]})
    stays.withdraw(withdrawn)
    (second,) = pull(run)
    stored = second.stored
    assert (stored.submitted, stored.withdrawn, stored.from_deleted_accounts, stored.people) == (4, 1, 2, 2)
    assert human_rows(run) == [row for row in rows if (row["item_id"], row["label"]) != (two["external_id"], names[2])]
    ledger = [json.loads(line) for line in ledger_file(run.folder).read_text().splitlines()]
    assert [row["status"] for row in ledger] == ["ok"] * 5 + ["withdrawn"]
    assert ledger[0]["source"] | {"server": ""} == {"server": "", "workspace": "team", "dataset": "deleted"}
    where = {"ARGILLA_API_URL": argilla.url, "ARGILLA_API_KEY": OWNER_KEY}
    said = dprm("review", "pull", "run", cwd=tmp_path, **where).stdout
    assert "2 of the submitted answers are from accounts that no longer exist" in said
    # an admin's key sees the workspace's members
    admin = argilla.add_person("deleted-admin", workspace, role="admin")
    said = dprm("review", "pull", "run", cwd=tmp_path, **(where | {"ARGILLA_API_KEY": admin.key})).stdout
    assert "2 of the submitted answers are from accounts that no longer exist" in said


def test_pairs_are_compared_by_people(argilla: ArgillaServer, team: Team, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", random_labels(12, 3, 6))
    pushed = push(run, workspace="team", dataset="pairs", what="pairs", purpose="random", count=4, people=2)
    assert (pushed.created, pushed.blind, pushed.purposes) == (4, True, {"random": 4})
    more = push(run, workspace="team", dataset="pairs", what="pairs", purpose="random", count=6, people=2, seed=1)
    assert (more.created, more.updated) == (2, 4)
    texts = {row["item_id"]: row for row in pq.read_table(run.folder.table("items")).to_pylist()}
    records = records_of(argilla, more)
    shown = [record["external_id"].split(":") for record in records]
    assert len({frozenset(ids[:2]) for ids in shown}) == 6  # no pair in both orders, also with another seed
    for record, (first, second, steps) in zip(records, shown, strict=True):
        assert steps == "3" and not record["suggestions"]
        assert record["fields"]["conversation"] == texts[first]["prompt"] == texts[second]["prompt"]
        assert record["fields"]["first"] == texts[first]["completion"][0]["content"]
        assert record["fields"]["second"] == texts[second]["completion"][0]["content"]
    ann, ben, _ = team[1]
    ann.answer(records[0]["id"], "A_is_better", comment="shorter")
    withdrawn = ben.answer(records[0]["id"], "B_is_better")
    ben.answer(records[1]["id"], "neither_is_better")
    ann.answer(records[1]["id"], "A_is_better", status="draft")
    with pytest.raises(ReviewError, match="exists with other settings"):
        push(run, workspace="team", dataset="pairs", count=4)

    (pulled,) = pull(run)
    assert (pulled.stored.submitted, pulled.stored.drafts, pulled.stored.pairs) == (3, 1, 2)
    assert not human_rows(run)
    path = run.folder.table("comparisons")
    found = pq.read_table(path).to_pylist()
    assert sorted((row["first_item_id"], row["second_item_id"], row["preference"]) for row in found) == sorted(
        [(*shown[0][:2], 1), (*shown[0][:2], -1), (*shown[1][:2], 0)]
    )
    assert {row["annotator_kind"] for row in found} == {"human"}
    assert [row["rationale"] for row in found if row["rationale"]] == ["shorter"]
    ben.withdraw(withdrawn)
    pull(run)
    assert pq.read_table(path).num_rows == 2
    stages.collect(run)
    stages.fit(run)
    pairs = pq.read_table(run.folder.table("preferences")).to_pylist()
    assert {row["basis"] for row in pairs if {row["chosen_item_id"], row["rejected_item_id"]} == set(shown[0][:2])} == {
        "both"
    }
