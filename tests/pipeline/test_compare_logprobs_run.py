"""elicitation: compare_logprobs: the model's probabilities of A and B are the answer."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.helpers import answer, dprm, write_recipe, write_rows
from tests.servers.llm import LLMServer

# Four prompts with three responses each: the model is the surer the more points there are between them, in some prompts more than in others.
ROWS = [
    {"prompt": f"What is question {scale}?", "response": f"Worth {points * scale} points."}
    for scale in (1, 2, 4, 8)
    for points in (0, 1, 2)
]
WORDS = ("A", "B")


def by_points(request: dict[str, Any]) -> list[float]:
    """Log odds of A: a tenth of the points by which A is better, and always 0.5."""
    said = next(each["content"] for each in request["messages"] if "Response A:" in each["content"])
    a, b = map(int, re.findall(r"Worth (\d+) points", said))
    return [math.exp(0.5 + (a - b) / 10), 1.0]


def write(folder: Path, url: str, **changes: Any) -> None:
    write_rows(folder / "pairs.jsonl", ROWS)
    write_recipe(folder, url, **({"elicitation": "compare_logprobs"} | changes))


def table(folder: Path, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(folder / "run" / "tables" / f"{name}.parquet").to_pylist()
    return rows


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder, bodies = tmp_path_factory.mktemp("compare_logprobs"), []
    with LLMServer(words=WORDS) as server:
        server.says = lambda body: bodies.append(body)
        server.weighs = by_points
        write(folder, server.url)
        done = dprm("run", "recipe.yaml", cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder, bodies


def test_the_probabilities_are_kept_beside_the_most_probable_answer(finished: Any) -> None:
    folder, bodies = finished
    rows = table(folder, "comparisons")
    assert len(rows) == len(bodies) == 4 * 3 * 2 * len(table(folder, "personas"))
    for row in rows:
        probs = row["step_probs"]
        assert len(probs) == row["steps"] == 2
        assert sum(probs) == pytest.approx(1)
        assert row["preference"] == (1 if probs[1] > probs[0] else -1)
    assert len({round(row["step_probs"][0], 4) for row in rows}) == 2 * 5  # 1, 2, 4, 8 and 16 points, either way
    for body in bodies:
        assert body["max_tokens"] == 1
        assert body["logprobs"] is True
        *_, asked, begun = (message["content"] for message in body["messages"])
        assert "A or B?" in asked or "B or A?" in asked
        assert begun == "In my opinion, the better response is Response"


def test_how_sure_the_model_was_is_the_share_of_a_preference(finished: Any) -> None:
    """The most probable answer is the same in all prompts; what differs is how probable it was."""
    share: dict[int, float] = {}
    for row in table(finished[0], "preferences"):
        chosen, rejected = (int(re.findall(r"\d+", row[side][0]["content"])[0]) for side in ("chosen", "rejected"))
        assert chosen > rejected
        assert row["tie"] == 0
        share[chosen - rejected] = row["share"]
    assert [*map(share.__getitem__, (1, 2, 4, 8, 16))] == sorted(share.values())
    assert share[16] > 0.6
    assert share[1] < 0.53
    found = json.loads((finished[0] / "run" / "manifest.json").read_text())["preferences"]["compared"]
    assert found["order"]["persona"]["effect"] == pytest.approx(0.5, abs=0.1)


def test_a_server_without_log_probabilities_is_named(tmp_path: Path) -> None:
    with LLMServer(words=WORDS) as server:
        server.script({"chances": {"no_logprobs": 1.0}})
        write(tmp_path, server.url)
        done = dprm("run", "recipe.yaml", cwd=tmp_path)
    assert done.returncode == 1
    assert "log-probabilities" in done.stderr


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"compare": {"steps": 3}}, "compare.steps: says nothing to elicitation: compare_logprobs"),
        ({"provider": {"name": "anthropic", "model": "m"}}, "which elicitation: compare_logprobs reads; use compare"),
        ({"rationale": True}, "compare_logprobs cannot say why"),
        ({"replicates": 2}, "compare_logprobs gets the same answer"),
    ],
)
def test_what_does_not_go_together_is_said(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    write(tmp_path, "http://127.0.0.1:9", **changes)
    done = dprm("run", "recipe.yaml", cwd=tmp_path)
    assert done.returncode == 2, done.stdout
    assert said in " ".join(done.stderr.split())


def test_a_plan_counts_one_token_answers(tmp_path: Path) -> None:
    with LLMServer(words=WORDS) as server:
        write(tmp_path, server.url, compare={"orders": "half", "pairs": "adjacent"})
        planned = answer(dprm("plan", "recipe.yaml", "--json", cwd=tmp_path))
        done = dprm("run", "recipe.yaml", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert planned["calls_needed"] == server.tally.requests == 4 * 2 * len(table(tmp_path, "personas"))
    assert planned["output_tokens"] == planned["calls_needed"]
