"""What a run gives back is joined to what it was given: by the source's own id, its file and row, with the types of its columns."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.before.saved import unpack
from tests.helpers import answer, dprm, environ, write_recipe, write_rows
from tests.publish.conftest import hub_environment
from tests.servers.hub import Hub
from tests.servers.llm import LLMServer

ROWS = 12
FORMATS = ["csv", "xlsx", "jsonl", "parquet"]
LONG_TEXT = "word " * 8_000  # more than a cell of Excel holds


def source() -> pa.Table:
    """Pairs with ids and typed columns, some of whose values look like formulas or are missing."""
    rows = [
        {
            "example_id": 7_000 + i,
            "prompt": f"Question {i}?",
            "chosen": f"=1+{i} is good",
            "rejected": LONG_TEXT if i == 3 else f"Bad {i}",
            "score": i / 4,
            "checked": None if i == 5 else i % 2 == 0,
            "tags": [f"t{i}", "all"],
            "origin": {"site": f"s{i % 3}", "votes": i},
            "day": date(2024, 1, 1) + timedelta(days=i),
            "at": datetime(2024, 1, 1, 12, tzinfo=UTC) + timedelta(hours=i),
            "comment": f"@cell {i}",
        }
        for i in range(ROWS)
    ]
    return pa.Table.from_pylist(rows)


def finished(folder: Path, **changes: Any) -> Path:
    with LLMServer() as server:
        write_recipe(folder, server.url, **changes)
        done = dprm("run", "recipe.yaml", "--quiet", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "run"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("joined")
    pq.write_table(source(), folder / "pairs.parquet")
    return finished(folder, source={"path": "pairs.parquet"})


def exported(run: Path, kind: str, *options: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The exported table as pandas reads it, and what the command said."""
    said = answer(dprm("export", run, "--to", kind, *options, "--json", cwd=run.parent))
    file = Path(said["file"])
    readers: dict[str, Any] = {
        "csv": pd.read_csv,
        "xlsx": pd.read_excel,
        "jsonl": lambda path: pd.read_json(path, lines=True, precise_float=True),
        "parquet": pd.read_parquet,
    }
    frame = readers[kind](file)
    assert len(frame) == said["rows"]
    assert list(frame.columns) == said["columns"]
    assert not list(file.parent.glob(".*"))
    return frame, said


@pytest.mark.parametrize("kind", FORMATS)
def test_every_row_is_joined_back_with_its_types(run: Path, kind: str) -> None:
    if kind == "xlsx":
        pytest.importorskip("openpyxl")
    frame, said = exported(run, kind)
    given = source().to_pandas()
    joined = given.merge(frame, on="example_id", suffixes=("", "_again"))
    assert len(joined) == 2 * ROWS
    assert set(joined["example_id"]) == set(given["example_id"])
    assert (joined["score"] == joined["score_again"]).all()
    assert (frame["source_id"].astype(str) == frame["example_id"].astype(str)).all()
    assert set(frame["source_file"]) == {"pairs.parquet"}
    assert (frame["source_row"] == frame["example_id"] - 6_999).all()
    assert frame["checked"].isna().sum() == 2
    assert [value for value in joined["checked_again"] if value == value and value is not None] == [
        value for value in joined["checked"] if value is not None
    ]
    assert (pd.to_datetime(frame["day"]).dt.date == pd.to_datetime(joined["day"]).dt.date).all()
    assert (pd.to_datetime(frame["at"], utc=True) == joined["at"]).all()
    tags = frame["tags"] if kind in ("jsonl", "parquet") else frame["tags"].map(json.loads)
    assert [list(found) for found in tags] == [list(wanted) for wanted in joined["tags"]]
    shares = frame[[name for name in said["columns"] if name.startswith("p_")]]
    assert (shares.sum(axis=1) - 1).abs().max() < 1e-5
    votes = frame[[name for name in said["columns"] if name.startswith("vote_")]]
    labels = {name.removeprefix("p_") for name in shares.columns}
    assert set(votes.stack()) <= labels and votes.notna().all(axis=None)
    assert (
        (frame["reward_low"] <= frame["expected_reward"]) & (frame["expected_reward"] <= frame["reward_high"])
    ).all()
    defused = "'" if kind in ("csv", "xlsx") else ""
    assert set(frame["comment"]) == {f"{defused}@cell {i}" for i in range(ROWS)}
    assert bool(said["notes"]) == (kind == "xlsx")  # a text that is longer than a cell


