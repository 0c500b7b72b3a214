"""`dprm bench`, from the outside: a judge whose opinions are known gets the figures that the benchmark's own rules give, worked out by hand."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import answer, dprm, write_recipe
from tests.ingest import judge_samples
from tests.servers.llm import LLMServer


def known(request: dict[str, Any]) -> str:
    """What the response's text says that it is worth: the last `[n]`."""
    text = json.dumps(request["messages"])
    return json.dumps({"label": re.findall(r"\[(\d)\]", text)[-1]})


@pytest.fixture(scope="module")
def judge() -> Iterator[LLMServer]:
    with LLMServer() as server:
        server.says = known
        yield server


def recipe(folder: Path, judge: LLMServer, **changes: Any) -> Path:
    changes = {"labels": 5, "panel": "neutral", "elicitation": "choice"} | changes
    return write_recipe(folder, judge.url, **changes)


def bench(name: str, folder: Path, judge: LLMServer, *options: object, **changes: Any) -> dict[str, Any]:
    """The benchmark's files below `files`, judged by the known judge."""
    if not (folder / "files").exists():
        getattr(judge_samples, name.replace("-", "_"))(folder / "files")
    file = recipe(folder, judge, **changes)
    return answer(
        dprm("bench", name, file, "--data", "files", "--json", *options, cwd=folder, OPENAI_API_KEY="sk-test")
    )


def test_rewardbench2(judge: LLMServer, tmp_path: Path) -> None:
    found = bench("rewardbench2", tmp_path, judge)
    # Question 0: gap 4 - 2 = 2 above the spread 1; with its reference's 4, too. Question 1: gap 1, spread 2.
    margin = (0.7615941559557649 - 0.46211715726000975) / 2  # tanh(2/1 - 1), tanh(1/2 - 1)
    ties = 0.3 + 0.3 + 0.2 * 0.5 + 0.2 * 0.5 + 0.01 * margin
    scores = found["scores"]
    assert scores["Math"] == pytest.approx((1 + 0.5 + 0) / 3)
    assert scores["Focus"] == 1.0
    assert scores["Ties"] == pytest.approx(ties)
    assert scores["overall"] == pytest.approx((0.5 + 1.0 + ties) / 3)
    assert found["intervals"]["Math"] == [0.0, 1.0]
    assert found["cases_by_section"] == {"Math": 3, "Focus": 1, "Ties": 4} and found["unanswered"] == 0
    rivals = {name: rival["scores"] for name, rival in found["rivals"].items()}
    assert list(rivals) == ["random", "longest", "constant"]
    assert rivals["constant"]["Math"] == 0.25 and rivals["random"]["Math"] == pytest.approx(0.25, abs=0.05)
    assert rivals["longest"]["Math"] == 0.0 and rivals["constant"]["Ties"] == 0.0
    assert found["cost"] > 0 and found["calls"] == 29
    assert json.loads((tmp_path / "run/bench/rewardbench2/bench.json").read_text())["scores"] == scores


def test_the_same_again_asks_nobody_and_a_part_of_it_neither(judge: LLMServer, tmp_path: Path) -> None:
    first = bench("rewardbench2", tmp_path, judge)
    asked = judge.tally.requests
    again = bench("rewardbench2", tmp_path, judge)
    assert again == first
    part = bench("rewardbench2", tmp_path, judge, "--items", 5)
    assert judge.tally.requests == asked
    assert part["cases_by_section"]["Ties"] == 2 and part["cases_by_section"]["Math"] == 1


def test_the_page_for_people(judge: LLMServer, tmp_path: Path) -> None:
    judge_samples.rewardbench2(tmp_path / "files")
    done = dprm(
        *("bench", "rewardbench2", recipe(tmp_path, judge), "--data", "files"), cwd=tmp_path, OPENAI_API_KEY="sk-test"
    )
    assert done.returncode == 0, done.stderr
    assert "random" in done.stdout and "longest" in done.stdout and "a model may have been trained on it" in done.stdout


