"""Tables that people or their tools have spoilt: each is taken whole, or refused with every fault by row and column."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dprm_data.core.errors import DprmError, InputError, VotesError
from dprm_data.core.tables import write_parquet
from dprm_data.ingest.items import Item, ids_of, store_items
from dprm_data.ingest.vote_tables import read_votes
from dprm_data.labels.space import LabelSpace
from dprm_data.review.cells import defused, restored
from dprm_data.review.csv_exchange import export, import_answers
from dprm_data.review.human_annotations import submitted
from dprm_data.runs.run import Run
from tests.helpers import dprm
from tests.review.helpers import annotation_table, items, make_run, random_labels

pytestmark = pytest.mark.slow

THREE = LabelSpace.ordinal(3)
IDS = [one.item_id for one in items(12)]
GOOD = "helpful_harmless"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_run(tmp_path / "run", random_labels(12, 3, 6))


def table(*rows: Sequence[str], header: str = "item_id,annotator,label,comment") -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows([header.split(","), *rows])
    return out.getvalue()


def refused(run: Run, tmp_path: Path, content: str | bytes, name: str = "answers.csv") -> str:
    """The message with which the file is refused; nothing of it is brought in."""
    file = tmp_path / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as caught:
        import_answers(run, [file])
    assert not submitted(run.folder).num_rows
    return str(caught.value)


def taken(run: Run, tmp_path: Path, content: str | bytes, name: str = "answers.csv") -> list[dict[str, Any]]:
    file = tmp_path / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    import_answers(run, [file])
    rows: list[dict[str, Any]] = submitted(run.folder).to_pylist()
    return rows


# -- answers: quotes ----------------------------------------------------------------------------------------------------


def test_a_forgotten_closing_quote_loses_nothing_in_silence(run: Run, tmp_path: Path) -> None:
    lines = table(*([IDS[i], "ann", GOOD, ""] for i in range(4))).splitlines()
    lines[1] += '"looks fine to me'
    said = refused(run, tmp_path, "\n".join(lines) + "\n")
    assert "row 2" in said
    assert "quote" in said


@pytest.mark.parametrize(
    "spoil",
    [
        {1: '"one', 2: '"two'},  # two forgotten: what follows the second is no comma
        {1: '"one', 2: '"'},  # ... or is: the second row would be text of the first
        {1: '"one', 3: '"x"'},
        {2: '"one'},
        {3: '"'},
        {1: '"a"b"', 3: '""'},
    ],
)
def test_other_forgotten_quotes(run: Run, tmp_path: Path, spoil: dict[int, str]) -> None:
    lines = table(*([IDS[i], "ann", GOOD, ""] for i in range(3))).splitlines()
    for row, text in spoil.items():
        lines[row] += text
    assert "quote" in refused(run, tmp_path, "\n".join(lines) + "\n")


def test_honest_quotes_are_taken(run: Run, tmp_path: Path) -> None:
    comment = 'He said "no",\nthen left;\r\na 5" screen'
    rows = taken(run, tmp_path, table([IDS[0], "ann", GOOD, comment], [IDS[1], "ann", GOOD, "plain"])[:-1])
    assert {row["rationale"] for row in rows} == {comment, "plain"}
    inch = f'item_id,annotator,label,comment\n{IDS[2]},ben,{GOOD},a 5" screen\n'
    assert taken(run, tmp_path, inch, "inch.csv")[-1]["item_id"] in IDS


# -- answers: sizes, encodings, rows ------------------------------------------------------------------------------------


def with_long_texts(folder: Path, text: str) -> Run:
    """A run whose first item is very long."""
    run = make_run(folder, random_labels(2, 3, 6))
    prompt: Any = ({"role": "user", "content": "Say it."},)
    completion: Any = ({"role": "assistant", "content": text},)
    item_id, group_id = ids_of(prompt, completion)
    long = Item(item_id, prompt, completion, group_id, None, "pairs.jsonl:1", {})
    store_items(iter([long]), run.folder.table("items"))
    rows = annotation_table(np.array([[0, 1, 2]]), run.space.names, [item_id])
    write_parquet(run.folder.table("annotations"), rows.schema, [rows])
    return Run.open(folder)


@pytest.mark.parametrize("ending", [".csv", ".jsonl"])
@pytest.mark.parametrize(
    "text", ["long " * 60_000, "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg", "=SUM(1)", "'=SUM(1)", "\r\n-x\r\n"]
)
def test_what_we_export_we_import(tmp_path: Path, ending: str, text: str) -> None:
    run = with_long_texts(tmp_path / "run", text)
    file = tmp_path / f"out{ending}"
    export(run, file, count=1)
    if ending == ".csv":
        csv.field_size_limit(1 << 30)
        with file.open(encoding="utf-8-sig", newline="") as opened:
            rows = list(csv.DictReader(opened))
        csv.field_size_limit(131_072)  # Python's default, which the command finds
        assert restored(rows[0]["response"]) == text
        rows[0] |= {"annotator": "ann", "label": GOOD}
        with file.open("w", encoding="utf-8", newline="") as opened:
            writer = csv.DictWriter(opened, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        row = json.loads(file.read_text(encoding="utf-8")[:-1])
        assert row["response"] == text
        row |= {"annotator": "ann", "label": GOOD}
        file.write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    ((_, stored),) = import_answers(run, [file])
    assert stored.submitted == 1


def test_a_byte_order_mark_is_no_part_of_a_column(run: Run, tmp_path: Path) -> None:
    content = table([IDS[0], "ann", GOOD, ""])
    assert len(taken(run, tmp_path, b"\xef\xbb\xbf" + content.encode())) == 1
    line = json.dumps({"item_id": IDS[1], "annotator": "ann", "label": GOOD})
    assert len(taken(run, tmp_path, b"\xef\xbb\xbf" + line.encode(), "a.jsonl")) == 2


@pytest.mark.parametrize(
    ("encoding", "says"),
    [("utf-16", "UTF-16"), ("utf-16-le", "NUL"), ("utf-32", "UTF-32"), ("cp1252", "row 3"), ("latin-1", "row 3")],
)
def test_other_encodings_are_named(run: Run, tmp_path: Path, encoding: str, says: str) -> None:
    content = table([IDS[0], "ann", GOOD, "fine"], [IDS[1], "ann", GOOD, "très bien"])
    said = refused(run, tmp_path, content.encode(encoding))
    assert says in said
    assert "UTF-8" in said


def test_nul_bytes_are_named(run: Run, tmp_path: Path) -> None:
    content = table([IDS[0], "ann", GOOD, ""], [IDS[1], "an\0n", GOOD, ""])
    assert "row 3" in (said := refused(run, tmp_path, content))
    assert "NUL" in said
    assert "NUL" in refused(
        run, tmp_path, json.dumps({"item_id": IDS[0], "annotator": "a\0", "label": GOOD}), "a.jsonl"
    )
    assert "NUL" in refused(run, tmp_path, content.encode() + b"\0" * 4096)  # the end of a disk image


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("comment", ["too short", "too long"])
def test_rows_of_another_length(run: Run, tmp_path: Path, delimiter: str, comment: str) -> None:
    lines = table([IDS[0], "ann", GOOD, "fine"], [IDS[1], "ann", GOOD, "fine"]).replace(",", delimiter).splitlines()
    lines[2] = lines[2].rsplit(delimiter, 1)[0] if comment == "too short" else f"{lines[2]}{delimiter}more"
    said = refused(run, tmp_path, "\n".join(lines))
    assert "row 3" in said
    assert "4" in said


def test_blank_rows_and_empty_cells_at_the_end_are_no_fault(run: Run, tmp_path: Path) -> None:
    content = f"item_id,annotator,label\n\n{IDS[0]},ann,{GOOD},,\n,,\n,\n{IDS[1]},ann,{GOOD}\n\n"
    assert len(taken(run, tmp_path, content)) == 2


def test_two_columns_of_one_name(run: Run, tmp_path: Path) -> None:
    said = refused(run, tmp_path, f"item_id,annotator,label,label\n{IDS[0]},ann,{GOOD},unhelpful_harmful\n")
    assert "'label'" in said
    assert "twice" in said
    line = f'{{"item_id": "{IDS[0]}", "annotator": "ann", "label": "{GOOD}", "label": "unhelpful_harmful"}}'
    assert "'label'" in refused(run, tmp_path, line, "a.jsonl")


@pytest.mark.parametrize(
    "at", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "0001-01-01", "2999-01-01", "12026"]
)
def test_dates_out_of_range(run: Run, tmp_path: Path, at: str) -> None:
    content = table([IDS[0], "ann", GOOD, at], header="item_id,annotator,label,at")
    said = refused(run, tmp_path, content)
    assert "row 2, column 'at'" in said


@pytest.mark.parametrize("mtime", [-(1 << 40), 1 << 40, 4e9])
def test_a_file_from_another_time(run: Run, tmp_path: Path, mtime: float) -> None:
    """Without a column `at`, the time of the file is that of its answers: but never one to come."""
    file = tmp_path / "answers.csv"
    file.write_text(table([IDS[0], "ann", GOOD, ""]))
    os.utime(file, (mtime, mtime))
    import_answers(run, [file])
    assert submitted(run.folder)["created_at"][0].as_py().year < 2200


# -- answers: all faults at once ----------------------------------------------------------------------------------------


def test_all_faults_are_shown_at_once(run: Run, tmp_path: Path) -> None:
    rows = [
        ["nothing", "ann", GOOD, "", "", ""],
        [IDS[0], " ", GOOD, "", "", ""],
        [IDS[1], "ann", "splendid", "", "", ""],
        [IDS[2], "ann", GOOD, "", "perhaps", ""],
        [IDS[3], "ann", GOOD, "", "", "yesterday"],
        [IDS[4], "ann", GOOD, "", "", ""],
        [IDS[4], "Ann", GOOD, "", "", ""],
        [IDS[5], "ann"],
    ]
    said = refused(run, tmp_path, table(*rows, header="item_id,annotator,label,comment,status,at"))
    assert "7 faults" in said
    for where in (
        "row 2, column 'item_id'",
        "row 3, column 'annotator'",
        "row 4, column 'label'",
        "row 5, column 'status'",
        "row 6, column 'at'",
        "row 8: 'Ann' has judged",
        "row 9",
    ):
        assert where in said


def test_of_many_faults_the_first_are_shown_with_the_count(run: Run, tmp_path: Path) -> None:
    said = refused(run, tmp_path, table(*([f"x{i}", "ann", GOOD, ""] for i in range(5000))))
    assert "5,000 faults" in said
    assert said.count("column 'item_id'") == 20


def test_faults_of_all_files_and_nothing_of_the_good_one(run: Run, tmp_path: Path) -> None:
    good, bad, worse = tmp_path / "good.csv", tmp_path / "bad.csv", tmp_path / "worse.jsonl"
    good.write_text(table([IDS[0], "ann", GOOD, ""]))
    bad.write_text(table([IDS[0], "ann", "x", ""]))
    worse.write_text("[1]\n{]\n")
    done = dprm("review", "import", "run", good, bad, worse, cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    for where in ("bad.csv: row 2", "worse.jsonl: row 1", "worse.jsonl: row 2"):
        assert where in done.stderr.replace("\n", "")
    assert not submitted(run.folder).num_rows


@pytest.mark.parametrize(
    "line",
    [
        '{"item_id": {}, "annotator": [1], "label": true}',
        "[" * 100_000,
        '{"a":' * 900 + "1" + "}" * 900,
        '"x"',
        "NaN",
        '{"item_id": "\\ud800", "annotator": "a", "label": "b"}',
    ],
)
def test_lines_of_json_of_any_kind(run: Run, tmp_path: Path, line: str) -> None:
    assert "row 1" in refused(run, tmp_path, line, "a.jsonl")


def test_what_is_no_file(run: Run, tmp_path: Path) -> None:
    for file in (tmp_path, tmp_path / "none.csv", Path("/dev/null") if os.name == "posix" else tmp_path):
        with pytest.raises(InputError):
            import_answers(run, [file])


# -- cells that begin like a formula --------------------------------------------------------------------------------------

FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", "＋1", "－1", "＠x"]


@pytest.mark.parametrize("text", [*FORMULAS, *(f"'{text}" for text in FORMULAS), "''=1"])
def test_no_cell_begins_like_a_formula(text: str) -> None:
    assert defused(text)[0] == "'"
    assert restored(defused(text)) == text


@pytest.mark.parametrize("text", ["", "'", "''", "plain", "'quoted'", "1-1", "it's"])
def test_other_texts_stay(text: str) -> None:
    assert defused(text) == text == restored(text)


@given(st.one_of(st.text(), st.text(alphabet="'=+-@\t\r\n a＝"), st.from_regex(r"'{0,3}[=+@\t\r\n-].*")))
def test_any_text_comes_back_as_it_was(text: str) -> None:
    assert restored(defused(text)) == text
    assert not defused(text).startswith(("=", "+", "-", "@", "\t", "\r", "\n"))


def test_a_comment_that_begins_like_a_formula_comes_back(run: Run, tmp_path: Path) -> None:
    rows = [[IDS[i], "ann", GOOD, defused(text)] for i, text in enumerate(FORMULAS[:4])]
    assert [
        row["rationale"] for row in sorted(taken(run, tmp_path, table(*rows)), key=lambda r: IDS.index(r["item_id"]))
    ] == FORMULAS[:4]


# -- tables of votes ----------------------------------------------------------------------------------------------------


def votes_refused(tmp_path: Path, content: bytes | str, name: str = "votes.csv", **settings: Any) -> str:
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(VotesError) as caught:
        read_votes(tmp_path / name, THREE, **settings)
    assert name in str(caught.value)
    return str(caught.value)


def parquet_refused(tmp_path: Path, table: pa.Table) -> str:
    pq.write_table(table, tmp_path / "votes.parquet")
    with pytest.raises(VotesError) as caught:
        read_votes(tmp_path / "votes.parquet", THREE)
    return str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        'item_id,annotator_id,label\n"a,x,0\nb,x,1\nc,x,2\n',
        'item_id,annotator_id,label\na,x,0\n"b,x,1\nc,"x",2\n',
        'item_id,annotator_id,label\na,x,"0\nb,x,1"\n',
        'item_id,annotator_id,label\n"a"b,x,0\n',
        'item_id,annotator_id,label,why\na,x,0,"fine\nb,x,1,\nc,x,2,\n',
        'item_id,annotator_id,label,why\na,x,0,fine\nb,x,1,"\n',
    ],
)
def test_votes_with_a_forgotten_quote(tmp_path: Path, content: str) -> None:
    votes_refused(tmp_path, content)


def test_votes_with_honest_quotes(tmp_path: Path) -> None:
    content = 'item_id,annotator_id,label,why\n"a, ""b""",x,0,"two\nlines"\nb,x,1,a 5" screen\n"",y,2,""\n'
    (tmp_path / "v.csv").write_text(content.replace('"",y', '"c",y'))
    assert read_votes(tmp_path / "v.csv", THREE).item_ids == ['a, "b"', "b", "c"]


