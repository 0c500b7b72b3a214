"""From prompts to pairs: responses are generated first, then rated, by one command under one budget."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from dprm_data.runs.run import Run
from dprm_data.runs.self_preference import own_responses
from tests.helpers import ROOT, answer, dprm, write_recipe, write_rows
from tests.servers.llm import LLMServer

PROMPTS = [{"id": i, "prompt": f"What is so special about the number {i}?", "topic": "numbers"} for i in range(4)]
_numbers = itertools.count()


def fresh(data: dict[str, Any]) -> str | None:
    """A new text for whoever generates; None, so a label, for whoever rates."""
    if "response_format" in data:
        return None
    return " ".join(hashlib.sha256(f"{next(_numbers)} {i}".encode()).hexdigest() for i in range(3))


def recipe(folder: Path, url: str, rows: list[dict[str, Any]] | None = None, **changes: Any) -> Path:
    write_rows(folder / "prompts.jsonl", PROMPTS if rows is None else rows)
    generate = {"models": [model(url, "writer-a"), model(url, "writer-b")], "per_prompt": 3}
    generate |= changes.pop("generate", {})
    return write_recipe(folder, url, source={"path": "prompts.jsonl"}, generate=generate, **changes)


def model(url: str, name: str, **settings: Any) -> dict[str, Any]:
    price = {"input": 1.0, "output": 2.0}
    return {"name": "openai", "model": name, "base_url": f"{url}/v1", "price": price} | settings


def responses(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(folder / "run/tables/responses.parquet").to_pylist()
    return found


def asked(double: LLMServer) -> Counter[str]:
    """Calls, by the model that they ask."""
    return Counter(bodies_model for bodies_model in SEEN)


SEEN: list[str] = []


@pytest.fixture
def server(double: LLMServer) -> LLMServer:
    SEEN.clear()

    def says(data: dict[str, Any]) -> str | None:
        SEEN.append(data["model"])
        return fresh(data)

    double.says = says
    return double


def test_one_command_from_prompts_to_pairs(server: LLMServer, tmp_path: Path) -> None:
    path = recipe(tmp_path, server.url)
    found = answer(dprm("run", path, "--json", cwd=tmp_path))
    assert found["summary"]["items"] == 12 and found["summary"]["pairs"] > 0
    rows = responses(tmp_path)
    assert len(rows) == 12 and {row["status"] for row in rows} == {"ok"}
    assert {row["model_id"] for row in rows} == {"writer-a", "writer-b"}
    assert all(row["input_tokens"] and row["output_tokens"] and row["cost"] and row["finish"] == "stop" for row in rows)
    items = pq.read_table(tmp_path / "run/tables/items.parquet").to_pylist()
    assert [item["item_id"] for item in items] == [row["item_id"] for row in rows]
    assert [item["generator"] for item in items] == [row["model_id"] for row in rows]
    assert json.loads(items[0]["metadata"]) == {"id": 0, "topic": "numbers"}
    assert asked(server) == {"gpt-4o-mini": 12 * 4} | Counter(row["model_id"] for row in rows)
    again = dprm("run", path, cwd=tmp_path)
    assert again.returncode == 0 and sum(asked(server).values()) == 12 * 4 + 12


def test_the_plan_has_both_stages(server: LLMServer, tmp_path: Path) -> None:
    path = recipe(tmp_path, server.url, budget={"max_cost": 1.0})
    found = answer(dprm("plan", path, "--json", cwd=tmp_path))
    assert not SEEN
    stages = found["stages"]
    assert stages["responses"]["calls_needed"] == 12 and stages["ratings"]["calls_needed"] == 12 * 4
    assert found["calls_needed"] == 60 and found["items"] == 12
    assert found["cost"] == pytest.approx(stages["responses"]["cost"] + stages["ratings"]["cost"])
    assert found["cost"] > 0
    shown = dprm("plan", path, cwd=tmp_path).stdout
    assert "4  (3 responses to each)" in shown and "300 tokens each, which is a guess" in shown
    assert dprm("run", path, cwd=tmp_path).returncode == 0
    after = answer(dprm("plan", path, "--json", cwd=tmp_path))
    assert after["calls_needed"] == 0 and after["calls_known"] == 60 == len(SEEN)


def test_generating_alone_then_running_pays_for_each_once(server: LLMServer, tmp_path: Path) -> None:
    path = recipe(tmp_path, server.url)
    found = answer(dprm("generate", path, "--json", cwd=tmp_path))
    assert found["responses"]["status"] == {"ok": 12} and found["responses"]["complete"]
    assert asked(server) == Counter(found["responses"]["models"])
    rows = responses(tmp_path)
    assert found["responses"]["cost"] == pytest.approx(sum(row["cost"] for row in rows))
    assert "12 usable" in dprm("generate", path, cwd=tmp_path).stdout
    assert dprm("run", path, cwd=tmp_path).returncode == 0
    assert len(SEEN) == 12 + 12 * 4


def test_a_further_model_or_response_pays_for_exactly_the_new_ones(server: LLMServer, tmp_path: Path) -> None:
    def keys(**generate: Any) -> set[str]:
        path = recipe(tmp_path, server.url, generate=generate)
        assert dprm("generate", path, cwd=tmp_path).returncode == 0
        return {row["call_key"] for row in responses(tmp_path)}

    first = keys()
    assert len(first) == len(SEEN) == 12
    SEEN.clear()
    more = keys(per_prompt=5)
    assert more > first and len(SEEN) == len(more - first) == 8
    SEEN.clear()
    three = [model(server.url, f"writer-{name}") for name in "abc"]
    other = keys(per_prompt=5, models=three)
    assert len(other) == 20 and set(SEEN) == {"writer-c"} and len(SEEN) == len(other - more)
    SEEN.clear()
    assert keys(per_prompt=5) == more and not SEEN  # back again, for nothing


def test_one_budget_for_both_stages(server: LLMServer, tmp_path: Path) -> None:
    path = recipe(tmp_path, server.url)
    generated = answer(dprm("generate", path, "--json", cwd=tmp_path))["responses"]["cost"]
    SEEN.clear()
    stopped = dprm("run", path, "--max-cost", generated + 1e-6, cwd=tmp_path)
    assert stopped.returncode == 3 and not SEEN
    little = dprm("generate", path, "--max-cost", "0.0022", "--output", "other", cwd=tmp_path)
    assert little.returncode == 3 and len(SEEN) < 12
    rows = pq.read_table(tmp_path / "other/tables/responses.parquet").to_pylist()
    assert len(rows) == len(SEEN)
    assert not (tmp_path / "other/tables/items.parquet").exists()


def test_what_cannot_be_rated_is_a_row_with_its_reason(server: LLMServer, tmp_path: Path) -> None:
    text = "It is the smallest number with a property that people like to name at parties, as far as I remember it."
    said = iter([text, f" {text.replace(' ', '  ')}\n", text + ".", "", "word " * 200, "Something else altogether."])

    def says(data: dict[str, Any]) -> str | None:
        return next(said) if data["model"] == "writer-a" else None

    server.says = says
    path = recipe(
        tmp_path,
        server.url,
        PROMPTS[:1],
        generate={"models": [model(server.url, "writer-a")], "per_prompt": 6, "max_tokens": 60},
        limits={"concurrency": 1},
    )
    assert dprm("generate", path, cwd=tmp_path).returncode == 0
    rows = sorted(responses(tmp_path), key=lambda row: row["created_at"])
    assert [row["status"] for row in rows] == ["ok", "duplicate", "near_duplicate", "empty", "truncated", "ok"]
    assert rows[1]["duplicate_of"] == rows[2]["duplicate_of"] == rows[0]["item_id"] and rows[1]["item_id"] is None
    assert rows[4]["finish"] == "length" and "cut off after" in rows[4]["reason"] and rows[4]["response"]
    assert all(row["reason"] for row in rows if row["status"] != "ok")
    assert pq.read_metadata(tmp_path / "run/tables/items.parquet").num_rows == 2
    server.says = None
    assert dprm("run", path, cwd=tmp_path).returncode == 0  # rates what is there, and makes no further response
    assert len(responses(tmp_path)) == 6


def test_a_model_that_always_answers_the_same_is_not_rated(server: LLMServer, tmp_path: Path) -> None:
    server.says = lambda data: SEEN.append(data["model"]) or ("Yes." if data["model"] == "writer-a" else None)  # type: ignore[func-returns-value]
    path = recipe(tmp_path, server.url, generate={"models": [model(server.url, "writer-a")]})
    stopped = dprm("run", path, cwd=tmp_path)
    assert stopped.returncode == 1 and "no prompt has two different responses" in stopped.stderr
    assert set(SEEN) == {"writer-a"} and len(SEEN) == 12
    assert [row["status"] for row in responses(tmp_path)] == ["ok", "duplicate", "duplicate"] * 4


def test_a_prompt_longer_than_the_context_is_a_row_with_the_providers_reason(server: LLMServer, tmp_path: Path) -> None:
    server.objects = lambda data: (
        "This model's maximum context length is 10 tokens." if "word word" in data["messages"][-1]["content"] else None
    )
    path = recipe(tmp_path, server.url, [*PROMPTS, {"id": 9, "prompt": "word " * 50}])
    done = dprm("run", path, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "3 × rejected" in done.stderr and "1 prompt has no usable response" in done.stderr
    rejected = [row for row in responses(tmp_path) if row["source_id"] == "9"]
    assert len(rejected) == 3 and all("maximum context length" in row["reason"] for row in rejected)
    assert pq.read_metadata(tmp_path / "run/tables/items.parquet").num_rows == 12


def test_responses_in_some_rows_are_rated_beside_the_generated_ones(server: LLMServer, tmp_path: Path) -> None:
    rows = [
        PROMPTS[0] | {"response": "It is even, if you ask me, which few do."},
        PROMPTS[1] | {"response": None},
        {"prompt": [{"role": "system", "content": "Be brief."}, *turns("Hi", "Hello!", "Why?")]},
    ]
    path = recipe(tmp_path, server.url, rows)
    found = answer(dprm("generate", path, "--json", cwd=tmp_path))["responses"]
    assert (found["prompts"], found["given"], found["responses"]) == (3, 1, 9)
    items = pq.read_table(tmp_path / "run/tables/items.parquet").to_pylist()
    assert [item["generator"] is None for item in items] == [True] + [False] * 9
    assert [turn["role"] for turn in items[-1]["prompt"]] == ["system", "user", "assistant", "user"]
    path = recipe(tmp_path, server.url, rows, generate={"existing": "leave_out"}, output="other")
    assert answer(dprm("generate", path, "--json", cwd=tmp_path))["responses"]["given"] == 0


def turns(*texts: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]


def test_principles_and_system_prompts_are_drawn_and_the_prompts_own_are_kept(
    server: LLMServer, tmp_path: Path
) -> None:
    bodies: list[dict[str, Any]] = []

    def says(data: dict[str, Any]) -> str | None:
        bodies.append(data)
        return fresh(data)

    server.says = says
    rows = [{"prompt": f"{{{{ 7 * 7 }}}} {i}", "system": "You are a pirate."} for i in range(6)]
    told = {"system": ["Be kind.", "Be curt."], "principles": ["truth", "care", "doubt"], "temperatures": [0.2, 1.1]}
    path = recipe(tmp_path, server.url, rows, generate=told | {"per_prompt": 4})
    assert dprm("generate", path, cwd=tmp_path).returncode == 0
    made = responses(tmp_path)
    assert {row["principle"] for row in made} == {"truth", "care", "doubt"}
    assert {row["system"] for row in made} == {"Be kind.", "Be curt."}
    assert Counter(row["temperature"] for row in made) == {0.2: 12, 1.1: 12}
    for body in bodies:
        system, user = body["messages"]
        assert "You are a pirate." in system["content"] and user["content"].startswith("{{ 7 * 7 }}")
    assert all(row["prompt"][0]["content"] == "You are a pirate." for row in made)  # judges do not see what was drawn


def test_spread_asks_for_several_in_one_call(server: LLMServer, tmp_path: Path) -> None:
    server.says = None
    spread = {"strategy": "spread", "per_prompt": 4, "models": [model(server.url, "writer-a")]}
    path = recipe(tmp_path, server.url, generate=spread)
    before = server.tally.requests
    assert dprm("generate", path, cwd=tmp_path).returncode == 0
    assert server.tally.requests - before == 4
    rows = responses(tmp_path)
    assert len(rows) == 16 and {row["status"] for row in rows} == {"ok"}
    assert [row["place"] for row in rows[:4]] == [0, 1, 2, 3] and len({row["call_key"] for row in rows}) == 4
    path = recipe(tmp_path, server.url, generate=spread | {"per_prompt": 8})
    assert dprm("generate", path, cwd=tmp_path).returncode == 0
    assert server.tally.requests - before == 8  # four further calls: those that are there stay


def test_weak_and_strong_come_with_their_roles(server: LLMServer, tmp_path: Path) -> None:
    path = recipe(tmp_path, server.url, generate={"strategy": "weak_strong", "per_prompt": 2})
    assert dprm("run", path, cwd=tmp_path).returncode == 0
    items = pq.read_table(tmp_path / "run/tables/items.parquet").to_pylist()
    roles = {"writer-a": "rejected", "writer-b": "chosen"}
    assert len(items) == 8 and all(item["role"] == roles[item["generator"]] for item in items)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"generate": {"per_prompt": 1, "strategy": "spread"}}, "generate.per_prompt: strategy: spread makes"),
        ({"generate": {"strategy": "weak_strong", "models": []}}, "generate.models"),
        ({"mode": "batch"}, "mode: a run's batches belong to one model; with several in generate"),
        ({"engine": "ray", "ledger": "postgresql://me@localhost/db"}, "engine: the actors of a cluster rate"),
        ({"generate": {"temperatures": [1, 1.0]}}, "generate.temperatures: has one of them twice"),
    ],
)
def test_what_cannot_be_asked_for(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    refused = dprm("plan", recipe(tmp_path, "http://127.0.0.1:9", **changes), cwd=tmp_path)
    assert refused.returncode == 2 and said in refused.stderr, refused.stderr


def test_one_response_makes_no_pair_and_a_recipe_without_generate_is_told(server: LLMServer, tmp_path: Path) -> None:
    path = recipe(tmp_path, server.url, generate={"per_prompt": 1})
    done = dprm("run", path, cwd=tmp_path)
    assert done.returncode == 0 and "there will be no pairs" in done.stderr
    plain = write_recipe(tmp_path, server.url, source={"path": "prompts.jsonl"}, output="plain")
    refused = dprm("plan", plain, cwd=tmp_path)
    assert refused.returncode == 2 and "generate: {models" in refused.stderr
    assert "it has no generate" in dprm("generate", plain, cwd=tmp_path).stderr


def test_spread_that_cannot_be_read_is_asked_again_and_too_few_are_said(server: LLMServer, tmp_path: Path) -> None:
    few = json.dumps({"response_1": "One thing.", "response_2": "Quite another thing altogether."})
    server.says = lambda data: few if "number 0" in str(data) and "could not be read" in str(data) else "no JSON at all"
    spread = {"strategy": "spread", "per_prompt": 3, "models": [model(server.url, "writer-a")]}
    path = recipe(tmp_path, server.url, PROMPTS[:2], generate=spread, limits={"concurrency": 1, "give_up_unusable": 0})
    assert dprm("generate", path, cwd=tmp_path).returncode == 0
    rows = responses(tmp_path)
    assert [row["status"] for row in rows] == ["ok", "ok", "missing", *["unparsable"] * 3]
    assert rows[2]["reason"] == "asked for 3 responses, and 2 came" and "JSON" in rows[3]["reason"]
    assert sum(row["output_tokens"] for row in rows) == server.tally.billed[1]


def test_a_refusal_that_the_provider_marks_is_a_row(server: LLMServer, tmp_path: Path) -> None:
    server.script({"queue": ["refusal"]})
    path = recipe(tmp_path, server.url, PROMPTS[:1], limits={"concurrency": 1})
    assert dprm("generate", path, cwd=tmp_path).returncode == 0
    assert Counter(row["status"] for row in responses(tmp_path)) == {"ok": 2, "refusal": 1}
    assert dprm("generate", path, "--retry-failed", cwd=tmp_path).returncode == 0
    assert {row["status"] for row in responses(tmp_path)} == {"ok"}


def test_ultrafeedbacks_pipeline_runs_as_it_is_written(server: LLMServer, tmp_path: Path) -> None:
    """The recipe that docs/generate.md begins with; only where the providers are is said by the environment."""
    [recipe, *_] = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "generate.md").read_text(), flags=re.DOTALL)
    assert len(recipe.splitlines()) <= 10
    (tmp_path / "recipe.yaml").write_text(recipe)
    write_rows(tmp_path / "prompts.jsonl", PROMPTS[:2])
    places = {"OPENAI_BASE_URL": f"{server.url}/v1", "ANTHROPIC_BASE_URL": server.url}
    keys = dict.fromkeys(("OPENAI_API_KEY", "ANTHROPIC_API_KEY"), "a-key-of-nobody")
    done = answer(dprm("run", "recipe.yaml", "--json", cwd=tmp_path, **places, **keys))
    rows = pq.read_table(tmp_path / "runs/run/tables/responses.parquet").to_pylist()
    assert Counter(row["model_id"] for row in rows) == dict.fromkeys({row["model_id"] for row in rows}, 2)
    assert (
        len(rows) == 8 and len({row["model_id"] for row in rows}) == 4 and len({row["principle"] for row in rows}) > 1
    )
    assert asked(server) == Counter({row["model_id"]: 2 for row in rows}) | {"gpt-5.4-mini": len(SEEN) - 8}
    assert done["summary"]["pairs"] > 0 and done["summary"]["cost"] > 0
    assert not own_responses(Run.open(tmp_path / "runs/run"))  # nobody judges what it wrote
