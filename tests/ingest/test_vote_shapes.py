"""Tables of votes as people have them: each kind is read as the plain long table of the same votes, and what was assumed is said."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dprm_data import LabelSpace, fit
from dprm_data.core.errors import InputError, VotesError
from dprm_data.ingest.rater_attributes import rater_attribute
from dprm_data.ingest.vote_tables import read_ratings, read_votes
from tests.preference import real_votes

FIVE = LabelSpace.ordinal(5)
LONG = [("a", "r1", 1), ("b", "r1", 3), ("a", "r2", 5), ("b", "r2", 2), ("a", "r3", 5)]  # r3 has not judged b
COUNTS = [[1, 0, 0, 0, 2], [0, 1, 1, 0, 0]]
WIDE = {"item_id": ["a", "b"], "r1": [1, 3], "r2": [5, 2], "r3": [5, None]}
SIDEWAYS = {"rater": ["r1", "r2", "r3"], "age": [31, 62, 47], "a": [1, 5, 5], "b": [3, 2, None]}


def long_frame() -> pd.DataFrame:
    return pd.DataFrame(LONG, columns=["item_id", "rater", "label"])


def read(votes: Any, space: LabelSpace = FIVE, **settings: Any) -> tuple[dict[tuple[str, str], int], list[str]]:
    """Item and rater of every vote to its label from 0, and what was said."""
    said: list[str] = []
    ratings = read_ratings(votes, space, say=said.append, **settings)
    assert len(ratings) == len(ratings.item)
    found = {
        (ratings.item_ids[i], ratings.annotator_ids[a]): int(k)
        for i, a, k in zip(ratings.item, ratings.annotator, ratings.label, strict=True)
    }
    assert len(found) == len(ratings)
    return found, said


EXPECTED = {(item, rater): label - 1 for item, rater, label in LONG}


def refused(votes: Any, space: LabelSpace = FIVE, **settings: Any) -> str:
    with pytest.raises(VotesError) as caught:
        read_ratings(votes, space, say=lambda text: None, **settings)
    return str(caught.value)


def written(path: Path, content: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(content.encode(encoding))
    return path


# -- shapes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_column_per_rater(tmp_path: Path, suffix: str) -> None:
    frame, path = pd.DataFrame(WIDE), tmp_path / f"wide{suffix}"
    _ = frame.to_csv(path, index=False) if suffix == ".csv" else frame.to_parquet(path)
    found, said = read(path)
    assert found == EXPECTED
    assert any("a column per rater: r1, r2, r3" in text for text in said)
    assert any("1 of 6 cells of labels is empty: no votes" in text for text in said)


def test_a_column_per_item(tmp_path: Path) -> None:
    pd.DataFrame(SIDEWAYS).to_csv(tmp_path / "sideways.csv", index=False)
    found, said = read(tmp_path / "sideways.csv")
    assert found == EXPECTED
    assert any("a column per item: a, b" in text and "not read: age" in text for text in said)
    assert rater_attribute(tmp_path / "sideways.csv", "age", {}) == {"r1": 31, "r2": 62, "r3": 47}


def test_columns_of_a_wide_table_are_named() -> None:
    frame = pd.DataFrame({"question": ["a", "b"], "ann": [1, 3], "ben": [5, 2], "length": [1, 2]})
    for raters in (["ann", "ben"], ["[ab]*n"]):
        found, said = read(frame, rater_columns=raters, columns={"item_id": "question"}, base=1)
        assert found == {("a", "ann"): 0, ("b", "ann"): 2, ("a", "ben"): 4, ("b", "ben"): 1}
        assert said == []
    assert "no column 'carl'" in refused(frame, rater_columns=["carl"], columns={"item_id": "question"})
    assert "--column item_id=NAME" in refused(frame, rater_columns=["ann"])
    both = refused(frame, rater_columns=["ann"], item_columns=["ben"])
    assert "not both" in both


def test_a_row_without_a_name_is_a_rater(tmp_path: Path) -> None:
    """A survey's export: a row per respondent, who has no id."""
    path = written(tmp_path / "survey.csv", "sex,q1,q2\nf,1,3\nm,5,2\n")
    found, _ = read(path, item_columns=["q*"])
    assert found == {("q1", "row 1"): 0, ("q2", "row 1"): 2, ("q1", "row 2"): 4, ("q2", "row 2"): 1}
    assert rater_attribute(path, "sex", {"item_columns": ["q*"]}) == {"row 1": "f", "row 2": "m"}