def test_votes_all_faults_at_once(tmp_path: Path) -> None:
    content = "item_id,annotator_id,label,weight\na,x,0,1\n,x,1,1\nb,,1,1\nc,x,9,1\nd,x,1,-1\ne,x,1,nan\na,x,1,1\n"
    said = votes_refused(tmp_path, content)
    for where in (
        "row 2, column 'item_id'",
        "row 3, column 'annotator_id'",
        "row 4, column 'label'",
        "row 5, column 'weight'",
        "row 6, column 'weight'",
    ):
        assert where in said
    many = "item_id,label\n" + "".join(f"i{i},7\n" for i in range(3000))
    said = votes_refused(tmp_path, many)
    assert "3,000 faults" in said
    assert said.count("column 'label'") == 20


def test_votes_rows_of_another_length_and_weights_that_are_none(tmp_path: Path) -> None:
    said = votes_refused(tmp_path, "item_id,label,weight\na,0,1\nb,0\nc,0,1,9\nd,1,heavy\n")
    assert "row 2" in said
    assert "row 3" in said
    said = votes_refused(tmp_path, "item_id,label,weight\na,0,1\nd,1,heavy\ne,1,1e\n")
    assert "row 2, column 'weight': found 'heavy'" in said
    assert "row 3, column 'weight': found '1e'" in said