def test_figures_are_those_of_the_run(run: Path) -> None:
    frame, _ = exported(run, "parquet")
    table = pq.read_table(run / "tables/distributions.parquet").to_pandas()
    assert list(frame["item_id"]) == list(table["item_id"])
    assert (frame["expected_reward"] == table["expected_reward"]).all()
    assert frame["prompt"][0][0]["content"] == "Question 0?"
    votes = pq.read_table(run / "tables/annotations.parquet").to_pandas()
    for item, who, label in zip(votes["item_id"], votes["annotator_id"], votes["label"], strict=True):
        assert frame.set_index("item_id")[f"vote_{who}"][item] == label


def test_a_row_for_every_vote_and_the_other_tables(run: Path) -> None:
    annotations = pq.read_table(run / "tables/annotations.parquet").num_rows
    long, _ = exported(run, "parquet", "--long")
    assert len(long) == annotations
    assert {"annotator_id", "vote", "score", "example_id"} <= set(long.columns)
    votes, _ = exported(run, "csv", "--what", "annotations")
    assert len(votes) == annotations
    assert set(votes["source_id"]) == set(source().to_pandas()["example_id"])
    pairs, _ = exported(run, "parquet", "--what", "preferences")
    assert len(pairs) == ROWS
    assert (pairs["chosen_example_id"] == pairs["rejected_example_id"]).all()
    assert pairs["chosen_score"].dtype == float
    assert set(pairs["chosen_source_id"]) == {str(7_000 + i) for i in range(ROWS)}
    assert all(pairs["chosen_item_id"] != pairs["rejected_item_id"])


def test_no_cell_is_a_formula(run: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    _, said = exported(run, "csv")
    with Path(said["file"]).open(encoding="utf-8-sig", newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "@"))]
    _, said = exported(run, "xlsx")
    sheet = openpyxl.load_workbook(said["file"], read_only=True).active
    assert not [cell for row in sheet.iter_rows() for cell in row if cell.data_type == "f"]


def test_what_the_command_refuses(run: Path, tmp_path: Path) -> None:
    for options, says in (
        ([], "no file format"),
        (["--output", "a.txt"], "not a supported format"),
        (["--to", "csv", "--long", "--what", "preferences"], "--long is for distributions"),
        (["--to", "csv", "--output", "/dev/null/a.csv"], "cannot write /dev/null/a.csv"),
    ):
        done = dprm("export", run, *options, cwd=tmp_path)
        assert done.returncode in (1, 2), options
        assert says in done.stderr
        assert "Traceback" not in done.stderr
    (tmp_path / "folder.csv").mkdir()
    done = dprm("export", run, "--output", "folder.csv", cwd=tmp_path)
    assert done.returncode == 2 and "cannot write folder.csv" in done.stderr
    assert dprm("export", run, "--output", "a.csv", cwd=tmp_path).returncode == 0
    assert (tmp_path / "a.csv").is_file()


