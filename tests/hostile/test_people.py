"""People's answers: once recorded they are never lost, whatever becomes of accounts, files, disks and processes."""

from __future__ import annotations

import errno
import gzip
import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from dprm_data.core.errors import DprmError, InputError, ReviewError
from dprm_data.core.tables import write_parquet
from dprm_data.pipeline import stages
from dprm_data.review.answer_ledger import HUMAN, AnswerLedger, human_file, ledger_file
from dprm_data.review.argilla import pull
from dprm_data.review.csv_exchange import import_answers
from dprm_data.review.human_annotations import DRAFT, SUBMITTED, Answer, merge, pseudonym, store, submitted
from dprm_data.review.sent_log import SentLog
from dprm_data.runs.run import Run
from tests.hostile.argilla_double import Answer as Double
from tests.hostile.argilla_double import argilla_double, page
from tests.review.helpers import AT, annotation_table, items, make_run, random_labels

IDS = [one.item_id for one in items(4)]
ANN, BEN = "person-a", "person-b"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_run(tmp_path / "run", random_labels(4, 2, 6))


def said(run: Run, item: int, person: str, label: int, *, status: str = SUBMITTED, days: int = 0) -> Answer:
    return Answer(IDS[item], person, run.space.names[label], status, None, AT + timedelta(days=days))


def counted(run: Run) -> set[tuple[int, str, int]]:
    """The answers that count: item, person, label."""
    names = run.space.names
    return {
        (IDS.index(row["item_id"]), row["annotator_id"], names.index(row["label"]))
        for row in submitted(run.folder).to_pylist()
    }


def rows(run: Run) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ledger_file(run.folder).read_text().splitlines()]


# -- the ledger -----------------------------------------------------------------------------------------------------------


def test_every_change_is_a_row_and_none_is_taken_away(run: Run) -> None:
    steps: list[list[Answer]] = [
        [said(run, 0, ANN, 1), said(run, 0, BEN, 2)],
        [said(run, 0, ANN, 1), said(run, 0, BEN, 2)],  # nothing new
        [said(run, 0, ANN, 3, days=1), said(run, 0, BEN, 2)],  # changed
        [said(run, 0, ANN, 3, status=DRAFT, days=2)],  # taken back to a draft; withdrawn
        [said(run, 0, ANN, 4, days=3)],
    ]
    before = b""
    for answers in steps:
        store(run.folder, "argilla:1", answers, source={"workspace": "w", "dataset": "d"})
        now = ledger_file(run.folder).read_bytes()
        assert now.startswith(before)
        before = now
    names = run.space.names
    assert [(row["annotator_id"], row["label"], row["status"]) for row in rows(run)] == [
        (ANN, names[1], "ok"),
        (BEN, names[2], "ok"),
        (ANN, names[3], "ok"),
        (ANN, names[3], "draft"),
        (BEN, names[2], "withdrawn"),
        (ANN, names[4], "ok"),
    ]
    assert all(row["source"] == {"workspace": "w", "dataset": "d"} for row in rows(run))
    assert all(row["recorded_at"].endswith("+00:00") and row["origin"] == "argilla:1" for row in rows(run))
    assert counted(run) == {(0, ANN, 4)}


def test_an_answer_of_a_deleted_account_stays_and_counts(run: Run) -> None:
    store(run.folder, "argilla:1", [said(run, 0, ANN, 1), said(run, 1, ANN, 1), said(run, 0, BEN, 2)])
    stored = store(run.folder, "argilla:1", [], accounts={BEN}, items=set(IDS))
    assert (stored.withdrawn, stored.submitted, stored.from_deleted_accounts) == (1, 2, 2)
    assert counted(run) == {(0, ANN, 1), (1, ANN, 1)}
    assert (
        store(run.folder, "argilla:1", [], accounts={ANN, BEN}, items={IDS[0]}).withdrawn == 1
    )  # the record 1 is gone
    assert counted(run) == {(1, ANN, 1)}