@pytest.mark.parametrize("header", ["item_id,label,label", "item_id,item_id,label"])
def test_votes_with_two_columns_of_one_name(tmp_path: Path, header: str) -> None:
    assert "twice" in votes_refused(tmp_path, f"{header}\na,0,1\n")
    twice = pa.Table.from_arrays([pa.array(["a"]), pa.array([0]), pa.array([1])], names=header.split(","))
    assert "twice" in parquet_refused(tmp_path, twice)


def test_votes_in_other_encodings(tmp_path: Path) -> None:
    content = "item_id,label\nà,0\nb,1\n"
    assert "UTF-16" in votes_refused(tmp_path, content.encode("utf-16")[:-1])
    assert "NUL" in votes_refused(tmp_path, content.encode("utf-16-le"))
    assert "row 3" in votes_refused(tmp_path, content.encode() + "é,1\n".encode("cp1252"))
    assert "header is not readable" in votes_refused(
        tmp_path, b"item_id,label,\x81\na,0,1\n"
    )  # no letter of Windows-1252
    assert "NUL" in votes_refused(tmp_path, "item_id,label\na\0,0\n")
    (tmp_path / "bom.csv").write_bytes(b"\xef\xbb\xbf" + content.encode())
    assert read_votes(tmp_path / "bom.csv", THREE).item_ids == ["à", "b"]


