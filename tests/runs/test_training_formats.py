"""Exports in the columns that trainers and well-known datasets have: their figures are the run's, and what is read back has the run's items."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from statistics import NormalDist
from typing import Any

import pyarrow.parquet as pq
import pytest

from dprm_data.ingest.items import Item
from dprm_data.ingest.sources import read_items
from dprm_data.recipe.recipe import SourceConfig
from tests.before.saved import unpack
from tests.helpers import PAIRS, answer, dprm, write_recipe, write_rows
from tests.pipeline.test_people_run import LEVELS, write_csv, write_people
from tests.servers.llm import LLMServer

TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello."},
    {"role": "user", "content": "Name a fruit."},
]
# The responses to each prompt with the labels (0 to 3) that five people gave them.
RATED: list[tuple[Any, str, list[int]]] = [
    ("Boil an egg?", "Never.", [0, 0, 1, 0, 1]),
    (TURNS, "Stone.", [0, 1, 0, 1, 1]),
    ("Same?", "Yes.", [2, 1, 3, 2, 2]),
    ("Boil an egg?", "Eight minutes.", [3, 3, 3, 2, 3]),
    ("Alone?", "Yes.", [3, 2, 2, 3, 1]),
    ("Same?", "Sure.", [2, 1, 3, 2, 2]),
    (TURNS, "Apple.", [3, 3, 2, 3, 3]),
    ("Boil an egg?", "In water.", [2, 2, 2, 1, 2]),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rated by five people: three responses to one prompt, two to a conversation, two that are rated alike, one alone."""
    folder = tmp_path_factory.mktemp("formats")
    write_rows(folder / "rows.jsonl", [{"id": i, "prompt": p, "response": r} for i, (p, r, _) in enumerate(RATED)])
    votes = [
        {"id": i, "rater": f"r{who}", "label": LEVELS[label]}
        for i, (_, _, labels) in enumerate(RATED)
        for who, label in enumerate(labels)
    ]
    changes = {"source": {"path": "rows.jsonl"}, "ratings": {"path": "ratings.csv", "columns": {"item_id": "id"}}}
    write_people(folder, votes, **changes, preferences={"ties": True})
    done = dprm("run", "recipe.yaml", "--quiet", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "run"


def exported(run: Path, what: str, kind: str = "jsonl") -> tuple[list[dict[str, Any]], list[str]]:
    said = answer(dprm("export", run, "--to", kind, "--what", what, "--json", cwd=run.parent))
    file = Path(said["file"])
    if kind == "parquet":
        rows = pq.read_table(file).to_pylist()
    else:
        rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(rows) == said["rows"] and list(rows[0]) == said["columns"]
    return rows, said["notes"]


def table(run: Path, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(run / f"tables/{name}.parquet").to_pylist()
    return rows


def text(messages: list[dict[str, str]]) -> str:
    return messages[-1]["content"]


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_pairs_have_soft_labels(run: Path, kind: str) -> None:
    rows, notes = exported(run, "pairs", kind)
    wanted = table(run, "preferences")
    assert [(row["prompt"], row["chosen"], row["rejected"]) for row in rows] == [
        (pair["prompt"], pair["chosen"], pair["rejected"]) for pair in wanted
    ]
    for row, pair in zip(rows, wanted, strict=True):
        figures = ("margin", "probability", "share", "tie", "votes")
        assert [row[name] for name in figures] == pytest.approx([pair[name] for name in figures], rel=1e-6)
    assert list(rows[0]) == ["prompt", "chosen", "rejected", *figures]
    assert len(notes) == 1 and "1 of these 5 pairs is a tie" in notes[0]


def test_unpaired_responses_are_labelled_by_their_pairs(run: Path) -> None:
    rows, notes = exported(run, "unpaired")
    lead: dict[str, float] = defaultdict(float)
    for pair in table(run, "preferences"):
        lead[text(pair["chosen"])] += 2 * pair["probability"] - 1
        lead[text(pair["rejected"])] -= 2 * pair["probability"] - 1
    found = {text(row["completion"]): row["label"] for row in rows}
    assert found == {response: value > 0 for response, value in lead.items() if abs(value) > 1e-6}
    assert {"Eight minutes.", "Apple."} <= {response for response, label in found.items() if label is True}
    assert {"Never.", "Stone."} <= {response for response, label in found.items() if label is False}
    assert list(rows[0]) == ["prompt", "completion", "label"]
    assert len(notes) == 1 and "2 responses" in notes[0]  # Yes. and Sure. are rated alike; the one alone is in no pair
    assert rows == exported(run, "unpaired", "parquet")[0]


def test_ranked_responses_come_best_first(run: Path) -> None:
    rows, _ = exported(run, "ranked")
    assert rows == exported(run, "ranked", "parquet")[0]
    found = {text(row["prompt"]): row for row in rows}
    assert {prompt: len(row["completions"]) for prompt, row in found.items()} == {
        "Boil an egg?": 3,
        "Name a fruit.": 2,
        "Same?": 2,
    }
    eggs = found["Boil an egg?"]
    assert [text(each) for each in eggs["completions"]] == ["Eight minutes.", "In water.", "Never."]
    judged = {text(row["completion"]): row for row in table(run, "distributions")}
    rewards = [judged[text(each)]["expected_reward"] for each in eggs["completions"]]
    errors = [judged[text(each)]["reward_error"] for each in eggs["completions"]]
    assert eggs["rewards"] == pytest.approx(rewards, rel=1e-6)
    assert eggs["reward_errors"] == pytest.approx(errors, rel=1e-6)
    above = [
        NormalDist().cdf((rewards[i] - rewards[i + 1]) / (errors[i] ** 2 + errors[i + 1] ** 2) ** 0.5) for i in (0, 1)
    ]
    assert eggs["probability"] == pytest.approx(above, abs=1e-4)
    assert found["Same?"]["probability"] == [0.5]
    assert found["Name a fruit."]["prompt"] == TURNS


def items(run: Path, what: str) -> list[Item]:
    """The export, read as a source."""
    found = list(read_items(SourceConfig(path=f"export/{what}.jsonl"), base=run))
    assert all(isinstance(one, Item) for one in found), found
    return [one for one in found if isinstance(one, Item)]


def test_ultrafeedback_binarized_is_read_back_as_the_same_items(run: Path) -> None:
    rows, _ = exported(run, "ultrafeedback")
    names = ["prompt", "prompt_id", "chosen", "rejected", "messages", "score_chosen", "score_rejected"]
    assert list(rows[0]) == names
    judged = {row["item_id"]: row["expected_reward"] for row in table(run, "distributions")}
    for row, pair in zip(rows, table(run, "preferences"), strict=True):
        assert row["messages"] == row["chosen"] == pair["prompt"] + pair["chosen"]
        assert row["rejected"] == pair["prompt"] + pair["rejected"]
        assert row["score_chosen"] == pytest.approx(judged[pair["chosen_item_id"]], rel=1e-6)
        assert row["score_rejected"] == pytest.approx(judged[pair["rejected_item_id"]], rel=1e-6)
    assert {row["prompt"] for row in rows} == {"Boil an egg?", "Hi", "Same?"}
    wanted = [
        (pair[f"{role}_item_id"], role, pair["group_id"])
        for pair in table(run, "preferences")
        for role in ("chosen", "rejected")
    ]
    assert [(item.item_id, item.role, item.source_id) for item in items(run, "ultrafeedback")] == wanted


def test_helpsteer3_has_everybodys_preference(run: Path) -> None:
    rows, _ = exported(run, "helpsteer3")
    assert list(rows[0]) == ["context", "response1", "response2", "overall_preference", "individual_preference"]
    order = [response for _, response, _ in RATED]
    labels = {(text(TURNS) if prompt is TURNS else prompt, response): given for prompt, response, given in RATED}
    for row, pair in zip(rows, table(run, "preferences"), strict=True):
        chosen, rejected, prompt = text(pair["chosen"]), text(pair["rejected"]), text(pair["prompt"])
        assert row["context"] == pair["prompt"]
        assert {row["response1"], row["response2"]} == {chosen, rejected}
        if prompt != "Same?":
            assert order.index(row["response1"]) < order.index(row["response2"])
        first, second = labels[prompt, row["response1"]], labels[prompt, row["response2"]]
        # Labels 0 to 3: one apart is a third of the scale.
        given = row["individual_preference"]
        assert [each["score"] for each in given] == [
            after - before for before, after in zip(first, second, strict=True)
        ]
        assert len({each["annotator_id"] for each in given}) == 5 and not any(each["simulated"] for each in given)
        lead = max(pair["share"] - (1 - pair["share"] - pair["tie"]), 0)
        strength = int(3 * lead + 0.5)
        assert row["overall_preference"] == (-strength if row["response1"] == chosen else strength)
    found = {(row["response1"], row["response2"]): row["overall_preference"] for row in rows}
    assert found["Stone.", "Apple."] >= 2 and found["Eight minutes.", "In water."] < 0
    assert found["Yes.", "Sure."] == 0
    again = {item.item_id: item.role for item in items(run, "helpsteer3") if text(list(item.prompt)) == "Name a fruit."}
    [pair] = [pair for pair in table(run, "preferences") if text(pair["chosen"]) == "Apple."]
    assert again == {pair["chosen_item_id"]: "chosen", pair["rejected_item_id"]: "rejected"}


def test_simulated_preferences_say_so(tmp_path: Path) -> None:
    write_csv(tmp_path / "ratings.csv", [pair | {"rater": "ann", "label": "helpful_harmless"} for pair in PAIRS])
    with LLMServer() as server:
        write_recipe(tmp_path, server.url, ratings={"path": "ratings.csv"}, replicates=2)
        assert dprm("run", "recipe.yaml", "--quiet", cwd=tmp_path).returncode == 0
    rows, _ = exported(tmp_path / "run", "helpsteer3")
    personas = {row["persona_id"] for row in table(tmp_path / "run", "personas")}
    for row in rows:
        simulated = [each["annotator_id"] for each in row["individual_preference"] if each["simulated"]]
        assert sorted(simulated) == sorted(personas)  # one entry each, whatever the replicates
        [person] = [each for each in row["individual_preference"] if not each["simulated"]]
        assert person["score"] == 0
        assert all(abs(each["score"]) <= 3 for each in row["individual_preference"])


def test_what_is_refused(run: Path, tmp_path: Path) -> None:
    for what in ("ranked", "ultrafeedback", "helpsteer3"):
        for kind in ("csv", "xlsx"):
            done = dprm("export", run, "--to", kind, "--what", what, cwd=tmp_path)
            assert done.returncode == 2 and f"{what} has lists in its rows, which {kind} cannot hold" in done.stderr
    assert dprm("export", run, "--to", "csv", "--what", "pairs", cwd=tmp_path).returncode == 0
    done = dprm("export", run, "--to", "jsonl", "--what", "ranked", "--long", cwd=tmp_path)
    assert done.returncode == 2 and "--long is for distributions" in done.stderr


def test_a_folder_of_an_earlier_version(tmp_path: Path) -> None:
    run = unpack("run-folders/choice", tmp_path / "old") / "run"
    pairs, notes = exported(run, "pairs")
    assert pairs[0]["margin"] > 0 and pairs[0]["probability"] is None
    assert "dprm ratings fit" in notes[0]
    for what in ("unpaired", "ultrafeedback", "helpsteer3"):
        done = dprm("export", run, "--to", "jsonl", "--what", what, cwd=tmp_path)
        assert done.returncode == 2 and "dprm ratings fit" in done.stderr and "Traceback" not in done.stderr
    ranked, _ = exported(run, "ranked")
    assert ranked[0]["rewards"] == sorted(ranked[0]["rewards"], reverse=True)
    assert dprm("ratings", "fit", run, cwd=tmp_path).returncode == 0
    assert exported(run, "helpsteer3")[0] and exported(run, "unpaired")[0]