@pytest.mark.parametrize(
    ("columns", "option"),
    [
        ({"question": ["a", "b"], "r1": [1, 3], "r2": [5, 2]}, "--rater-columns 'r*' --column item_id=question"),
        ({"item_id": ["a", "b"], "ann": [1, 3], "ben": [5, 2]}, "--rater-columns ann --rater-columns ben"),
        ({"item_id": ["a", "b"], "helpful": [1, 3], "harmless": [5, 2]}, "--column label=NAME"),
        ({"item_id": ["a", "b"], "r1": [1, 3], "r2": [5, 2], "q1": [1, 3], "q2": [5, 2]}, "--item-columns"),
        ({"rater": ["x", "y"], "age": [4, 62], "yes": [1, 3], "no": [5, 2]}, "--item-columns"),
    ],
)
def test_what_may_be_several_things_is_asked(columns: dict[str, list[Any]], option: str) -> None:
    said = refused(pd.DataFrame(columns))
    assert "it is not known what each column is" in said
    assert option in said


def test_a_bad_cell_of_a_wide_table_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "wide.csv", "item_id,r1,r2\na,1,5\nb,3,12\n,4,4\n")
    said = refused(path)
    assert "row 2, column 'r2': found '12'" in said
    assert said.count("row 3, column 'item_id'") == 1
    twice = written(tmp_path / "twice.csv", "item_id,r1,r2\na,1,5\na,3,2\n")
    assert "row 2: 'r1' has judged item 'a' before, in row 1" in refused(twice)


def test_weights_of_a_wide_table() -> None:
    votes = read_votes(pd.DataFrame(WIDE | {"weight": [2.0, 0.5]}), FIVE, say=lambda text: None)
    np.testing.assert_allclose(votes.counts, [[2, 0, 0, 0, 4], [0, 0.5, 0.5, 0, 0]])


# -- files --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
def test_csv_of_any_delimiter_and_encoding(tmp_path: Path, delimiter: str, encoding: str) -> None:
    content = long_frame().replace({"rater": {"r1": "Zoë"}}).to_csv(index=False, sep=delimiter, lineterminator="\r\n")
    mark = "\ufeff" if encoding == "utf-16-le" else ""
    found, said = read(written(tmp_path / "v.csv", mark + content, encoding))
    assert found == {(item, "Zoë" if rater == "r1" else rater): label for (item, rater), label in EXPECTED.items()}
    assert any("separated by" in text for text in said) == (delimiter != ",")
    assert any("is read as" in text for text in said) == (not encoding.startswith("utf-8"))


def test_broken_utf8_is_not_taken_for_windows_1252(tmp_path: Path) -> None:
    path = tmp_path / "v.csv"
    path.write_bytes("item_id,label\nà,1\n".encode() + b"caf\xe9,5\n")
    assert "row 2, column 'item_id': not valid UTF-8" in refused(path)
    path.write_bytes("item_id,label\na,1\n".encode("utf-16")[:-1])
    assert "not valid UTF-16" in refused(path)


def test_decimal_commas(tmp_path: Path) -> None:
    path = written(tmp_path / "v.csv", "item_id;rater;label;weight\na;x;1,0;0,5\na;y;5;2\nb;x;3,0;1,25\n")
    votes = read_votes(path, FIVE, say=lambda text: None)
    np.testing.assert_allclose(votes.counts, [[0.5, 0, 0, 0, 2], [0, 0, 1.25, 0, 0]])
    said = refused(written(path, "item_id;label;weight\na;1,5;1\na;5;1.000,5\n"))
    assert "row 1, column 'label': found '1,5'" in said
    assert "row 2, column 'weight': found '1.000,5'" in said


def test_a_delimiter_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "v.csv", "item_id~label\na~1\na~5\n")
    assert "no column" in refused(path)
    assert read_votes(path, FIVE, delimiter="~").counts.sum() == 2
    assert read_votes(written(path, "item_id\tlabel\na\t1\na\t5\n"), FIVE, delimiter="tab").counts.sum() == 2
    assert "';;' is not valid" in refused(path, delimiter=";;")
    assert "delimiter applies only to" in refused(parquet(tmp_path), delimiter=";")