@pytest.mark.parametrize("label", ["9" * 30, "-" + "9" * 30, "9" * 5000, "1e400", "0x1", "１", "1_0"])
def test_votes_with_labels_out_of_range(tmp_path: Path, label: str) -> None:
    content = f"item_id,label\na,0\nb,{label}\n"
    (tmp_path / "v.csv").write_text(content)
    try:
        read_votes(tmp_path / "v.csv", THREE)
    except VotesError as error:
        assert "row 2, column 'label'" in str(error)
    else:
        assert label in ("１",)  # a digit of another script is a digit


COLUMNS: list[pa.Array] = [
    pa.array([2**64 - 1], pa.uint64()),
    pa.array([[1]]),
    pa.array([{"a": 1}]),
    pa.array([b"\xff\xfe"]),
    pa.array([1], pa.decimal128(5)),
    pa.array([None]),
    pa.array([1e300]),
    pa.array([True]),
    pa.array([0], pa.timestamp("ns")),
    pa.array([0], pa.duration("s")),
    pa.array(["x"]).dictionary_encode(),
    pa.array([None], pa.dictionary(pa.int32(), pa.string())),
    pa.DictionaryArray.from_arrays(pa.array([0]), pa.array([5], pa.int64())),
    pa.DictionaryArray.from_arrays(pa.array([0]), pa.array([b"\xff"])),
]


