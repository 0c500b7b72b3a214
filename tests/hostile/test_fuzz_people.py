"""Fuzzing of what people and their servers send: any input is read, or refused with a DprmError. More examples: --hypothesis-profile=fuzz."""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dprm_data.core.errors import DprmError
from dprm_data.ingest.vote_tables import read_ratings, read_votes
from dprm_data.labels.space import LabelSpace
from dprm_data.review.answer_ledger import AnswerLedger, ledger_file
from dprm_data.review.answer_tables import read_answers
from dprm_data.review.argilla_records import answer_of, read_record
from dprm_data.review.human_annotations import store, submitted
from dprm_data.runs.folder import RunFolder
from dprm_data.runs.run import Run
from tests.hostile.fuzzing import fuzzed
from tests.review.helpers import items, make_run, random_labels

THREE = LabelSpace.ordinal(3)
IDS = [one.item_id for one in items(3)]
FILES = itertools.count()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(tmp_path_factory.mktemp("fuzz") / "run", random_labels(3, 2, 6))


def file_with(folder: Path, content: bytes, suffix: str) -> Path:
    file = folder / f"{next(FILES)}{suffix}"
    file.write_bytes(content)
    return file


# -- bytes that were a good file --------------------------------------------------------------------------------------------

texts = st.text(max_size=6) | st.sampled_from(['"', '""', "a,b", "a\nb", "=1", "\0", "\ufeff", "\ud83d\ude00", "é", ""])
labels = st.sampled_from(["0", "1", "2", "3", "-1", "1.0", "helpful_harmless", "", "9" * 40, "nan"]) | texts
edits = st.lists(
    st.tuples(st.integers(0, 400), st.sampled_from(["cut", "insert", "replace"]), st.binary(max_size=4)), max_size=4
)


def edited(content: bytes, changes: list[tuple[int, str, bytes]]) -> bytes:
    """The content with a few bytes cut, inserted or replaced."""
    for place, kind, piece in changes:
        at = place % (len(content) + 1)
        skip = {"cut": len(piece) + 1, "insert": 0, "replace": len(piece)}[kind]
        content = content[:at] + (b"" if kind == "cut" else piece) + content[at + skip :]
    return content