def parquet(folder: Path) -> Path:
    pq.write_table(pa.table({"item_id": ["a", "a"], "label": [1, 5]}), folder / "v.parquet")
    return folder / "v.parquet"


def test_excel(tmp_path: Path) -> None:
    pytest.importorskip("openpyxl", reason="needs the extra excel")
    path = tmp_path / "v.xlsx"
    with pd.ExcelWriter(path) as book:
        long_frame().assign(weight=[1, 1, 0.5, 1, 1]).to_excel(book, sheet_name="March", index=False)
        pd.DataFrame(WIDE).to_excel(book, sheet_name="wide", index=False, startrow=2)
    found, said = read(path)
    assert found == EXPECTED
    assert any("the sheet 'March' is read, not 'wide'" in text for text in said)
    np.testing.assert_allclose(read_votes(path, FIVE, say=said.append).counts, [[1, 0, 0, 0, 1.5], COUNTS[1]])
    assert read(path, sheet="wide")[0] == EXPECTED
    assert "no sheet 'May' (found: March, wide)" in refused(path, sheet="May")
    path.write_bytes(path.read_bytes()[:500])
    assert "not readable as an Excel workbook" in refused(path)


def test_excel_asks_for_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(InputError, match=r"pip install 'dprm-data\[excel\]'"):
        read(written(tmp_path / "v.xlsx", ""))
    assert "Save it as .csv, .xlsx or .parquet" in refused(written(tmp_path / "v.xls", ""))


# -- Python -------------------------------------------------------------------------------------------------------------


def tables() -> dict[str, Any]:
    import datasets

    rows = [{"item_id": item, "rater": rater, "label": label} for item, rater, label in LONG]
    dataset = datasets.Dataset.from_list(rows)
    return {
        "pandas": long_frame(),
        "pandas with an index": long_frame().set_index(["item_id", "rater"]),
        "pandas with categories": long_frame().astype({"item_id": "category", "rater": "category"}),
        "pandas with objects": long_frame().astype({"label": object}).replace({"label": {5: "5"}}),
        "polars": pl.DataFrame(LONG, schema=["item_id", "rater", "label"], orient="row"),
        "arrow": pa.Table.from_pandas(long_frame()),
        "record batch": pa.RecordBatch.from_pandas(long_frame()),
        "rows": rows,
        "columns": {name: [row[name] for row in rows] for name in rows[0]},
        "datasets": dataset.filter(lambda row: True),
        "class labels": dataset.map(lambda row: {"label": row["label"] - 1}).cast_column(
            "label", datasets.ClassLabel(names=["1", "2", "3", "4", "5"])
        ),
    }


@pytest.mark.parametrize("kind", list(tables()))
def test_tables_in_python(kind: str) -> None:
    assert read(tables()[kind])[0] == EXPECTED


def test_rows_whose_first_lacks_a_column() -> None:
    rows = [{"item_id": "a", "label": 1}, {"item_id": "a", "label": 5, "weight": 2.0}]
    assert "row 1, column 'weight': found None" in refused(rows)


def test_fit_takes_a_table() -> None:
    with pytest.warns(UserWarning, match="a column per rater"):
        fitted = fit(pl.DataFrame(WIDE), FIVE)
    np.testing.assert_array_equal(fitted.votes.counts, COUNTS)


@pytest.mark.parametrize("votes", [5, [1, 2], [["a", 1]], {"a": 1}, pl.DataFrame(WIDE).lazy()])
def test_what_is_no_table(votes: Any) -> None:
    assert "pandas, polars or Arrow" in refused(votes)


def test_addresses_of_the_hub(tmp_path: Path) -> None:
    assert "'spilt' is unknown (allowed: split, config, revision)" in refused("hf://acme/faces?spilt=test")
    assert "A dataset of the Hub is written hf://acme/faces" in refused("acme/faces")