@pytest.mark.parametrize("column", ["item_id", "annotator_id", "label", "weight", "replicate"])
@pytest.mark.parametrize("values", COLUMNS, ids=lambda values: str(values.type))
def test_votes_with_columns_of_any_type(tmp_path: Path, column: str, values: pa.Array) -> None:
    """Read, or refused in words: in Parquet a column may have any type."""
    good = {name: pa.array([text]) for name, text in (("item_id", "a"), ("annotator_id", "x"), ("label", "1"))}
    pq.write_table(pa.table(good | {column: values}), tmp_path / "votes.parquet")
    try:
        votes = read_votes(tmp_path / "votes.parquet", THREE)
    except VotesError as error:
        assert "votes.parquet" in str(error)
    else:
        assert all(isinstance(name, str) for name in votes.item_ids)


@pytest.mark.parametrize(
    "column", ["status", "elicitation", "annotator_kind", "item_id", "label", "probs", "weight", "replicate"]
)
@pytest.mark.parametrize("values", COLUMNS, ids=lambda values: str(values.type))
def test_annotations_with_columns_of_any_type(tmp_path: Path, column: str, values: pa.Array) -> None:
    good = annotation_table(np.array([[1]]), THREE.names, ["a"])
    at = good.column_names.index(column)
    pq.write_table(good.set_column(at, column, values), tmp_path / "annotations.parquet")
    try:
        read_votes(tmp_path / "annotations.parquet", THREE)
    except DprmError as error:
        assert "annotations" in str(error)


def test_files_that_are_cut_off(tmp_path: Path) -> None:
    pq.write_table(pa.table({"item_id": ["a"] * 1000, "label": [0] * 1000}), tmp_path / "whole.parquet")
    whole = (tmp_path / "whole.parquet").read_bytes()
    for size in (0, 4, 8, len(whole) // 2, len(whole) - 1):
        votes_refused(tmp_path, whole[:size], "cut.parquet")
    votes_refused(tmp_path, b"\0" * len(whole), "zero.parquet")
    votes_refused(tmp_path, b"\0" * 100, "zero.csv")
