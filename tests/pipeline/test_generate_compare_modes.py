"""generate with elicitation: compare in rounds, in batches, by several workers, over several endpoints, and killed."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from tests.helpers import answer, calls_in, dprm, write_recipe, write_rows
from tests.processes import zygote
from tests.servers.llm import LLMProcess, LLMServer
from tests.servers.postgres import PASSWORD, Database

PROMPTS = [{"prompt": f"What is so special about the number {i}?"} for i in range(5)]
PER_PROMPT, PERSONAS = 4, 1
RESPONSES = len(PROMPTS) * PER_PROMPT
CHAIN, ALL = len(PROMPTS) * (PER_PROMPT - 1), len(PROMPTS) * PER_PROMPT * (PER_PROMPT - 1) // 2
CHOSEN = 22  # pairs that the budget of the active recipes is enough for


def recipe(folder: Path, url: str, **changes: Any) -> Path:
    """With a seed, each sample is a request of its own, which the server can tell from the others."""
    write_rows(folder / "prompts.jsonl", PROMPTS)
    price = {"input": 1.0, "output": 1.0}
    writer = {"name": "openai", "model": "gpt-4o-mini", "base_url": f"{url}/v1", "seed": 1, "price": price}
    generate = {"models": [writer | changes.pop("writer", {})], "per_prompt": PER_PROMPT} | changes.pop("generate", {})
    panel = {"use": "small", "sample": PERSONAS}
    settings = {"elicitation": "compare", "panel": panel, "generate": generate}
    return write_recipe(folder, url, source={"path": "prompts.jsonl"}, **(settings | changes))


ACTIVE = {"pairs": "active", "budget": 2 * CHOSEN * PERSONAS}


def rows(folder: Path, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(folder / "run" / "tables" / f"{name}.parquet").to_pylist()
    return found


def pairs(folder: Path) -> set[frozenset[str]]:
    return {frozenset((row["first_item_id"], row["second_item_id"])) for row in rows(folder, "comparisons")}


def test_in_rounds_as_planned(double: LLMServer, tmp_path: Path) -> None:
    path = recipe(tmp_path, double.url, compare=ACTIVE)
    planned = answer(dprm("plan", path, "--json", cwd=tmp_path))
    done = answer(dprm("run", path, "--json", cwd=tmp_path))
    assert double.tally.requests == planned["calls_needed"] == RESPONSES + 2 * CHOSEN * PERSONAS
    assert len(pairs(tmp_path)) == CHOSEN > CHAIN and done["annotate"]["calls"] == 2 * CHOSEN * PERSONAS
    assert answer(dprm("plan", path, "--json", cwd=tmp_path))["calls_needed"] == 0
    assert answer(dprm("run", path, "--json", cwd=tmp_path))["annotate"]["calls"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("compare", [{}, ACTIVE])
def test_in_batches(double: LLMServer, tmp_path: Path, compare: dict[str, Any]) -> None:
    path = recipe(tmp_path, double.url, mode="batch", limits={"poll_every": 0.05}, compare=compare)
    assert dprm("run", path, cwd=tmp_path).returncode == 0
    asked = CHOSEN if compare else ALL
    assert len(pairs(tmp_path)) == asked
    assert double.tally.requests == len(double.tally.bodies) == RESPONSES + 2 * asked * PERSONAS


@pytest.mark.parametrize("compare", [{}, ACTIVE])
def test_three_workers_send_every_call_once(tmp_path: Path, postgres: Database, compare: dict[str, Any]) -> None:
    with LLMProcess("--latency", "0.02") as server:
        limits = {"concurrency": 2, "lease": 1}
        path = recipe(tmp_path, server.url, ledger=postgres.url, limits=limits, compare=compare)
        pids = [zygote().start("run", path, cwd=tmp_path, PGPASSWORD=PASSWORD) for _ in range(3)]
        ended = [zygote().end(pid) for pid in pids]
        assert [each.returncode for each in ended] == [0] * 3, [each.stderr for each in ended]
        stats = server.stats()
    asked = CHOSEN if compare else ALL
    assert stats["requests"] == stats["distinct"] == RESPONSES + 2 * asked * PERSONAS
    assert len(pairs(tmp_path)) == asked


def test_a_generator_behind_several_endpoints(tmp_path: Path) -> None:
    with LLMServer() as one, LLMServer() as other, LLMServer() as judge:
        places = [{"base_url": f"{server.url}/v1"} for server in (one, other)]
        path = recipe(tmp_path, judge.url, writer={"base_url": None, "endpoints": places})
        content = yaml.safe_load(path.read_text())
        del content["generate"]["models"][0]["base_url"]
        path.write_text(yaml.safe_dump(content))
        done = dprm("run", path, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert one.tally.requests and other.tally.requests
        assert one.tally.requests + other.tally.requests == RESPONSES
        assert judge.tally.requests == 2 * ALL * PERSONAS


@pytest.mark.slow
def test_killed_in_both_stages(tmp_path: Path) -> None:
    """In rounds: the same calls in the end, and nothing paid twice beyond what was in flight."""
    moments, processes, concurrency = (2, 9, 15, 24, 40, 55, 61), zygote(), 3
    in_all, killed_at = RESPONSES + 2 * CHOSEN * PERSONAS, []
    with LLMProcess("--latency", "0.03") as server:
        path = recipe(tmp_path, server.url, compare=ACTIVE, limits={"concurrency": concurrency})
        for moment in moments:
            pid = processes.start("run", path, cwd=tmp_path)
            while server.stats()["answered_distinct"] < moment:
                time.sleep(0.01)
            os.kill(pid, signal.SIGKILL)
            processes.end()
            killed_at.append(calls_in(tmp_path))
        ended = dprm("run", path, cwd=tmp_path)
        assert ended.returncode == 0, ended
        stats = server.stats()
    assert killed_at[0] < killed_at[2] < RESPONSES < killed_at[4] < in_all, killed_at
    assert stats["distinct"] == stats["answered_distinct"] == calls_in(tmp_path) == in_all
    assert stats["answered"] - in_all <= len(moments) * (concurrency + concurrency // 4 + 1)
    assert len(pairs(tmp_path)) == CHOSEN


def test_pairs_that_were_chosen_stay_when_responses_are_added(double: LLMServer, tmp_path: Path) -> None:
    assert dprm("run", recipe(tmp_path, double.url, compare=ACTIVE), cwd=tmp_path).returncode == 0
    before, requests = pairs(tmp_path), double.tally.requests
    more = {"pairs": "active", "budget": 2 * 30 * PERSONAS}
    path = recipe(tmp_path, double.url, compare=more, generate={"per_prompt": PER_PROMPT + 1})
    assert dprm("run", path, cwd=tmp_path).returncode == 0
    assert before < pairs(tmp_path) and len(pairs(tmp_path)) == 30
    assert double.tally.requests - requests == len(PROMPTS) + 2 * (30 - CHOSEN) * PERSONAS
