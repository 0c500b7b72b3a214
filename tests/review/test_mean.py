"""`dprm review mean`: what people would say of all items, from a run's panel and a few answers, by the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dprm_data.core.tables import ITEMS, write_parquet
from dprm_data.pipeline import stages
from tests.helpers import answer, dprm
from tests.review.helpers import NOBODY, answers_from, make_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 items of two policies; people like b better by half a step, the panel says a whole one more; six people have answered 60 items."""
    rng = np.random.default_rng(0)
    policy = np.arange(200) % 2
    at = rng.normal(2.0, 0.9, 200) + 0.5 * policy
    panel = np.clip(np.rint(at[:, None] + policy[:, None] + rng.normal(0.0, 0.5, (200, 6))), 0, 4).astype(int)
    people = np.clip(np.rint(at[:, None] + rng.normal(0.0, 0.7, (200, 6))), 0, 4).astype(int)
    people[rng.random((200, 6)) < 0.5] = NOBODY
    people[60:] = NOBODY
    place = tmp_path_factory.mktemp("mean")
    run = make_run(place / "run", panel, space=5)
    table = pq.read_table(run.folder.table("items"))
    policies = pa.array([json.dumps({"policy": "ab"[one]}) for one in policy])
    table = table.set_column(table.schema.get_field_index("metadata"), "metadata", policies)
    write_parquet(run.folder.table("items"), ITEMS, [table])
    answers_from(run, people)
    stages.fit(run)
    return place


def test_a_mean_and_the_difference_of_two_policies(folder: Path) -> None:
    found = answer(dprm("review", "mean", "run", "--by", "policy", "--json", cwd=folder))
    whole = found["whole"]
    assert whole["items"] == 200
    assert 50 < whole["reviewed"] <= 60
    assert whole["people"] == 6
    assert whole["both"]["low"] < whole["both"]["value"] < whole["both"]["high"]
    assert set(found["groups"]) == {"a", "b"}
    [(one, two, difference)] = found["differences"]
    assert (one, two) == ("a", "b")
    assert difference["panel_alone"] < -0.9  # it flatters b
    assert difference["both"]["low"] < -0.5 < difference["both"]["high"]
    assert difference["both"]["high"] > difference["panel_alone"] + 0.3
    assert difference["worth"] >= 1.0
    shown = dprm("review", "mean", "run", "--by", "policy", cwd=folder)
    assert "a − b" in shown.stdout
    assert "not chosen at random" in shown.stdout


def test_the_share_of_a_label(folder: Path) -> None:
    name = pq.read_table(folder / "run/tables/annotations.parquet")["label"][0].as_py()
    found = answer(dprm("review", "mean", "run", "--label", name, "--json", cwd=folder))
    assert found["of"] == name
    assert 0.0 <= found["whole"]["both"]["value"] <= 1.0
    assert found["groups"] == {}


def test_what_is_not_there_is_named(folder: Path) -> None:
    wrong = dprm("review", "mean", "run", "--by", "colour", cwd=folder)
    assert wrong.returncode != 0
    assert "allowed: source, policy" in wrong.stderr
    wrong = dprm("review", "mean", "run", "--label", "wonderful", cwd=folder)
    assert wrong.returncode != 0
    assert "not a label" in wrong.stderr
