from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dprm_data.core.errors import VotesError
from dprm_data.core.tables import ANNOTATIONS
from dprm_data.ingest.ratings import ratings_from_annotations
from dprm_data.ingest.vote_tables import read_ratings, read_votes
from dprm_data.ingest.votes import stated_from_annotations, votes_from_annotations
from dprm_data.labels.space import LabelSpace
from tests.preference import real_votes

THREE = LabelSpace.ordinal(3)
HH6 = LabelSpace.load("hh6")


def parquet(folder: Path, name: str = "votes.parquet", **columns: Any) -> Path:
    pq.write_table(pa.table(columns), folder / name)
    return folder / name


def text(folder: Path, content: str, name: str = "votes.csv") -> Path:
    (folder / name).write_text(content, encoding="utf-8")
    return folder / name


def test_a_long_table_is_counted(tmp_path: Path) -> None:
    path = parquet(
        tmp_path, item_id=["b", "a", "b", "a"], rater_id=["x", "x", "y", "y"], label=[0, 2, 2, 2], age=[1, 2, 3, 4]
    )
    votes = read_votes(path, THREE)
    assert votes.item_ids == ["b", "a"]  # by first appearance
    np.testing.assert_array_equal(votes.counts, [[1, 0, 1], [0, 0, 2]])


def test_csv_and_tsv(tmp_path: Path) -> None:
    rows = [("item_id", "annotator_id", "label", "weight"), ("007", "x", "1", "0.5"), ("8", "x", "0", "2")]
    for name, comma in (("v.csv", ","), ("v.tsv", "\t")):
        votes = read_votes(text(tmp_path, "\n".join(comma.join(row) for row in rows), name), THREE)
        assert votes.item_ids == ["007", "8"]  # ids stay text
        np.testing.assert_array_equal(votes.counts, [[0, 0.5, 0], [2, 0, 0]])


def test_columns_can_have_other_names(tmp_path: Path) -> None:
    path = parquet(tmp_path, q=["a", "a"], who=[1, 2], stars=[3, 1], w=[1.0, 4.0])
    mapping = {"item_id": "q", "annotator_id": "who", "label": "stars", "weight": "w"}
    np.testing.assert_array_equal(read_votes(path, THREE, columns=mapping, base=1).counts, [[4, 0, 1]])


def test_labels_by_name_and_by_words(tmp_path: Path) -> None:
    labels = ["helpful_harmless", "Helpful and Harmless", " unhelpful_harmful "]
    path = parquet(tmp_path, item_id=["a"] * 3, annotator_id=["x", "y", "z"], label=labels)
    np.testing.assert_array_equal(read_votes(path, HH6).counts, [[2, 0, 0, 0, 0, 1]])


def test_numbers_as_text_are_names_in_parquet_and_indices_in_csv(tmp_path: Path) -> None:
    column = {"item_id": ["a", "a"], "annotator_id": ["x", "y"], "label": ["1", "2"]}
    np.testing.assert_array_equal(read_votes(parquet(tmp_path, **column), THREE).counts, [[1, 1, 0]])
    path = text(tmp_path, "item_id,annotator_id,label\na,x,1\na,y,2\n")
    np.testing.assert_array_equal(read_votes(path, THREE, base=0).counts, [[0, 1, 1]])
    # where no label's name is a number, text numbers are indices, also beside names
    mixed = parquet(tmp_path, item_id=["a", "a"], annotator_id=["x", "y"], label=["0", "unhelpful_harmful"])
    np.testing.assert_array_equal(read_votes(mixed, HH6).counts, [[1, 0, 0, 0, 0, 1]])


@pytest.mark.parametrize(
    ("labels", "base"), [([0, 6], 0), ([1, 7], 1), ([0, 3], 0), ([2, 7], 1), (["1", "7"], None), ([3.0, 7.0], 1)]
)
def test_numbers_say_from_where_they_count(tmp_path: Path, labels: list[Any], base: int | None) -> None:
    path = parquet(tmp_path, item_id=["a", "a"], annotator_id=["x", "y"], label=labels)
    votes = read_votes(path, LabelSpace.ordinal(7))
    assert votes.base == base
    expected = [int(label) - (1 if base is None else base) for label in labels]
    np.testing.assert_array_equal(np.flatnonzero(votes.counts[0]), expected)


