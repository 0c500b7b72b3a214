"""`fit.text` through a run and through a table of votes: in the recipe, on the command line, from Python."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from dprm_data import LabelSpace, fit
from tests.helpers import answer, dprm
from tests.pipeline.test_people_run import write_people

HOSTILE = "{{ 7 * 7 }} {% for x in y %} \\x00 __import__('os')"


def rows(prompts: int = 60) -> list[dict[str, Any]]:
    """Two ratings of each of two responses to a prompt, each by somebody else; a kind response is liked."""
    draw = random.Random(7)
    found: list[dict[str, Any]] = []
    for prompt in range(prompts):
        for word, liked in (("rude", 2), ("kind", 3)):
            item = {
                "question": f"what is {prompt}",
                "answer": f"a {word} {draw.choice('abcdef')} {prompt or HOSTILE}",
                "vector": json.dumps([float(word == "kind"), draw.random()]),
                "id": f"{prompt} {word}",
                "age": "any",
            }
            labels = [min(4, max(1, round(draw.gauss(liked, 0.8)))) for _ in range(2)]
            found += [item | {"rater": f"r{len(found) + i}", "label": label} for i, label in enumerate(labels)]
    return found


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    table = {"path": "ratings.csv", "attributes": ["age"], "keep": ["vector"]}
    write_people(folder, rows(), ratings=table, fit={"text": "tfidf"})
    done = dprm("run", "recipe.yaml", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def manifest(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "run" / "manifest.json").read_text())["fit"]
    return found


def test_the_run_says_what_its_texts_are_worth(finished: Path) -> None:
    said = manifest(finished)
    assert said["text"]["votes_per_item"] > 0.2 and said["settings"]["text"] == "tfidf"
    assert any(note.startswith("text is in the model: it is worth") for note in said["notes"])
    assert "text is in the model" in (finished / "run" / "README.md").read_text()


@pytest.mark.slow
def test_the_command_line_decides_over_the_recipe(finished: Path) -> None:
    before = pq.read_table(finished / "run" / "tables" / "distributions.parquet")["expected_reward"]
    assert dprm("ratings", "fit", "run", "--text", "column:vector", cwd=finished).returncode == 0
    assert manifest(finished)["text"]["votes_per_item"] > 0.2
    assert dprm("ratings", "fit", "run", "--text", "off", cwd=finished).returncode == 0
    assert manifest(finished)["text"] is None and not manifest(finished)["text_said"]
    assert dprm("ratings", "fit", "run", cwd=finished).returncode == 0
    assert pq.read_table(finished / "run" / "tables" / "distributions.parquet")["expected_reward"] == before
    for wrong, why in (("column:nope", "nothing (allowed: a list of numbers"), ("words", "allowed: off, auto, tfidf")):
        done = dprm("ratings", "fit", "run", "--text", wrong, cwd=finished)
        assert done.returncode == 2 and why in " ".join(done.stderr.split()), done.stderr


def test_a_table_of_votes_has_its_texts(tmp_path: Path) -> None:
    table = pd.DataFrame(rows()).rename(columns={"id": "item_id", "answer": "response"}).drop(columns=["rater"])
    table.to_csv(tmp_path / "votes.csv", index=False)
    given = ("ratings", "fit", "votes.csv", "--labels", "4", "--output", "fitted.parquet", "--json")
    plain, read, vector = (
        answer(dprm(*given, *more, cwd=tmp_path)) for more in ((), ("--text", "auto"), ("--text", "column:vector"))
    )
    assert plain["text"] is None and read["text"]["votes_per_item"] > 0.2 and vector["text"]["votes_per_item"] > 0.2
    space = LabelSpace.ordinal(4)
    table["vector"] = table["vector"].map(json.loads)
    for text, said in (("tfidf", read), ("column:vector", vector)):
        found = fit(table, space, text=text).summary()
        assert found["text"]["votes_per_item"] == pytest.approx(said["text"]["votes_per_item"], rel=1e-3)
    assert "no texts beside" in fit(table.drop(columns=["response", "question"]), space, text="auto").text_said
    update = answer(
        dprm("ratings", "update", "fitted.parquet", "votes.csv", "--output", "both.parquet", "--json", cwd=tmp_path)
    )
    assert update["votes"] == 480 and update["text"] is None
