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
from tests.servers.hub import Hub
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


@pytest.fixture(scope="module")
def whole(judge: LLMServer, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """RewardBench 2, all of it: the folder, and what was said."""
    folder = tmp_path_factory.mktemp("rewardbench2")
    return folder, bench("rewardbench2", folder, judge)


def test_rewardbench2(whole: tuple[Path, dict[str, Any]]) -> None:
    folder, found = whole
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
    assert json.loads((folder / "run/bench/rewardbench2/bench.json").read_text())["scores"] == scores


def test_the_same_again_asks_nobody_and_a_part_of_it_neither(
    judge: LLMServer, whole: tuple[Path, dict[str, Any]]
) -> None:
    folder, found = whole
    asked = judge.tally.requests
    command = ("bench", "rewardbench2", "recipe.yaml", "--data", "files")
    done = dprm(*command, cwd=folder, OPENAI_API_KEY="sk-test")  # as people see it
    assert done.returncode == 0, done.stderr
    assert "random" in done.stdout and "longest" in done.stdout and "a model may have been trained on it" in done.stdout
    assert f"{found['scores']['Ties']:.1%}" in done.stdout and "29 annotations" in done.stdout
    part = bench("rewardbench2", folder, judge, "--items", 5)
    assert judge.tally.requests == asked
    assert part["cases_by_section"]["Ties"] == 2 and part["cases_by_section"]["Math"] == 1


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


def test_a_response_without_an_answer_counts_as_wrong(tmp_path: Path) -> None:
    with LLMServer() as server:
        server.says = lambda request: "I cannot say." if "[1]" in json.dumps(request["messages"]) else known(request)
        found = bench("judgebench", tmp_path, server)
    assert found["unanswered"] == 2 and any(
        "2 of 5 cases have a response without an answer" in n for n in found["notes"]
    )
    assert found["scores"]["gpt-4o-2024-05-13: math"] == 0.0  # it finds the right one best, and does not rate the other


def test_as_many_cases_as_the_budget_allows(judge: LLMServer, tmp_path: Path) -> None:
    folder = tmp_path / "files" / "data"
    folder.mkdir(parents=True)
    rows = [
        {"pair_id": i, "source": "livebench-math", "question": f"Question {i}?", "response_model": "m", "label": "A>B"}
        | {"response_A": f"A {i}. [{1 + i % 5}]", "response_B": f"B {i}. [2]"}
        for i in range(60)
    ]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    price = {
        "provider": {
            "name": "openai",
            "model": "m",
            "base_url": f"{judge.url}/v1",
            "price": {"input": 10, "output": 10},
        }
    }
    whole = bench("judgebench", tmp_path, judge, "--output", "whole", **price)
    part = bench("judgebench", tmp_path, judge, "--output", "part", "--max-cost", whole["cost"], **price)
    assert 20 <= part["cases"] < whole["cases"] == 60 and part["cost"] <= whole["cost"]
    done = dprm(
        *("bench", "judgebench", tmp_path / "recipe.yaml", "--data", "files", "-o", "none", "--max-cost", 0.001),
        cwd=tmp_path,
        OPENAI_API_KEY="sk-test",
    )
    assert done.returncode == 3 and "of 60 cases" in done.stderr


def test_files_from_the_hub(judge: LLMServer, tmp_path: Path) -> None:
    judge_samples.rm_bench(tmp_path / "files")
    with Hub() as hub:
        repository = hub.create("THU-KEG/RM-Bench", private=False)
        repository.write("total_dataset.json", (tmp_path / "files" / "total_dataset.json").read_bytes())
        repository.write("assets/picture.png", b"not asked for")
        settings = {"HF_HOME": str(tmp_path / "cache"), "HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1"}
        file = recipe(tmp_path, judge)
        found = answer(dprm("bench", "rm-bench", file, "--json", cwd=tmp_path, OPENAI_API_KEY="sk-test", **settings))
        missing = dprm("bench", "rewardbench2", file, cwd=tmp_path, OPENAI_API_KEY="sk-test", **settings)
        fetched = [path for method, path, _ in hub.requests if method == "GET" and "/resolve/" in path]
    assert found["cases"] == 5 and [path.rpartition("/")[2] for path in fetched] == ["total_dataset.json"]
    assert missing.returncode == 2 and "allenai/reward-bench-2 cannot be fetched" in missing.stderr


@pytest.mark.parametrize(
    ("name", "files", "says"),
    [
        ("rewardbench", {}, "no benchmark of judges is called 'rewardbench'; did you mean 'rewardbench2'?"),
        ("rm-bench", {"notes.txt": "x"}, "which rm-bench needs"),
        ("rm-bench", {"total_dataset.json": '[{"id": 1, "prompt": "p"}]'}, "no field chosen, rejected, domain"),
        ("rm-bench", {"total_dataset.json": "[1"}, "total_dataset.json"),
        ("ppe", {"data.jsonl": "{}"}, "none of the folders of ppe"),
    ],
)
def test_mistakes(judge: LLMServer, tmp_path: Path, name: str, files: dict[str, str], says: str) -> None:
    (tmp_path / "files").mkdir()
    for file, text in files.items():
        (tmp_path / "files" / file).write_text(text)
    done = dprm(*("bench", name, recipe(tmp_path, judge), "--data", "files"), cwd=tmp_path, OPENAI_API_KEY="sk-test")
    assert done.returncode == 2 and says in " ".join(done.stderr.split()), done.stderr