@pytest.mark.parametrize("labels", [[1, 6], [2], [3.0, 5.0], [True]])
@pytest.mark.parametrize("as_csv", [False, True])
def test_numbers_that_fit_both_ways_are_asked_about(tmp_path: Path, labels: list[Any], as_csv: bool) -> None:
    if as_csv:
        lines = [f"a,x{i},{int(label)}" for i, label in enumerate(labels)]
        path = text(tmp_path, "\n".join(["item_id,annotator_id,label", *lines]) + "\n")
    else:
        path = parquet(tmp_path, item_id=["a"] * len(labels), annotator_id=[*range(len(labels))], label=labels)
    space = LabelSpace.ordinal(2 if labels == [True] else 7)
    with pytest.raises(VotesError, match="may be counted from 0 or from 1") as caught:
        read_votes(path, space)
    assert "--base 1" in str(caught.value)
    first = read_votes(path, space, base=1).counts[0]
    assert first[int(labels[0]) - 1] == 1


def test_names_that_are_numbers_are_names(tmp_path: Path) -> None:
    """Somebody named these labels: nothing is guessed, in any type of column."""
    space = LabelSpace.load(
        {"name": "five", "labels": [{"name": str(name), "reward": name} for name in (-2, -1, 0, 1, 2)]}
    )
    for label in ([-1, 0, 1], ["-1", "0", "1"], [-1.0, 0.0, 1.0]):
        path = parquet(tmp_path, item_id=["a"] * 3, annotator_id=[0, 1, 2], label=label)
        assert read_votes(path, space).base is None
        np.testing.assert_array_equal(read_votes(path, space).counts, [[0, 1, 1, 1, 0]])
    path = text(tmp_path, "item_id,annotator_id,label\na,x,-1\na,y,0\na,z,1\n")
    np.testing.assert_array_equal(read_votes(path, space).counts, [[0, 1, 1, 1, 0]])


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint16(), pa.int64(), pa.float32(), pa.float64()])
def test_labels_of_any_number_type(tmp_path: Path, kind: pa.DataType) -> None:
    path = parquet(tmp_path, item_id=["a", "b"], annotator_id=[1, 1], label=pa.array([0, 2], kind))
    np.testing.assert_array_equal(read_votes(path, THREE).counts, [[1, 0, 0], [0, 0, 1]])


def test_many_row_groups_and_encodings(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    ids = [f"i{i}" for i in rng.permutation(np.repeat(np.arange(50), 20))]
    people = pa.array([f"p{i}" for i in range(1000)]).dictionary_encode()
    labels = rng.integers(0, 3, 1000)
    table = pa.table({"item_id": ids, "annotator_id": people, "label": labels})
    pq.write_table(table, tmp_path / "v.parquet", row_group_size=37)
    votes = read_votes(tmp_path / "v.parquet", THREE)
    for item, row in zip(votes.item_ids, votes.counts, strict=True):
        np.testing.assert_array_equal(row, np.bincount(labels[np.array(ids) == item], minlength=3))
    assert votes.item_ids == list(dict.fromkeys(ids))


def test_an_empty_table(tmp_path: Path) -> None:
    path = parquet(
        tmp_path,
        item_id=pa.array([], pa.string()),
        annotator_id=pa.array([], pa.string()),
        label=pa.array([], pa.int8()),
    )
    with pytest.raises(VotesError, match="no votes: the table has no rows"):
        read_votes(path, THREE)


# -- duplicates ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "expected"), [("first", [1, 0, 1]), ("last", [0, 1, 1]), ("all", [1, 1, 1]), ("mean", [0.5, 0.5, 1])]
)
def test_duplicates(tmp_path: Path, policy: Any, expected: list[float]) -> None:
    path = parquet(tmp_path, item_id=["a", "a", "a"], annotator_id=["x", "y", "x"], label=[0, 2, 1])
    np.testing.assert_array_equal(read_votes(path, THREE, duplicates=policy).counts, [expected])


def test_duplicates_are_an_error_unless_they_are_expected(tmp_path: Path) -> None:
    path = parquet(tmp_path, item_id=["a", "a", "a"], annotator_id=["x", "y", "x"], label=[0, 2, 1])
    with pytest.raises(VotesError, match=r"row 3: 'x' has judged item 'a' before, in row 1 \(1 such rows\)"):
        read_votes(path, THREE)
    replicates = parquet(tmp_path, item_id=["a", "a"], annotator_id=["x", "x"], label=[0, 2], replicate=[0, 1])
    assert read_votes(replicates, THREE).counts.sum() == 2
    nobody = parquet(tmp_path, item_id=["a", "a"], label=[0, 0])
    assert read_votes(nobody, THREE).counts.sum() == 2