def test_rows_left_out_say_which_they_repeat(tmp_path: Path) -> None:
    write_rows(
        tmp_path / "pairs.jsonl",
        [
            {"uid": "a", "prompt": "Hi", "response": "Hello."},
            {"uid": "b", "prompt": "Hi", "response": "Hello."},
            {"uid": "c", "prompt": "Hi", "response": ""},
            {"uid": "d", "prompt": "Hi ", "response": "Hello.\n"},
        ],
    )
    with LLMServer() as server:
        write_recipe(tmp_path, server.url)
        done = dprm("run", "recipe.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 items equal another but for white space" in done.stderr
    assert "pairs.jsonl:4 is like pairs.jsonl:1" in done.stderr
    dropped = pq.read_table(tmp_path / "run/tables/dropped.parquet").to_pylist()
    items = pq.read_table(tmp_path / "run/tables/items.parquet").to_pylist()
    assert [item["source_id"] for item in items] == ["a", "d"]
    assert dropped == [
        {
            "source": "pairs.jsonl:2",
            "source_id": "b",
            "reason": "duplicate",
            "item_id": items[0]["item_id"],
            "kept_source": "pairs.jsonl:1",
            "kept_source_id": "a",
        },
        {
            "source": "pairs.jsonl:3",
            "source_id": "c",
            "reason": "the response is empty",
            "item_id": None,
            "kept_source": None,
            "kept_source_id": None,
        },
    ]


def test_numbers_of_a_csv_are_numbers_and_codes_stay_text(tmp_path: Path) -> None:
    lines = ["key,prompt,response,stars,zip"] + [f"{i},Question {i}?,Answer {i},{i / 2},0{i}" for i in range(4)]
    (tmp_path / "pairs.csv").write_text("\n".join(lines) + "\n")
    run = finished(tmp_path, source={"path": "pairs.csv", "id": "key", "keep": ["stars", "zip"]})
    frame, _ = exported(run, "parquet")
    assert list(frame["source_id"]) == ["0", "1", "2", "3"]
    assert list(frame["stars"]) == [0.0, 0.5, 1.0, 1.5]
    assert list(frame["zip"]) == ["00", "01", "02", "03"]
    assert "key" not in frame
    write_recipe(tmp_path, source={"path": "pairs.csv", "id": "kay"})
    done = dprm("plan", "recipe.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert "id: there is no column 'kay'" in done.stderr and "did you mean 'key'?" in done.stderr


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as server:
        yield server


LOAD = """
import json
from datasets import load_dataset
items, pairs = (load_dataset("acme/joined", config) for config in ("default", "preferences"))
print(json.dumps({
    "features": {name: str(kind) for name, kind in items["train"].features["metadata"].items()},
    "rows": [[row["source_id"], row["metadata"]] for split in items.values() for row in split],
    "pairs": [[row["chosen_source_id"], row["rejected_metadata"]["example_id"]] for split in pairs.values() for row in split],
}, default=str))
"""


@pytest.mark.slow
def test_published_metadata_are_typed_and_pulled_back(run: Path, hub: Hub, tmp_path: Path) -> None:
    environment = hub_environment(hub, tmp_path / "hf")
    done = dprm("publish", run, "--repo", "acme/joined", "--license", "mit", cwd=tmp_path, **environment)
    assert done.returncode == 0, done.stderr
    loaded = subprocess.run(
        [sys.executable, "-c", LOAD], env=environ(**environment), capture_output=True, text=True, timeout=200
    )
    assert loaded.returncode == 0, loaded.stderr
    found = json.loads(loaded.stdout.splitlines()[-1])
    kinds = {
        "example_id": "int64",
        "score": "float64",
        "checked": "bool",
        "day": "date32",
        "at": "timestamp[us, tz=UTC]",
    }
    for name, kind in kinds.items():
        assert found["features"][name] == f"Value('{kind}')"
    given = {str(row["example_id"]): row for row in source().to_pylist()}
    for source_id, metadata in found["rows"]:
        for name in ("example_id", "score", "checked", "tags", "origin", "comment"):
            assert metadata[name] == given[source_id][name]
    assert len(found["rows"]) == 2 * ROWS
    assert len(found["pairs"]) == ROWS
    assert all(source_id == str(example_id) for source_id, example_id in found["pairs"])
    done = dprm("pull", "acme/joined", "pulled", cwd=tmp_path, **environment)
    assert done.returncode == 0, done.stderr
    for name in ("items", "distributions", "preferences"):
        tables = [pq.read_table(folder / f"tables/{name}.parquet") for folder in (run, tmp_path / "pulled")]
        rows = [sorted(table.to_pylist(), key=lambda row: (row["group_id"], str(row))) for table in tables]
        assert rows[0] == rows[1], name
    frame, _ = exported(tmp_path / "pulled", "parquet")
    again, _ = exported(run, "parquet")
    pd.testing.assert_frame_equal(frame, again)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_folder_of_an_earlier_version(tmp_path: Path, kind: str) -> None:
    run = unpack("run-folders/choice", tmp_path / "old") / "run"
    items = pq.read_table(run / "tables/items.parquet").to_pylist()
    frame, _ = exported(run, kind)
    assert list(frame["item_id"]) == [item["item_id"] for item in items]
    assert frame["source_id"].isna().all()
    assert list(frame["source_row"]) == [int(item["source"].rpartition(":")[2]) for item in items]
    assert list(frame["topic"]) == [json.loads(item["metadata"])["topic"] for item in items]
    pairs, said = exported(run, kind, "--what", "preferences")
    assert "dprm ratings fit" in said["notes"][0]
    assert dprm("ratings", "fit", run, cwd=tmp_path).returncode == 0
    pairs, said = exported(run, kind, "--what", "preferences")
    assert not said["notes"]
    assert pairs["chosen_item_id"].notna().all() and pairs["chosen_topic"].notna().all()
