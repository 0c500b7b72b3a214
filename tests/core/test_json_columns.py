"""The types of JSON objects' columns, and what becomes of values that have none in common."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dprm_data.core.json_columns import JsonColumns, json_texts

DEEP: Any = {"end": 1}
for _ in range(200):
    DEEP = {"in": DEEP}


@pytest.mark.parametrize(
    ("values", "kind", "found"),
    [
        ([1, None, 2], pa.int64(), [1, None, 2]),
        ([1, 2.5], pa.float64(), [1.0, 2.5]),
        ([2**60 + 1, 0.5], pa.string(), [str(2**60 + 1), "0.5"]),
        ([True, 1], pa.string(), ["true", "1"]),
        (["a", 1, None], pa.string(), ["a", "1", None]),
        ([[1], [2.5], []], pa.list_(pa.float64()), [[1.0], [2.5], []]),
        ([{"a": 1}, {"b": "x"}], pa.struct([("a", pa.int64()), ("b", pa.string())]), [{"a": 1, "b": None}, {"a": None, "b": "x"}]),
        ([{}, {}], pa.string(), ["{}", "{}"]),
        ([None, None], pa.string(), [None, None]),
        ([[], []], pa.list_(pa.string()), [[], []]),
        ([DEEP], pa.string(), [json.dumps(DEEP, separators=(",", ":"))]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("apart", [0, 10_000])
def test_types(values: list[Any], kind: pa.DataType, found: list[Any], apart: int, tmp_path: Any) -> None:
    """Also if the values stand in different chunks of what is read."""
    texts = [text for value in values for text in [json.dumps({"c": value}), *["{}"] * apart]]
    columns = JsonColumns.of(texts)
    if apart and found == [str(2**60 + 1), "0.5"]:
        assert columns.types == {"c": pa.float64()}  # as any reader of JSON has it
        return
    assert columns.types == {"c": kind}
    struct = columns.struct(pa.chunked_array([pa.array(texts)]))
    pq.write_table(pa.table({"metadata": struct}), tmp_path / "a.parquet")
    read = pq.read_table(tmp_path / "a.parquet")["metadata"]
    assert [row["c"] for row in read.to_pylist()][:: apart + 1] == found
    assert len(json_texts(read)) == len(texts)


def test_names_of_rows_are_no_columns() -> None:
    columns = JsonColumns.of(json.dumps({f"row {i}": i}) for i in range(1_000))
    assert columns.types == {}
    texts = pa.chunked_array([pa.array(['{"row 1":1}'])])
    assert columns.struct_type == pa.string()
    assert columns.struct(texts).to_pylist() == ['{"row 1":1}']
