"""generate and elicitation: compare in one recipe: from prompts to compared pairs, by one command under one budget."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import dprm_data
from tests.helpers import answer, dprm, write_recipe, write_rows
from tests.servers.llm import LLMServer

PROMPTS = [{"id": i, "prompt": f"What is so special about the number {i}?"} for i in range(4)]
PER_PROMPT, PERSONAS = 3, 2
RESPONSES = len(PROMPTS) * PER_PROMPT
PAIRS = len(PROMPTS) * PER_PROMPT * (PER_PROMPT - 1) // 2


def writer(url: str, name: str) -> dict[str, Any]:
    """With a seed, each sample is a request of its own."""
    price = {"input": 1.0, "output": 2.0}
    return {"name": "openai", "model": name, "base_url": f"{url}/v1", "seed": 1, "price": price}


def says(data: dict[str, Any]) -> str | None:
    """A text of its own for every request of whoever generates; None, so an answer of the schema, for whoever compares."""
    if "response_format" in data:
        return None
    return " ".join(hashlib.sha256(f"{data} {i}".encode()).hexdigest() for i in range(3))


def recipe(folder: Path, url: str, rows: list[dict[str, Any]] | None = None, **changes: Any) -> Path:
    write_rows(folder / "prompts.jsonl", PROMPTS if rows is None else rows)
    generate = {"models": [writer(url, "writer-a"), writer(url, "writer-b")], "per_prompt": PER_PROMPT}
    settings = {"elicitation": "compare", "panel": {"use": "small", "sample": PERSONAS}} | changes
    settings["generate"] = generate | changes.get("generate", {})
    return write_recipe(folder, url, source={"path": "prompts.jsonl"}, **settings)


def table(folder: Path, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(folder / "run" / "tables" / f"{name}.parquet").to_pylist()
    return rows


@pytest.fixture
def server(double: LLMServer) -> LLMServer:
    double.says = says
    return double


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("generate-compare")
    with LLMServer() as server:
        server.says = says
        path = recipe(folder, server.url, budget={"max_cost": 1.0})
        planned = answer(dprm("plan", path, "--json", cwd=folder)), dprm("plan", path, cwd=folder).stdout
        done = dprm("run", path, cwd=folder)
        assert done.returncode == 0, done.stderr
        made = server.tally.requests
        after = answer(dprm("plan", path, "--json", cwd=folder))
        again = answer(dprm("run", path, "--json", cwd=folder))
        yield folder, planned, done, made, after, again, server.tally.requests


def test_one_command_from_prompts_to_compared_pairs(finished: Any) -> None:
    folder, _, done, made, *_ = finished
    assert made == RESPONSES + 2 * PAIRS * PERSONAS
    assert {row["status"] for row in table(folder, "responses")} == {"ok"}
    compared = Counter(frozenset((row["first_item_id"], row["second_item_id"])) for row in table(folder, "comparisons"))
    assert len(compared) == PAIRS and set(compared.values()) == {2 * PERSONAS}
    rows = table(folder, "preferences")
    assert len(rows) == PAIRS and {row["basis"] for row in rows} == {"comparisons"}
    assert "12 of them usable" in done.stderr and f"{PAIRS} pairs of responses" in done.stderr
    assert "Order effect" in done.stdout


def test_the_plan_has_both_stages_and_says_what_is_guessed(finished: Any) -> None:
    _, (planned, shown), _, made, after, _, _ = finished
    assert planned["stages"]["responses"]["calls_needed"] == RESPONSES
    assert planned["stages"]["comparisons"]["calls_needed"] == 2 * PAIRS * PERSONAS
    assert planned["calls_needed"] == made and planned["items"] == 2 * PAIRS and planned["cost"] > 0
    assert "300 tokens each, which is a guess" in " ".join(shown.split())
    assert after["calls_needed"] == 0 and after["calls_known"] == made


def test_a_second_run_pays_nothing(finished: Any) -> None:
    *_, made, _, again, in_all = finished
    assert in_all == made and again["annotate"]["calls"] == 0


def test_status_and_report_know_it(finished: Any) -> None:
    folder = finished[0]
    status = answer(dprm("status", "run", "--json", cwd=folder))
    assert status["calls_left"] == 0 and status["items_done"] == status["items"] == 2 * PAIRS
    assert dprm("report", "run", cwd=folder).returncode == 0


@pytest.mark.slow
def test_a_further_response_pays_for_its_pairs_only(server: LLMServer, tmp_path: Path) -> None:
    assert dprm("run", recipe(tmp_path, server.url), cwd=tmp_path).returncode == 0
    before = server.tally.requests
    path = recipe(tmp_path, server.url, generate={"per_prompt": PER_PROMPT + 1})
    planned = answer(dprm("plan", path, "--json", cwd=tmp_path))
    assert planned["stages"]["responses"]["calls_needed"] == len(PROMPTS)
    assert dprm("run", path, cwd=tmp_path).returncode == 0
    assert server.tally.requests - before == len(PROMPTS) + len(PROMPTS) * PER_PROMPT * 2 * PERSONAS


def test_what_is_compared_may_change_once_the_responses_are_there(server: LLMServer, tmp_path: Path) -> None:
    assert dprm("generate", recipe(tmp_path, server.url), cwd=tmp_path).returncode == 0
    assert server.tally.requests == RESPONSES
    assert answer(dprm("status", "run", "--json", cwd=tmp_path))["calls_left"] == 2 * PAIRS * PERSONAS
    assert dprm("run", recipe(tmp_path, server.url, elicitation="choice"), cwd=tmp_path).returncode == 0
    assert server.tally.requests == RESPONSES + RESPONSES * PERSONAS  # they are rated
    path = recipe(tmp_path, server.url, compare={"pairs": "adjacent"})
    planned = answer(dprm("plan", path, "--json", cwd=tmp_path))
    assert planned["calls_needed"] == len(PROMPTS) * (PER_PROMPT - 1) * 2 * PERSONAS
    assert dprm("run", path, cwd=tmp_path).returncode == 0  # and then compared
    assert len(table(tmp_path, "comparisons")) == planned["calls_needed"]


def test_one_budget_for_both_stages(server: LLMServer, tmp_path: Path) -> None:
    path = recipe(tmp_path, server.url)
    cost = answer(dprm("generate", path, "--json", cwd=tmp_path))["responses"]["cost"]
    stopped = dprm("run", path, "--max-cost", cost + 1e-6, cwd=tmp_path)
    assert stopped.returncode == 3 and server.tally.requests == RESPONSES


def test_refused_and_cut_off_responses_are_not_compared_and_lonely_prompts_are_said(
    server: LLMServer, tmp_path: Path
) -> None:
    def badly(data: dict[str, Any]) -> str | None:
        said = says(data)
        if said and data["model"] == "writer-a" and "number 0" in str(data):
            return "word " * 200
        return said

    server.says = badly
    server.objects = lambda data: "maximum context length" if "number 1?" in str(data["messages"][-1]) else None
    path = recipe(tmp_path, server.url, generate={"per_prompt": 2, "max_tokens": 80})
    done = dprm("run", path, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert Counter(row["status"] for row in table(tmp_path, "responses")) == {"ok": 5, "truncated": 1, "rejected": 2}
    assert "1 prompt has one usable response" in done.stderr and "1 prompt has no usable response" in done.stderr
    assert "2 pairs of responses" in done.stderr and len(table(tmp_path, "comparisons")) == 2 * 2 * PERSONAS


def test_the_sources_own_response_is_compared_with_the_generated_one(server: LLMServer, tmp_path: Path) -> None:
    rows = [PROMPTS[0] | {"response": "It is even, if you ask me, which few do."}, *PROMPTS[1:3]]
    path = recipe(tmp_path, server.url, rows, generate={"per_prompt": 1})
    planned = answer(dprm("plan", path, "--json", cwd=tmp_path))
    assert planned["stages"]["comparisons"]["annotations"] == 2 * PERSONAS
    assert dprm("run", path, cwd=tmp_path).returncode == 0
    assert len(table(tmp_path, "preferences")) == 1 and len(table(tmp_path, "comparisons")) == 2 * PERSONAS


@pytest.mark.parametrize("number", [1, 2, "adjacent", "all"])
def test_the_plan_counts_the_pairs_that_will_be_asked_about(server: LLMServer, tmp_path: Path, number: Any) -> None:
    path = recipe(tmp_path, server.url, compare={"pairs": number, "orders": "half"})
    planned = answer(dprm("plan", path, "--json", cwd=tmp_path))
    assert dprm("run", path, cwd=tmp_path).returncode == 0
    assert planned["calls_needed"] == server.tally.requests
    assert len(table(tmp_path, "comparisons")) == server.tally.requests - RESPONSES


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"generate": {"per_prompt": 1}}, "generate.per_prompt: 1 makes one response to each prompt"),
        ({"compare": {"pairs": "active", "budget": 10}}, "Give 32 or more"),
    ],
)
def test_what_makes_no_pairs_is_refused_before_anything_is_paid(
    server: LLMServer, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    path = recipe(tmp_path, server.url, **changes)
    for command in ("plan", "generate", "run"):
        refused = dprm(command, path, cwd=tmp_path)
        assert refused.returncode == 2 and said in " ".join(refused.stderr.split()), refused.stderr
    assert not server.tally.requests


def test_a_model_that_always_gives_the_same_response_has_nothing_compared(server: LLMServer, tmp_path: Path) -> None:
    server.says = lambda data: None if "response_format" in data else "Yes."
    stopped = dprm("run", recipe(tmp_path, server.url), cwd=tmp_path)
    assert stopped.returncode == 1 and "no prompt has two different responses" in stopped.stderr
    assert server.tally.requests == RESPONSES
    rows = [row | {"response": "Yes."} for row in PROMPTS]
    stopped = dprm("run", recipe(tmp_path, server.url, rows, output="like"), cwd=tmp_path)
    assert stopped.returncode == 2 and "no prompt has two responses" in stopped.stderr
    assert "responses.parquet says what became of each" in stopped.stderr


def test_from_python(server: LLMServer, tmp_path: Path) -> None:
    path = recipe(tmp_path, server.url)
    found = dprm_data.run(path, output=tmp_path / "run", progress=False)
    assert found.counters is not None and len(found.preferences) == PAIRS


def test_the_best_and_the_worst_of_what_was_generated(server: LLMServer, tmp_path: Path) -> None:
    path = recipe(tmp_path, server.url, elicitation="best_worst")
    planned = answer(dprm("plan", path, "--json", cwd=tmp_path))
    done = dprm("run", path, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    answered = {(row["set_id"], row["annotator_id"]) for row in table(tmp_path, "comparisons")}
    assert planned["stages"]["comparisons"]["calls_needed"] == len(answered) == len(PROMPTS) * PERSONAS
    assert len(table(tmp_path, "preferences")) == PAIRS
