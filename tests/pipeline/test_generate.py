"""From prompts to pairs: responses are generated first, then rated, by one command under one budget."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.helpers import answer, dprm, write_recipe, write_rows
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
    assert "12 to be rated" in dprm("generate", path, cwd=tmp_path).stdout
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
