"""`kill -9` at random moments: nothing acknowledged is lost, nothing is paid for twice beyond what was in flight, and the end is reached."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

from tests.helpers import calls_in, write_recipe, write_rows
from tests.processes import dprm, zygote
from tests.servers.llm import LLMProcess

KILLS = 60
CONCURRENCY = 8
WORKERS = CONCURRENCY + CONCURRENCY // 4 + 1  # calls sent, or answered and not yet acknowledged
ITEMS, PERSONAS = 36, 15


def test_killed_sixty_times(tmp_path: Path) -> None:
    write_rows(tmp_path / "pairs.jsonl", [{"prompt": f"question {i}", "response": "an answer"} for i in range(ITEMS)])
    moments = random.Random(7)
    kills = 0
    processes = zygote()
    with LLMProcess("--latency", "0.04") as server:
        recipe = write_recipe(tmp_path, server.url, panel="paper", limits={"concurrency": CONCURRENCY})
        answered = acknowledged = 0
        deadline = time.monotonic() + 100  # only against hanging
        while kills < KILLS and time.monotonic() < deadline:
            pid = processes.start("run", "--no-fit", recipe, cwd=tmp_path)
            # Most moments are in the middle of the calls; some are while it starts, some while it ends.
            time.sleep(moments.uniform(0.0, 0.35))
            os.kill(pid, signal.SIGKILL)
            ended = processes.end()
            assert ended.returncode == -9, ended
            kills += 1
            before_answered, before_acknowledged = answered, acknowledged
            answered, acknowledged = _settled(server), calls_in(tmp_path)
            assert acknowledged >= before_acknowledged, "an acknowledged reply is gone"
            lost = (answered - before_answered) - (acknowledged - before_acknowledged)
            assert 0 <= lost <= WORKERS, "more than what was in flight is paid for again"
            if acknowledged >= ITEMS * PERSONAS:
                break
        ended = dprm("run", "--no-fit", recipe, cwd=tmp_path)
        assert ended.returncode == 0, ended
        stats = server.stats()
    assert kills >= 50, f"it was through after {kills} kills: make it slower"
    assert stats["distinct"] == stats["answered_distinct"] == calls_in(tmp_path) == ITEMS * PERSONAS
    assert stats["answered"] - stats["answered_distinct"] <= kills * WORKERS
    print(
        f"{kills} kills, {stats['answered'] - stats['answered_distinct']} of {stats['answered']} calls paid for twice"
    )


def _settled(server: LLMProcess) -> int:
    """Calls that the server has answered, once it has noticed that nobody listens any more."""
    while (stats := server.stats())["in_flight"]:
        time.sleep(0.005)
    return int(stats["answered"])
