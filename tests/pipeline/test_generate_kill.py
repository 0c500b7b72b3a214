"""`kill -9` at random moments while responses are generated and while they are rated: nothing is paid for twice beyond what was in flight."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pyarrow.parquet as pq

from tests.helpers import calls_in, dprm, write_recipe, write_rows
from tests.processes import zygote
from tests.servers.llm import LLMProcess

PROMPTS, EACH, PERSONAS, CONCURRENCY = 12, 3, 4, 3
WORKERS = CONCURRENCY + CONCURRENCY // 4 + 1  # calls sent, or answered and not yet acknowledged
RESPONSES = PROMPTS * EACH
KILLS = 14


def test_killed_in_both_stages(tmp_path: Path) -> None:
    write_rows(tmp_path / "prompts.jsonl", [{"prompt": f"question {i}"} for i in range(PROMPTS)])
    moments, processes, killed_at = random.Random(3), zygote(), []
    with LLMProcess("--latency", "0.03") as server:
        # With a seed, each sample is a request of its own, which the server can tell from the others.
        writer = {"name": "openai", "model": "writer", "base_url": f"{server.url}/v1", "seed": 1}
        writer["price"] = {"input": 1.0, "output": 1.0}
        recipe = write_recipe(
            tmp_path,
            server.url,
            source={"path": "prompts.jsonl"},
            generate={"models": [writer], "per_prompt": EACH},
            limits={"concurrency": CONCURRENCY},
        )
        for _ in range(KILLS):
            pid = processes.start("run", recipe, cwd=tmp_path)
            time.sleep(moments.uniform(0.15, 0.6))
            os.kill(pid, signal.SIGKILL)
            processes.end()
            killed_at.append(calls_in(tmp_path))
        ended = dprm("run", recipe, cwd=tmp_path)
        assert ended.returncode == 0, ended
        stats = server.stats()
    assert any(0 < rows < RESPONSES for rows in killed_at), f"never killed while generating: {killed_at}"
    assert any(RESPONSES < rows < RESPONSES * (1 + PERSONAS) for rows in killed_at), f"nor while rating: {killed_at}"
    assert killed_at == sorted(killed_at), "an acknowledged reply is gone"
    assert stats["distinct"] == stats["answered_distinct"] == calls_in(tmp_path) == RESPONSES * (1 + PERSONAS)
    assert stats["answered"] - stats["answered_distinct"] <= KILLS * WORKERS
    assert pq.read_metadata(tmp_path / "run/tables/items.parquet").num_rows == RESPONSES
