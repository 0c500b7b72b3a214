"""Rows, panels and label spaces of any content are read or refused with a `DprmError`."""

from __future__ import annotations

import json
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dprm_data.core.errors import DprmError
from dprm_data.ingest.items import load_items, store_items
from dprm_data.ingest.sources import read_items
from dprm_data.labels.space import LabelSpace
from dprm_data.panel.panel_sources import load_panel
from dprm_data.recipe.recipe import SourceConfig
from tests.hostile.fuzzing import fuzzed

NAMES = st.sampled_from(
    ["prompt", "response", "responses", "chosen", "rejected", "messages", "system", "role", "content", "x"]
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.just("\n\nHuman: a\n\nAssistant: b")
)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=8)  # fmt: skip
ROWS = st.lists(st.dictionaries(NAMES, VALUES, max_size=5) | VALUES, max_size=4)


def taken(content: bytes, name: str) -> None:
    """Read the file, and what was stored of it. Anything but a `DprmError` is raised."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / name).write_bytes(content)
        out = Path(folder) / "items.parquet"
        try:
            report = store_items(read_items(SourceConfig(path=name), base=Path(folder)), out)
        except DprmError:
            assert not out.exists()
            return
        assert len(list(load_items(out))) == report.items > 0


@fuzzed
@given(ROWS, st.sampled_from([".jsonl", ".json"]))
def test_rows_of_json(rows: list[Any], suffix: str) -> None:
    lines = "\n".join(json.dumps(row) for row in rows) if suffix == ".jsonl" else json.dumps(rows)
    taken(lines.encode(), f"rows{suffix}")


@fuzzed
@given(
    st.binary(max_size=200), st.sampled_from([".jsonl", ".json", ".csv", ".tsv", ".parquet", ".jsonl.gz", ".csv.gz"])
)
def test_bytes(content: bytes, suffix: str) -> None:
    taken(content, f"rows{suffix}")
    taken(b"prompt,response\na,b\n" + content, f"rows{suffix}")


@fuzzed
@given(st.dictionaries(NAMES, st.lists(st.none() | st.text(max_size=9), min_size=2, max_size=2), min_size=1))
def test_parquet(columns: dict[str, list[str | None]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            pq.write_table(pa.table(columns), Path(folder) / "rows.parquet")
        except (UnicodeEncodeError, pa.ArrowException):
            return
        taken((Path(folder) / "rows.parquet").read_bytes(), "rows.parquet")


@fuzzed
@given(st.dictionaries(st.sampled_from(["name", "personas", "labels", "axes", "cost", "description", "x"]), VALUES))
def test_panels_and_label_spaces(content: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "file.yaml"
        file.write_text(yaml.safe_dump(content))
        for load in (load_panel, LabelSpace.load):
            for given_as in (str(file), content):
                with suppress(DprmError):
                    load(given_as)


@pytest.mark.parametrize(
    "value",
    [
        b"[" * 900 + b"]" * 900,
        b'{"a":' * 900 + b"1" + b"}" * 900,
        b"9" * 4000,
        b'"\\ud800"',
        b'"\\u0000"',
        b'"\xff"',
        b"1e999",
    ],
)
def test_strange_metadata(value: bytes) -> None:
    taken(b'{"prompt":"a","response":"b"}\n{"prompt":"a","response":"c","m":' + value + b"}\n", "rows.jsonl")


def test_a_hundred_thousand_columns() -> None:
    row = {"prompt": "a", "response": "b"} | {f"column{i}": i for i in range(100_000)}
    taken(orjson.dumps(row), "rows.jsonl")
    taken((",".join(row) + "\n" + ",".join(map(str, row.values()))).encode(), "rows.csv")