# -- missing votes and bad rows -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("empty", ["", "NA", "nan", "null", " ", "N/A", "None"])
def test_an_empty_label_is_no_vote(tmp_path: Path, empty: str) -> None:
    path = written(tmp_path / "v.csv", f"item_id,rater,label,weight\na,x,1,1\na,y,{empty},x\nb,x,{empty},\na,z,5,1\n")
    found, said = read(path)
    assert found == {("a", "x"): 0, ("a", "z"): 4}
    assert any("2 of 4 cells of labels are empty: no votes; 1 item has no vote at all" in text for text in said)


def test_a_label_that_is_called_nothing(tmp_path: Path) -> None:
    space = LabelSpace.load({"name": "nli", "labels": [{"name": "yes", "reward": 1}, {"name": "none", "reward": 0}]})
    path = written(tmp_path / "v.csv", "item_id,rater,label\na,x,none\na,y,yes\na,z,\n")
    assert read(path, space)[0] == {("a", "x"): 1, ("a", "y"): 0}


@pytest.mark.parametrize("label", [[1.0, None, 5.0], [1.0, float("nan"), 5.0], ["1", None, "5"], [1, None, 5]])
def test_empty_labels_of_any_type(tmp_path: Path, label: list[Any]) -> None:
    pq.write_table(pa.table({"item_id": ["a", "b", "a"], "label": label}), tmp_path / "v.parquet")
    votes = read_votes(tmp_path / "v.parquet", FIVE, say=lambda text: None)
    np.testing.assert_array_equal(votes.counts, [[1, 0, 0, 0, 1]])


def test_a_table_without_any_vote() -> None:
    assert "no votes: every cell of column 'label' is empty" in refused({"item_id": ["a"], "label": [None]})


BAD = (
    "item_id,rater,label,weight\na,x,1,1\na,y,9,1\nb,x,3,much\n,x,2,1\nb,y,2,1\nc,x,4,1,7,7\na,z,5,1\nc,y\nb,z,bad,1\n"
)


def test_bad_rows_are_left_out_and_reported(tmp_path: Path) -> None:
    path = written(tmp_path / "v.csv", BAD)
    assert "--bad-rows skip" in refused(path)
    found, said = read(path, bad_rows="skip")
    assert found == {("a", "x"): 0, ("b", "y"): 1, ("a", "z"): 4}
    (report,) = said
    assert "6 bad rows are left out, the first:" in report
    for where in ("row 2, column 'label': found '9'", "row 3, column 'weight': found 'much'", "row 6: has 6 cells"):
        assert where in report
    assert report.count("\n") == 5


def test_bad_rows_do_not_say_how_labels_are_counted(tmp_path: Path) -> None:
    path = written(tmp_path / "v.csv", "item_id,label\na,1\nb,2\nc,99\n")
    assert "may be counted from 0 or from 1" in refused(path, bad_rows="skip")
    path = written(tmp_path / "v.csv", "item_id,label\na,0\nb,5\nc,99\n")
    assert "cannot all be counted from 0 or from 1" in refused(path, bad_rows="skip")
    assert read_votes(path, FIVE, bad_rows="skip", base=1, say=lambda text: None).item_ids == ["b"]


def test_a_torn_file_is_refused_whatever_is_asked(tmp_path: Path) -> None:
    path = written(tmp_path / "v.csv", 'item_id,rater,label\na,x,1\n"b,x,2\nc,x,5\n')
    for bad_rows in ("skip", "refuse"):
        said = refused(path, bad_rows=bad_rows)
        assert "a quote opened here is never closed" in said
        assert "--bad-rows" not in said
    assert "'drop' is unknown (allowed: refuse, skip)" in refused(path, bad_rows="drop")


def test_real_ratings_are_the_same_long_and_wide(tmp_path: Path) -> None:
    frame = pd.read_parquet(real_votes.path("faceratings"))
    few = frame[frame.rater_id.isin(frame.rater_id.unique()[:200])]
    wide = few.pivot(index="item_id", columns="rater_id", values="label").add_prefix("rater ")
    wide.to_csv(tmp_path / "wide.csv", sep=";", encoding="utf-16")
    seven = LabelSpace.ordinal(7)
    read_wide = read_votes(tmp_path / "wide.csv", seven, rater_columns=["rater *"], say=lambda text: None)
    of = dict(zip(read_wide.item_ids, read_wide.counts.tolist(), strict=True))
    was = read_votes(few, seven)
    assert of == dict(zip(was.item_ids, was.counts.tolist(), strict=True))
