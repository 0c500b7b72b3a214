"""`dprm review plan` and `--select gain`: what more human answers would buy, by the command."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dprm_data.core.tables import ITEMS, write_parquet
from dprm_data.runs.run import Run
from tests.helpers import answer, dprm
from tests.review.helpers import NOBODY, answers_from, make_run


def labels(seed: int = 0) -> tuple[Any, Any]:
    """200 items of five levels: the panel's labels, six of them, and people's. On every third item the panel has no opinion, and says nothing."""
    rng = np.random.default_rng(seed)
    at = rng.normal(2.0, 1.1, 200)
    panel = np.clip(np.rint(at[:, None] + 0.4 + rng.normal(0.0, 0.6, (200, 6))), 0, 4).astype(int)
    panel[::3] = NOBODY
    people = np.clip(np.rint(at[:, None] + rng.normal(0.0, 0.7, (200, 6))), 0, 4).astype(int)
    return panel, people


def placed(folder: Path) -> Run:
    panel, _ = labels()
    run = make_run(folder, panel, space=5)
    table = pq.read_table(run.folder.table("items"))
    silent = pa.array([json.dumps({"panel": "silent" if i % 3 == 0 else "speaks"}) for i in range(200)])
    table = table.set_column(table.schema.get_field_index("metadata"), "metadata", silent)
    write_parquet(run.folder.table("items"), ITEMS, [table])
    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("plan")
    placed(place / "new")
    run = placed(place / "answered")
    _, people = labels()
    people[np.random.default_rng(1).random(people.shape) < 0.5] = NOBODY
    people[60:] = NOBODY
    answers_from(run, people)
    return place


@pytest.mark.parametrize(("run", "learned"), [("new", False), ("answered", True)])
def test_more_answers_lower_the_error_and_chosen_ones_more(folder: Path, run: str, learned: bool) -> None:
    found = answer(dprm("review", "plan", run, "--answers", "30,120", "--people", "1", "--json", cwd=folder))
    assert found["learned"] is learned
    few, many = found["purchases"]
    assert (few["answers"], many["answers"], many["items"]) == (30, 120, 120)
    now = found["now"]
    for one in (few, many):
        assert one["chosen"]["error"] < one["at_random"]["error"] < now["error"]
    assert many["chosen"]["error"] < few["chosen"]["error"]
    assert many["chosen"]["half_width"] < now["half_width"]
    assert (found["answers"] > 0) is learned


@pytest.mark.slow
def test_answers_go_where_the_panel_is_silent(folder: Path) -> None:
    found = answer(
        dprm("review", "plan", "answered", "--answers", "40", "--people", "1", "--by", "panel", "--json", cwd=folder)
    )
    by = {one["group"]: one for one in found["groups"]}
    assert [one["group"] for one in found["groups"]] == ["silent", "speaks"]  # the widest first
    assert by["silent"]["answers"] > 30
    assert by["silent"]["chosen"] < by["silent"]["at_random"] < by["silent"]["half_width"]
    assert len(found["chosen"]) == 40
    shown = dprm("review", "plan", "answered", "--by", "panel", cwd=folder)
    assert "Widest intervals: silent, speaks" in shown.stdout
    assert "--select gain" in shown.stdout
    assert "assumed" in dprm("review", "plan", "new", cwd=folder).stdout


def test_the_selection_sends_the_planned_items(folder: Path) -> None:
    planned = answer(dprm("review", "plan", "new", "--answers", "25", "--people", "1", "--json", cwd=folder))
    done = dprm("review", "export", "new", "-o", "out.csv", "--select", "gain", "--records", "25", cwd=folder)
    assert done.returncode == 0, done.stderr
    with (folder / "out.csv").open(encoding="utf-8-sig") as file:
        sent = [row["item_id"] for row in csv.DictReader(file)]
    assert set(sent) == {item["item_id"] for item in planned["chosen"]}
    later = answer(dprm("review", "plan", "new", "--answers", "25", "--people", "1", "--json", cwd=folder))
    assert not set(sent) & {item["item_id"] for item in later["chosen"]}  # they are under review


def test_what_cannot_be_planned_is_said(folder: Path, tmp_path: Path) -> None:
    for options, words in (
        (("--answers", "many"), "not a number"),
        (("--answers", "2"), "at least the 3 answers"),
        (("--by", "colour"), "no item has this column"),
    ):
        wrong = dprm("review", "plan", "answered", *options, cwd=folder)
        assert wrong.returncode != 0
        assert words in wrong.stderr
