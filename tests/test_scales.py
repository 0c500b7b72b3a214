"""Labels are counted in one way by every command: as the table of the first month was, or not without being asked."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.helpers import answer, dprm


def write_faces(path: Path, *, month: int, highest: int, lowest: int = 1) -> None:
    """Ratings from 1 to 7 of the same 40 faces, by the same population; the second month has no 7."""
    draw = random.Random(month)
    lines = ["item_id,annotator_id,label"]
    for face in range(40):
        for rater in range(12):
            rating = round(draw.gauss(2 + 3 * face / 40, 1.0))
            lines.append(f"f{face},m{month}r{rater},{min(highest, max(lowest, rating))}")
    lines.append(f"f39,m{month}last,{highest}")
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def fitted(tmp_path: Path) -> Path:
    write_faces(tmp_path / "march.csv", month=3, highest=7)
    done = dprm("ratings", "fit", "march.csv", "--labels", "7", "--output", "march.parquet", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "labels are read as numbers from 1" in done.stderr
    write_faces(tmp_path / "april.csv", month=4, highest=6)
    return tmp_path


def test_drift_counts_as_the_votes_before_were_counted(fitted: Path) -> None:
    found = answer(dprm("ratings", "drift", "march.parquet", "april.csv", "--json", cwd=fitted))
    assert found["moved"] == []


def test_update_counts_as_the_votes_before_were_counted(fitted: Path) -> None:
    answer(dprm("ratings", "update", "march.parquet", "april.csv", "--output", "both.parquet", "--json", cwd=fitted))
    before = {row["item_id"]: row["expected_reward"] for row in pq.read_table(fitted / "march.parquet").to_pylist()}
    after = pq.read_table(fitted / "both.parquet")
    rises = [row["expected_reward"] - before[row["item_id"]] for row in after.to_pylist()]
    assert abs(sum(rises) / len(rises)) < 0.1
    assert json.loads(after.schema.metadata[b"dprm_fit"])["base"] == 1, "a third month counts in the same way"


@pytest.mark.parametrize("command", ["fit", "agreement", "groups"])
def test_a_table_that_fits_both_ways_is_asked_about_by_every_command(command: str, fitted: Path) -> None:
    arguments = {"fit": ["--output", "april.parquet"], "agreement": [], "groups": ["--by", "annotator_id"]}[command]
    asked = dprm(command, "april.csv", "--labels", "7", *arguments, cwd=fitted)
    assert asked.returncode == 2
    assert "may be counted from 0 or from 1" in asked.stderr
    done = dprm(command, "april.csv", "--labels", "7", "--base", "1", *arguments, cwd=fitted)
    assert done.returncode == 0, done.stderr


def test_another_way_of_counting_is_taken_and_said(fitted: Path) -> None:
    write_faces(fitted / "may.csv", month=5, highest=6, lowest=0)
    wrong = dprm("ratings", "drift", "march.parquet", "may.csv", cwd=fitted)
    assert wrong.returncode == 2
    assert "allowed: 1 to 7" in wrong.stderr
    done = dprm("ratings", "drift", "march.parquet", "may.csv", "--base", "0", cwd=fitted)
    assert done.returncode == 0, done.stderr
    assert "labels start at 0 here, and started at 1" in done.stderr


@pytest.mark.parametrize("name", ["rater", "annotator", "rater_id"])
def test_groups_finds_the_raters_by_every_name_that_the_reader_knows(name: str, fitted: Path) -> None:
    (fitted / "april.csv").write_text((fitted / "april.csv").read_text().replace("annotator_id", name, 1))
    done = dprm("ratings", "groups", "april.csv", "--labels", "7", "--base", "1", "--by", name, cwd=fitted)
    assert done.returncode == 0, done.stderr


def test_duplicates_are_an_option_of_every_command(fitted: Path) -> None:
    twice = (fitted / "april.csv").read_text() + "f0,m4r0,2\n"
    (fitted / "april.csv").write_text(twice)
    for command in (["drift"], ["update", "--output", "both.parquet"]):
        refused = dprm(command[0], "march.parquet", "april.csv", *command[1:], cwd=fitted)
        assert refused.returncode == 2
        assert "has judged item 'f0' before" in refused.stderr
        done = dprm(command[0], "march.parquet", "april.csv", *command[1:], "--duplicates", "first", cwd=fitted)
        assert done.returncode == 0, done.stderr