def test_rm_bench(judge: LLMServer, tmp_path: Path) -> None:
    found = bench("rm-bench", tmp_path, judge)
    scores = found["scores"]
    # chat: the right ones (3) are above 1 and 2, not above 4, the fanciest: below the diagonal all, on it two of three, above it one of three.
    assert scores["chat"] == pytest.approx((1 + 2 / 3 + 1 / 3) / 3)
    assert (scores["code"], scores["math"], scores["safety-refuse"], scores["safety-response"]) == (1, 0, 1, 0)
    assert scores["safety"] == pytest.approx(0.5)
    assert scores["easy"] == pytest.approx((1 + 1 + 0 + 0.5) / 4)
    assert scores["hard"] == pytest.approx((1 / 3 + 1 + 0 + 0.5) / 4)
    assert scores["overall"] == pytest.approx((scores["easy"] + scores["normal"] + scores["hard"]) / 3)
    rivals = found["rivals"]
    assert rivals["longest"]["scores"]["easy"] == 1.0 and rivals["longest"]["scores"]["hard"] == 0.0
    assert rivals["random"]["scores"]["overall"] == pytest.approx(0.5, abs=0.05)
    assert rivals["constant"]["scores"]["overall"] == 0.0


def test_judgebench(judge: LLMServer, tmp_path: Path) -> None:
    found = bench("judgebench", tmp_path, judge)
    gpt, claude = "gpt-4o-2024-05-13", "claude-3-5-sonnet-20240620"
    assert found["scores"] == {
        f"{claude}: overall": 1.0,
        f"{claude}: reasoning": 1.0,
        f"{gpt}: overall": 0.5,
        f"{gpt}: knowledge": 0.5,  # one right, one tie
        f"{gpt}: math": 1.0,
        f"{gpt}: coding": 0.0,
    }


def test_ppe(judge: LLMServer, tmp_path: Path) -> None:
    found = bench("ppe", tmp_path, judge)
    scores = found["scores"]
    assert scores["human preference"] == pytest.approx(2 / 3)
    assert scores["gpqa pairs"] == pytest.approx((1 / 2 + 1) / 2)  # of question 3 there is no pair
    assert scores["gpqa best of k"] == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert scores["correctness pairs"] == scores["gpqa pairs"]
    notes = " ".join(found["notes"])
    assert "2 rows of people's preferences are ties" in notes and "PPE-MATH-Best-of-K is not in files" in notes
    assert found["rivals"]["random"]["scores"]["gpqa best of k"] == pytest.approx((1 / 2 + 1 / 4) / 3, abs=0.05)


def comparing(request: dict[str, Any]) -> str:
    """Prefers what is shown first, unless the other is better by two steps."""
    first, second = re.findall(r"\[(\d)\]", json.dumps(request["messages"]))[:2]
    return json.dumps({"label": "B is better" if int(second) >= int(first) + 2 else "A is better"})


def test_pairs_are_compared_in_both_orders(tmp_path: Path) -> None:
    with LLMServer() as server:
        server.says = comparing
        found = bench("judgebench", tmp_path, server, elicitation="compare", compare={"steps": 3})
        assert found["calls"] == 10 and server.tally.requests == 10
        scores = found["scores"]
        gpt = "gpt-4o-2024-05-13"
        # a: 4 against 2 both ways; b: a draw, once each way; c: both ways; d: both ways, for the wrong one; e: 5 against 4, once each way.
        assert (scores[f"{gpt}: knowledge"], scores[f"{gpt}: math"], scores[f"{gpt}: coding"]) == (0.5, 1.0, 0.0)
        assert scores["claude-3-5-sonnet-20240620: overall"] == 0.0
        judge_samples.rm_bench(tmp_path / "more")
        done = dprm(
            *("bench", "rm-bench", tmp_path / "recipe.yaml", "--data", "more"), cwd=tmp_path, OPENAI_API_KEY="sk-test"
        )
    assert done.returncode == 2 and "is asked about two responses" in done.stderr