# -- bad input ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"label": [0, 3, 1]}, r"row 2, column 'label': found 3 \(allowed: 0 to 2, or a name: 1, 2, 3\)\n.*base=1"),
        ({"label": [0, -1, 1]}, "row 2, column 'label': found -1"),
        ({"label": [0.0, 0.5, 1.0]}, "row 2, column 'label': found 0.5"),
        ({"label": [0.0, float("inf"), 1.0]}, "row 2, column 'label': found inf"),
        ({"label": ["1", "best", "2"]}, "row 2, column 'label': found 'best'"),
        ({"label": [[0], [1], [2]]}, "column 'label' is of type list"),
        ({"weight": [1.0, -2.0, 1.0]}, "row 2, column 'weight': found -2.0"),
        ({"weight": [1.0, float("nan"), 1.0]}, "row 2, column 'weight': found nan"),
        ({"weight": [1.0, float("inf"), 1.0]}, "row 2, column 'weight': found inf"),
        ({"weight": [1.0, None, 1.0]}, "row 2, column 'weight': found None"),
        ({"weight": ["a", "b", "c"]}, "column 'weight' is of type string"),
        ({"item_id": ["a", None, "c"]}, "row 2, column 'item_id': found nothing"),
        ({"annotator_id": ["a", None, "c"]}, "row 2, column 'annotator_id': found nothing"),
    ],
)
def test_a_bad_cell_is_named(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {"item_id": ["a", "b", "c"], "annotator_id": ["x", "y", "z"], "label": [0, 1, 2]}
    path = parquet(tmp_path, **(good | columns))
    with pytest.raises(VotesError, match=message) as caught:
        read_votes(path, THREE)
    assert str(path) in caught.value.message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("item_id,label\na,0\nb,4\n", "row 2, column 'label': found '4'"),
        ("item_id,label\na,0\nb,helpfull\n", "row 2, column 'label': found 'helpfull'"),
        ("item_id,score\na,0\n", "no column 'label' for label .found: item_id, score."),
        ("item_id,label,weight\na,0,x\n", "row 1, column 'weight': found 'x'"),
        ("item_id,label\na,0,9,9\n", "row 1: has 4 cells, but the header has 2"),
        ("", "not readable as CSV"),
    ],
)
def test_a_bad_csv_is_explained(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(VotesError, match=message):
        read_votes(text(tmp_path, content), THREE)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(VotesError, match="no such file"):
        read_votes(tmp_path / "nothing.parquet", THREE)
    with pytest.raises(VotesError, match="not readable as Parquet"):
        read_votes(text(tmp_path, "not parquet", "v.parquet"), THREE)
    path = parquet(tmp_path, item_id=["a"], label=[0])
    with pytest.raises(VotesError, match="'rating' is not a field"):
        read_votes(path, THREE, columns={"rating": "label"})
    with pytest.raises(VotesError, match="no column 'stars'"):
        read_votes(path, THREE, columns={"label": "stars"})
    with pytest.raises(VotesError, match="'drop' is unknown"):
        read_votes(path, THREE, duplicates="drop")  # type: ignore[arg-type]


cell = st.one_of(st.integers(-2, 5), st.floats(allow_nan=True), st.text(max_size=4), st.none(), st.booleans())


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(labels=st.lists(cell, min_size=1, max_size=5), weights=st.lists(cell, min_size=5, max_size=5))
def test_whatever_stands_there_it_is_counted_or_explained(
    tmp_path: Path, labels: list[Any], weights: list[Any]
) -> None:
    """A CSV file of anything: a VotesError or as many votes as there are rows of weight."""
    lines = ["item_id,label,weight"] + [f"i,{a!s},{w!s}" for a, w in zip(labels, weights, strict=False)]
    try:
        counts = read_votes(text(tmp_path, "\n".join(lines)), THREE).counts
    except VotesError:
        return
    assert np.isfinite(counts).all() and (counts >= 0).all()


# -- annotations --------------------------------------------------------------------------------------------------------


def annotations(*rows: dict[str, Any]) -> pa.Table:
    base: dict[str, Any] = dict.fromkeys(ANNOTATIONS.names)
    base |= {"annotator_kind": "persona", "elicitation": "choice", "weight": 1.0, "status": "ok", "replicate": 0}
    return pa.Table.from_pylist([base | row for row in rows], schema=ANNOTATIONS)


TABLE = annotations(
    {"item_id": "a", "annotator_id": "p", "label": "helpful_harmless"},
    {"item_id": "a", "annotator_id": "q", "label": "neutral_harmful", "annotator_kind": "human", "weight": 0.5},
    {"item_id": "a", "annotator_id": "r", "status": "refused", "reason": "no"},
    {
        "item_id": "b",
        "annotator_id": "p",
        "elicitation": "logprobs",
        "label": "helpful_harmless",
        "probs": [0.5, 0.5, 0, 0, 0, 0],
        "weight": 2.0,
    },
    {"item_id": "b", "annotator_id": "p", "elicitation": "distribution", "probs": [0.5, 0.25, 0.25, 0, 0, 0]},
    {"item_id": "b", "annotator_id": "q", "elicitation": "distribution", "probs": [0, 0, 0, 1.0, 0, 0]},
)


def test_annotations_become_votes() -> None:
    votes = votes_from_annotations(TABLE, HH6, item_ids=["b", "c", "a"], human_weight=4.0)
    assert votes.item_ids == ["b", "c", "a"]
    np.testing.assert_allclose(votes.counts, [[1, 1, 0, 0, 0, 0], [0] * 6, [1, 0, 0, 0, 2, 0]])
    assert votes_from_annotations(TABLE, HH6).item_ids == ["a", "b"]
    np.testing.assert_allclose(votes_from_annotations(TABLE, HH6, item_ids=["a"]).counts, [[1, 0, 0, 0, 0.5, 0]])


def test_stated_distributions_are_averaged() -> None:
    stated = stated_from_annotations(TABLE, HH6, ["a", "b"])
    np.testing.assert_allclose(stated, [[0] * 6, [0.25, 0.125, 0.125, 0.5, 0, 0]])


def test_a_file_of_annotations_is_read_as_such(tmp_path: Path) -> None:
    pq.write_table(TABLE, tmp_path / "annotations.parquet")
    votes = read_votes(tmp_path / "annotations.parquet", HH6)
    np.testing.assert_allclose(votes.counts, votes_from_annotations(TABLE, HH6).counts)
    ratings = read_ratings(tmp_path / "annotations.parquet", HH6)
    assert ratings.annotator_ids == ["p", "q"]
    assert len(ratings) == len(ratings_from_annotations(TABLE, HH6)) == 3


@pytest.mark.parametrize("setting", [{"base": 1}, {"duplicates": "all"}])
@pytest.mark.parametrize("read", [read_votes, read_ratings])
def test_settings_that_a_file_of_annotations_does_not_take(tmp_path: Path, read: Any, setting: dict[str, Any]) -> None:
    pq.write_table(TABLE, tmp_path / "annotations.parquet")
    with pytest.raises(
        VotesError, match=f"annotations.parquet: {next(iter(setting))} does not apply to a table of annotations"
    ):
        read(tmp_path / "annotations.parquet", HH6, **setting)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"label": "nice"}, "found 'nice'"),
        ({"label": None}, "neither a label nor probs"),
        ({"probs": [0.5, 0.5]}, "2 probs, the label space has 6 labels"),
        ({"probs": [0.0] * 6}, "are not a distribution"),
        ({"probs": [2.0, -1.0, 0, 0, 0, 0]}, "are not a distribution"),
        ({"label": "helpful_harmless", "weight": -1.0}, "the weight of 'x' on item 'i' is -1.0"),
    ],
)
def test_bad_annotations_are_named(row: dict[str, Any], message: str) -> None:
    with pytest.raises(VotesError, match=message):
        votes_from_annotations(annotations({"item_id": "i", "annotator_id": "x"} | row), HH6)


def test_a_bad_human_weight() -> None:
    with pytest.raises(VotesError, match="human_weight"):
        votes_from_annotations(TABLE, HH6, human_weight=-1.0)


@pytest.mark.parametrize(
    ("name", "items", "ratings"), [("faceratings", 71, 178_423), ("convabuse", 2_836, 8_515), ("polis", 421, 97_423)]
)
def test_real_votes_are_read_whole(name: str, items: int, ratings: int) -> None:
    whole, _ = real_votes.counts(name)
    assert len(whole) == items
    assert whole.sum() == ratings
