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