def test_the_hash_of_an_imported_file_is_on_record(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "answers.csv"
    for label, status in ((0, ["ok"]), (1, ["ok", "ok"])):
        file.write_text(f"item_id,annotator,label\n{IDS[0]},ann,{run.space.names[label]}\n")
        import_answers(run, [file])
        assert [row["status"] for row in rows(run)] == status
    assert len({row["source"]["sha256"] for row in rows(run)}) == 2
    file.write_text("item_id,annotator,label\n")  # a later version of the file without the row
    assert import_answers(run, [file])[0][1].withdrawn == 1
    assert [row["status"] for row in rows(run)] == ["ok", "ok", "withdrawn"]


def test_the_table_is_computed_again_from_the_ledger(run: Run) -> None:
    store(run.folder, "argilla:1", [said(run, 0, ANN, 1), said(run, 1, ANN, 1, status=DRAFT)])
    table = human_file(run.folder).read_bytes()
    for damage in (b"", b"PAR1", table[: len(table) // 2], b"\0" * len(table)):
        human_file(run.folder).write_bytes(damage)
        assert counted(run) == {(0, ANN, 1)}
        assert merge(run.folder) == 4 * 2 + 1
    store(run.folder, "argilla:1", [said(run, 0, ANN, 1), said(run, 1, ANN, 1, status=DRAFT)])
    assert pq.read_table(human_file(run.folder), schema=HUMAN).num_rows == 2


# -- machines fail --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [1, 40, -1, -20])
def test_a_last_line_that_was_cut_off_is_no_answer(run: Run, keep: int) -> None:
    store(run.folder, "argilla:1", [said(run, 0, ANN, 1)])
    whole = ledger_file(run.folder).read_bytes()
    store(run.folder, "argilla:1", [said(run, 0, ANN, 1), said(run, 1, ANN, 2)])
    both = ledger_file(run.folder).read_bytes()
    ledger_file(run.folder).write_bytes(whole + both[len(whole) :][:keep])
    assert counted(run) == {(0, ANN, 1)}
    again = store(run.folder, "argilla:1", [said(run, 0, ANN, 1), said(run, 1, ANN, 2)])
    assert (again.cut_off, again.new, again.unchanged) == (True, 1, 1)
    assert [row["item_id"] for row in rows(run)] == IDS[:2]
    assert not store(run.folder, "argilla:1", [said(run, 0, ANN, 1), said(run, 1, ANN, 2)]).cut_off


def test_the_screen_says_that_a_write_was_cut_off(run: Run, tmp_path: Path) -> None:
    from tests.helpers import dprm

    file = tmp_path / "answers.csv"
    file.write_text(f"item_id,annotator,label\n{IDS[0]},ann,{run.space.names[0]}\n")
    import_answers(run, [file])
    with ledger_file(run.folder).open("ab") as ledger:
        ledger.write(b'{"item_id": "')
    done = dprm("review", "import", "run", file, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "cut off" in done.stdout
    assert "1 submitted answers" in done.stdout


@pytest.mark.parametrize("content", [b"", b"\0" * 100])
def test_an_empty_ledger_is_not_no_answers(run: Run, content: bytes) -> None:
    """The table beside it still has them."""
    store(run.folder, "argilla:1", [said(run, 0, ANN, 1)])
    ledger_file(run.folder).write_bytes(content)
    assert counted(run) == {(0, ANN, 1)}
    store(run.folder, "file:x", [said(run, 1, BEN, 2)])
    assert counted(run) == {(0, ANN, 1), (1, BEN, 2)}
    assert len(rows(run)) == 2


def test_a_full_disk_records_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    store(run.folder, "argilla:1", [said(run, 0, ANN, 1)])
    before = ledger_file(run.folder).read_bytes()

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DprmError, match=r"cannot write .*No space left(.|\n)*Nothing was recorded"):
        store(run.folder, "argilla:1", [said(run, 0, ANN, 1), said(run, 1, ANN, 2)])
    assert ledger_file(run.folder).read_bytes() == before
    assert counted(run) == {(0, ANN, 1)}


def test_rows_are_on_the_disk_before_they_count(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed = []
    real = os.fsync

    def counted_fsync(handle: int) -> None:
        flushed.append(handle)
        real(handle)

    monkeypatch.setattr(os, "fsync", counted_fsync)
    store(run.folder, "argilla:1", [said(run, 0, ANN, 1)])
    assert len(flushed) == 2  # the file and its folder


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        b'{"item_id": 1, "annotator_id": "a", "status": "ok", "origin": "x"}',
        b'{"item_id": "i", "annotator_id": "a", "status": "ok", "origin": "x", "created_at": "soon"}',
        b'{"item_id": "i", "annotator_id": "a", "status": "ok", "origin": "x", "created_at": "0001-01-01T00:00:00+14:00"}',
        b'{"item_id": "i", "annotator_id": "a", "status": "ok", "origin": "x", "replicate": 99999999999}',
        b'{"item_id": "i", "annotator_id": "a", "status": "ok", "origin": "x", "probs": ["a"]}',
    ],
)
def test_a_damaged_row_is_named(run: Run, line: bytes) -> None:
    store(run.folder, "argilla:1", [said(run, 0, ANN, 1)])
    with ledger_file(run.folder).open("ab") as ledger:
        ledger.write(line + b"\n")
    with pytest.raises(ReviewError, match=r"answers\.jsonl: line 2"):
        submitted(run.folder)


def test_a_damaged_salt_or_log_is_named(run: Run, tmp_path: Path) -> None:
    pseudonym(run.folder, "ann")
    for content in ("", "zz", "\n"):
        (run.folder.path / "review" / "salt").write_text(content)
        with pytest.raises(ReviewError, match="salt is damaged"):
            pseudonym(run.folder, "ann")
    for content in (
        "",
        "[]",
        '{"chosen": {}, "places": [1]}',
        '{"chosen": [], "places": []}',
        '{"chosen": {}, "places": {"a": 1}}',
    ):
        (run.folder.path / "review" / "register.json").write_text(content)
        with pytest.raises(InputError, match=r"register\.json"):
            SentLog.of(run.folder)
    (run.folder.path / "review" / "register.json").write_text('{"chosen": {}, "places": [{"kind": "argilla"}]}')
    with argilla_double(page([])) as server, pytest.raises(ReviewError, match="not pushed"):
        pull(run, server=server)


# -- folders of an earlier version ------------------------------------------------------------------------------------------


def old_answers(run: Run) -> None:
    """People's answers as the version before kept them: one table, no ledger."""
    base = dict.fromkeys(HUMAN.names) | {
        "annotator_kind": "human",
        "elicitation": "vote",
        "weight": 1.0,
        "replicate": 0,
        "cost": 0.0,
        "created_at": AT,
    }
    names = run.space.names
    kept = [
        base | {"item_id": IDS[0], "annotator_id": ANN, "label": names[1], "status": "ok", "origin": "argilla:1"},
        base | {"item_id": IDS[1], "annotator_id": ANN, "status": "discarded", "origin": "argilla:1"},
        base | {"item_id": IDS[0], "annotator_id": BEN, "label": names[2], "status": "ok", "origin": "file:a.csv"},
    ]
    import pyarrow as pa

    write_parquet(human_file(run.folder), HUMAN, [pa.Table.from_pylist(kept, schema=HUMAN)])


def test_an_old_folder_is_read_and_its_answers_open_the_ledger(run: Run) -> None:
    old_answers(run)
    assert counted(run) == {(0, ANN, 1), (0, BEN, 2)}
    assert merge(run.folder) == stages.collect(run) == 4 * 2 + 2
    assert not ledger_file(run.folder).exists()
    stored = store(run.folder, "argilla:1", [said(run, 0, ANN, 1), said(run, 2, ANN, 3)])
    assert (stored.new, stored.unchanged, stored.withdrawn) == (1, 1, 1)
    found = [(row["origin"], row["item_id"], row["status"]) for row in rows(run)]
    assert sorted(found[:3]) == sorted(
        [("argilla:1", IDS[0], "ok"), ("argilla:1", IDS[1], "discarded"), ("file:a.csv", IDS[0], "ok")]
    )
    assert found[3:] == [("argilla:1", IDS[2], "ok"), ("argilla:1", IDS[1], "withdrawn")]
    assert counted(run) == {(0, ANN, 1), (0, BEN, 2), (2, ANN, 3)}


def test_an_old_table_that_is_damaged_is_named(run: Run, tmp_path: Path) -> None:
    old_answers(run)
    whole = human_file(run.folder).read_bytes()
    for damage in (b"", whole[:100], b"\0" * 100):
        human_file(run.folder).write_bytes(damage)
        with pytest.raises(ReviewError, match="cannot be read"):
            submitted(run.folder)


def test_people_of_a_pulled_dataset_open_the_ledger(run: Run) -> None:
    path = run.folder.table("annotations")
    people = annotation_table(np.array([[1], [2]]), run.space.names, IDS[:2])
    people = people.set_column(2, people.schema.field(2), [["human"] * 2])
    write_parquet(path, people.schema, [pq.read_table(path), people])
    store(run.folder, "file:x", [said(run, 0, ANN, 3)])
    assert counted(run) == {(0, "p0", 1), (1, "p0", 2), (0, ANN, 3)}
    assert [row["origin"] for row in rows(run)] == ["pulled", "pulled", "file:x"]
    assert len(AnswerLedger.of(run.folder).rows) == 3


# -- what a server sends ------------------------------------------------------------------------------------------------------


def record(**changes: Any) -> dict[str, Any]:
    response = {
        "user_id": "u",
        "status": "submitted",
        "values": {"label": {"value": "helpful_harmless"}},
        "updated_at": "2026-01-02T03:04:05",
    }
    return {"id": "r", "external_id": IDS[0], "responses": [response | changes]}


@pytest.mark.parametrize(
    "content",
    [
        1,
        None,
        [],
        {},
        {"id": "r", "external_id": 5},
        {"id": "r", "external_id": IDS[0], "responses": {"a": 1}},
        {"id": "r", "external_id": IDS[0], "responses": [1]},
        record(user_id=None),
        record(user_id=["u"]),
        record(status="perhaps"),
        record(status=None),
        record(values=[1]),
        record(values={"label": "helpful_harmless"}),
        record(values={"label": {"value": ["helpful_harmless"]}}),
        record(values={"label": {"value": {"a": 1}}}),
        record(values={"label": {"value": "splendid"}}),
        record(values={"label": {"value": "\ud800"}}),
        record(updated_at=None),
        record(updated_at="yesterday"),
        record(updated_at="0001-01-01T00:00:00+14:00"),
        record(updated_at="9999-12-31T23:59:59-14:00"),
        record(updated_at="2999-01-01T00:00:00"),
    ],
)
@pytest.mark.slow
def test_records_of_any_form_end_in_words_and_record_nothing(run: Run, content: Any) -> None:
    with argilla_double(page([record(user_id="v"), content])) as server, pytest.raises(ReviewError):
        pull(run, workspace="w", dataset="d", server=server)
    assert not ledger_file(run.folder).exists()


@pytest.mark.parametrize(
    "double",
    [
        lambda path: (200, b""),
        lambda path: (200, b"<html>"),
        lambda path: (200, b"[" * 100_000),
        lambda path: (200, b'{"items": 5}'),
        lambda path: (200, b"[1]"),
        lambda path: (200, b"\xff\xfe"),
        lambda path: (404, b"{}"),
        lambda path: (500, b"oh"),
    ],
)
def test_a_server_that_is_no_argilla(run: Run, double: Double) -> None:
    with argilla_double(double) as server, pytest.raises(ReviewError):
        pull(run, workspace="w", dataset="d", server=server)


def test_a_comment_that_is_no_text_is_kept_as_far_as_it_is(run: Run) -> None:
    values = {"label": {"value": "helpful_harmless"}, "comment": {"value": "so \ud800 it is\0"}}
    with argilla_double(page([record(values=values)], ["u"])) as server:
        pull(run, workspace="w", dataset="d", server=server)
        pull(run, workspace="w", dataset="d", server=server)
    assert submitted(run.folder)["rationale"].to_pylist() == ["so ? it is\0"]
    assert len(rows(run)) == 1


def test_records_without_an_item_or_responses_are_passed_over(run: Run) -> None:
    others = [
        {"id": "a", "external_id": None, "responses": None},
        {"id": "b"},
        {"id": "c", "external_id": IDS[1], "responses": None},
    ]
    with argilla_double(page([*others, record(), record() | {"external_id": "else"}])) as server:
        (pulled,) = pull(run, workspace="w", dataset="d", server=server)
    assert (pulled.stored.submitted, pulled.unknown) == (1, 1)


def test_a_server_that_never_ends(run: Run) -> None:
    """The same full page again and again."""
    full = [record() | {"id": f"r{i}"} for i in range(250)]
    with argilla_double(page(full)) as server, pytest.raises(ReviewError, match="again"):
        pull(run, workspace="w", dataset="d", server=server)


@pytest.mark.parametrize("packed", [True, False])
def test_a_reply_without_bounds_is_not_kept(run: Run, packed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dprm_data.review.argilla_server.LARGEST_REPLY", 1 << 20)
    huge = b" " * (64 << 20)
    body = gzip.compress(huge) if packed else huge[: 2 << 20]
    with argilla_double(lambda path: (200, body)) as server, pytest.raises(ReviewError, match="more than 1 MiB"):
        pull(run, workspace="w", dataset="d", server=server)
