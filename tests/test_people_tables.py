"""Tables of votes as people have them, through every command."""

from __future__ import annotations

import random
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from tests.helpers import answer, dprm
from tests.servers.hub import TOKEN, Hub
from tests.servers.hub_repo import Blob


def ratings(month: int, raters: int = 12) -> pd.DataFrame:
    """A row per rater and a column per face, from 1 to 5, as a survey exports it; two raters have skipped a face."""
    draw = random.Random(month)
    rows = []
    for rater in range(raters):
        faces = {f"face {i}": min(5, max(1, round(draw.gauss(1 + i / 4, 0.8)))) for i in range(1, 13)}
        rows.append({"rater": f"m{month}-{rater}", "age": "old" if rater % 2 else "young", **faces})
    frame = pd.DataFrame(rows)
    frame.loc[[1, 2], "face 1"] = pd.NA
    frame.loc[3, ["face 2", "face 3"]] = [1, 5]  # both ends of the scale occur
    return frame


def long(frame: pd.DataFrame) -> pd.DataFrame:
    melted = frame.melt(["rater", "age"], var_name="item_id", value_name="label").dropna()
    return melted.astype({"label": int})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """March and April: as spreadsheets of three countries write them, and as plain long tables."""
    for name, month in (("march", 3), ("april", 4)):
        frame = ratings(month)
        frame.to_csv(tmp_path / f"{name}.csv", sep=";", encoding="utf-16", index=False, lineterminator="\r\n")
        frame.assign(rater=frame.rater + "é").to_csv(tmp_path / f"{name}.tsv", sep="\t", encoding="cp1252", index=False)
        long(frame).to_csv(tmp_path / f"{name}-long.csv", index=False)
    return tmp_path


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_every_command_reads_them_as_the_long_table(folder: Path, suffix: str) -> None:
    commands = {
        "fit": ("march", "--labels", "5", "--output", "march.parquet"),
        "agreement": ("march", "--labels", "5"),
        "groups": ("march", "--labels", "5", "--by", "age"),
        "drift": ("march.parquet", "april"),
        "update": ("march.parquet", "april", "--output", "both.parquet"),
    }
    for command, arguments in commands.items():
        found = []
        for ending in (f".{suffix}", "-long.csv"):
            files = [f"{word}{ending}" if word in ("march", "april") else word for word in arguments]
            done = dprm(command, *files, "--json", cwd=folder)
            content = answer(done)
            content.pop("by_annotator", None)
            found.append(content)
        assert found[0] == found[1], command


def test_what_was_assumed_is_said(folder: Path) -> None:
    done = dprm("ratings", "agreement", "march.csv", "--labels", "5", cwd=folder)
    assert done.returncode == 0, done.stderr
    for said in (
        "is read as UTF-16",
        "separated by semicolons",
        "a column per item: face 1, face 2",
        "2 of 144 cells of labels are empty: no votes",
        "labels are read as numbers from 1",
    ):
        assert said in done.stderr


def test_bad_rows_are_refused_or_left_out_as_one_likes(folder: Path) -> None:
    with (folder / "march-long.csv").open("a") as file:
        file.write("m3-0,young,face 1,12\nm3-1,old,face 1\n")
    command = ("ratings", "fit", "march-long.csv", "--labels", "5", "--output", "o.parquet")
    refused = dprm(*command, cwd=folder)
    assert refused.returncode == 2
    assert "--bad-rows skip" in refused.stderr
    done = dprm(*command, "--bad-rows", "skip", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "2 bad rows are left out" in done.stderr
    assert "column 'label': found '12'" in done.stderr
    assert sum(row["evidence"] for row in pq.read_table(folder / "o.parquet").to_pylist()) == 142


def test_the_asked_for_options_are_the_answer(folder: Path) -> None:
    frame = pd.DataFrame({"id": ["a", "b"], "ann": [1, 5], "ben": [2, 5]})
    frame.to_csv(folder / "wide.csv", index=False)
    command = ("ratings", "fit", "wide.csv", "--labels", "5", "--output", "o.parquet")
    asked = dprm(*command, cwd=folder)
    assert asked.returncode == 2
    options = "--rater-columns ann --rater-columns ben --column item_id=id"
    assert options in asked.stderr.replace("\n", " ")
    assert answer(dprm(*command, *options.split(), "--json", cwd=folder))["votes"] == 4


def test_a_dataset_of_the_hub(folder: Path, tmp_path: Path) -> None:
    with Hub() as hub:
        content = long(ratings(3)).to_csv(index=False).encode()
        hub.create("acme/faces").commit({"train.csv": Blob(content, False)}, "ratings")
        environment = {
            "HF_ENDPOINT": hub.url,
            "HF_TOKEN": TOKEN,
            "HF_HOME": str(tmp_path / "hf"),
            "HF_HUB_DISABLE_XET": "1",
        }
        command = ("ratings", "agreement", "--labels", "5", "--json")
        found = answer(dprm(*command, "hf://acme/faces", cwd=folder, **environment))
        assert found == answer(dprm(*command, "march-long.csv", cwd=folder))
        nothing = dprm(*command, "hf://acme/nothing", cwd=folder, **environment)
    assert nothing.returncode == 2
    assert "hf://acme/nothing cannot be read" in nothing.stderr
    assert "Traceback" not in nothing.stderr