@st.composite
def tables(draw: st.DrawFn, names: list[str], columns: dict[str, st.SearchStrategy[str]]) -> bytes:
    """A CSV file of these columns in any order, or with one twice or missing; with bytes changed."""
    header = draw(st.permutations(names) | st.lists(st.sampled_from(names), max_size=7))
    rows = draw(st.lists(st.tuples(*(columns[name] for name in header)), max_size=4))
    out = io.StringIO()
    quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    writer = csv.writer(
        out,
        delimiter=draw(st.sampled_from(",;\t")),
        quoting=quoting,
        lineterminator=draw(st.sampled_from(["\n", "\r\n", "\r"])),
    )
    writer.writerows([header, *rows])
    encoding = draw(st.sampled_from(["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "cp1252"]))
    return edited(out.getvalue().encode(encoding, "replace"), draw(edits))


VOTES = {
    "item_id": st.sampled_from(["a", "b"]) | texts,
    "annotator_id": st.sampled_from(["x", "y"]) | texts,
    "label": labels,
}
VOTES |= {"weight": st.sampled_from(["1", "0.5", "-1", "nan", "1e999", "x", ""]), "replicate": texts}
ANSWERS = {"item_id": st.sampled_from(IDS) | texts, "annotator": texts, "label": labels, "comment": texts}
ANSWERS |= {"status": st.sampled_from(["", "draft", "ok", "x"]), "at": st.datetimes().map(str) | texts}


def counted_or_refused(file: Path) -> None:
    for read in (lambda: read_votes(file, THREE).counts, lambda: read_ratings(file, THREE, duplicates="mean").weight):
        try:
            numbers = read()
        except DprmError as error:
            assert error.message
        else:
            assert np.isfinite(numbers).all() and (numbers >= 0).all()


@fuzzed
@given(content=tables(list(VOTES), VOTES), suffix=st.sampled_from([".csv", ".tsv"]))
def test_votes_in_csv(tmp_path: Path, content: bytes, suffix: str) -> None:
    counted_or_refused(file_with(tmp_path, content, suffix))


@fuzzed
@given(content=st.binary(max_size=200), suffix=st.sampled_from([".csv", ".tsv", ".txt", ".jsonl", ".parquet", ""]))
def test_votes_in_any_bytes(tmp_path: Path, content: bytes, suffix: str) -> None:
    counted_or_refused(file_with(tmp_path, content, suffix))


@fuzzed
@given(content=tables(list(ANSWERS), ANSWERS))
def test_answers_in_csv(run: Run, tmp_path: Path, content: bytes) -> None:
    answers_or_refused(run, file_with(tmp_path, content, ".csv"))


@fuzzed
@given(content=st.binary(max_size=200), suffix=st.sampled_from([".csv", ".jsonl"]))
def test_answers_in_any_bytes(run: Run, tmp_path: Path, content: bytes, suffix: str) -> None:
    answers_or_refused(run, file_with(tmp_path, content, suffix))


def answers_or_refused(run: Run, file: Path) -> None:
    try:
        (answers,) = read_answers(run.folder, run.space, [file], dict.fromkeys(IDS, "prompt"), 3)
    except DprmError as error:
        assert file.name in error.message
    else:
        for answer in answers:
            assert answer.item_id in IDS
            assert answer.label in (None, *run.space.names)
            assert 1900 <= answer.at.year < 2200


# -- columns of any type ------------------------------------------------------------------------------------------------------

VALUES: list[st.SearchStrategy[Any]] = [
    st.sampled_from(["a", "x", "1", "ok", ""]),
    st.text(max_size=4).filter(
        lambda text: text.isascii() or text.encode(errors="ignore") == text.encode(errors="replace")
    ),
    st.integers(-2, 4),
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.floats(),
    st.booleans(),
    st.binary(max_size=3),
    st.lists(st.floats(0, 1), min_size=3, max_size=3),
    st.lists(st.text(max_size=2), max_size=2),
    st.dates(),
    st.just(None),
]


@st.composite
def arrow_tables(draw: st.DrawFn, names: list[str]) -> pa.Table:
    size = draw(st.integers(0, 4))
    columns = {}
    for name in [*draw(st.lists(st.sampled_from(names), unique=True)), "item_id", "label"]:
        kind = draw(st.sampled_from(VALUES))
        values = pa.array(draw(st.lists(kind | st.none(), min_size=size, max_size=size)))
        encodes = draw(st.booleans()) and not pa.types.is_nested(values.type) and not pa.types.is_null(values.type)
        columns[name] = values.dictionary_encode() if encodes else values
    return pa.table(columns)


@fuzzed
@given(table=arrow_tables(["annotator_id", "weight", "replicate"]))
def test_votes_in_parquet(tmp_path: Path, table: pa.Table) -> None:
    counted_or_refused(parquet(tmp_path, table))


@fuzzed
@given(table=arrow_tables(["annotator_id", "weight", "replicate", "probs", "status", "elicitation", "annotator_kind"]))
def test_annotations_in_parquet(tmp_path: Path, table: pa.Table) -> None:
    for name in ("status", "elicitation", "annotator_kind", "annotator_id"):  # what makes it a table of annotations
        if name not in table.column_names:
            table = table.append_column(name, pa.array(["ok"] * table.num_rows, pa.string()))
    counted_or_refused(parquet(tmp_path, table))


def parquet(folder: Path, table: pa.Table) -> Path:
    file = folder / f"{next(FILES)}.parquet"
    pq.write_table(table, file)
    return file


@fuzzed
@given(size=st.integers(0, 600))
def test_parquet_that_is_cut_off(tmp_path: Path, size: int) -> None:
    whole = parquet(tmp_path, pa.table({"item_id": ["a", "b"], "label": [0, 1]})).read_bytes()
    counted_or_refused(file_with(tmp_path, whole[:size], ".parquet"))


# -- JSON -----------------------------------------------------------------------------------------------------------------------

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from([*IDS, "helpful_harmless"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


def objects(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects of these fields, each of which may be missing or anything."""
    return st.fixed_dictionaries({}, optional={name: known | json_values for name, known in fields.items()})


def sometimes_anything(known: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return known | json_values


lines = sometimes_anything(
    objects(
        item_id=st.sampled_from(IDS),
        annotator=st.sampled_from(["ann", "ben", 1]),
        label=st.sampled_from(["helpful_harmless", ""]),
        comment=st.text(max_size=4),
        status=st.sampled_from(["draft", "ok", ""]),
        at=st.datetimes().map(str),
    )
)


@fuzzed
@given(rows=st.lists(lines, max_size=3), changes=edits)
def test_answers_in_jsonl(run: Run, tmp_path: Path, rows: list[Any], changes: list[tuple[int, str, bytes]]) -> None:
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    answers_or_refused(run, file_with(tmp_path, edited(content, changes), ".jsonl"))


responses = objects(
    user_id=st.sampled_from(["u", "v"]),
    status=st.sampled_from(["submitted", "draft", "discarded"]),
    values=objects(
        label=objects(value=st.sampled_from(["helpful_harmless"])), comment=objects(value=st.text(max_size=4))
    ),
    updated_at=st.datetimes().map(lambda time: time.isoformat()),
)
records = sometimes_anything(
    objects(
        id=st.sampled_from(["r"]),
        external_id=st.sampled_from(IDS),
        responses=st.lists(sometimes_anything(responses), max_size=3),
    )
)


@fuzzed
@given(content=records)
def test_argilla_records(run: Run, tmp_path: Path, content: Any) -> None:
    folder = RunFolder(tmp_path)
    try:
        record = read_record(content)
        answers = [answer_of(response, IDS[0], folder, run.space) for response in record.responses or []]
    except DprmError as error:
        assert error.message
        return
    stored = store(folder, f"argilla:{next(FILES)}", answers)
    assert stored.submitted + stored.drafts + stored.discarded == len({answer.person for answer in answers})
    assert store(folder, f"argilla:{next(FILES) - 1}", answers).new == 0


rows = objects(
    item_id=st.sampled_from(IDS),
    annotator_id=st.sampled_from(["person-a", "person-b"]),
    status=st.sampled_from(["ok", "draft", "withdrawn"]),
    origin=st.sampled_from(["argilla:1", "file:a.csv"]),
    label=st.sampled_from(["helpful_harmless"]),
    created_at=st.datetimes().map(lambda time: f"{time.isoformat()}Z"),
    weight=st.floats(),
    probs=st.lists(st.floats(), max_size=6),
    replicate=st.integers(),
)


@fuzzed
@given(content=st.lists(rows, max_size=4), changes=edits)
def test_the_ledger_of_answers(tmp_path: Path, content: list[Any], changes: list[tuple[int, str, bytes]]) -> None:
    folder = RunFolder(tmp_path)
    file = ledger_file(folder)
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(edited("".join(json.dumps(row) + "\n" for row in content).encode(), changes))
    read: list[Callable[[], Any]] = [lambda: AnswerLedger.of(folder).rows, lambda: submitted(folder)]
    for each in read:
        try:
            each()
        except DprmError as error:
            assert error.message
