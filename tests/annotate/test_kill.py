"""`kill -9` at random moments: nothing acknowledged is lost, nothing is paid for twice beyond what was in flight, and the end is reached."""

from __future__ import annotations

import random
import sqlite3
import time
from pathlib import Path

from tests.annotate.helpers import zygote
from tests.helpers import write_recipe, write_rows
from tests.servers.llm import LLMProcess

KILLS = 60
CONCURRENCY = 8
WORKERS = CONCURRENCY + CONCURRENCY // 4 + 1  # calls sent, or answered and not yet acknowledged
ITEMS, PERSONAS = 36, 15


def test_killed_sixty_times(tmp_path: Path) -> None:
    write_rows(tmp_path / "pairs.jsonl", [{"prompt": f"question {i}", "response": "an answer"} for i in range(ITEMS)])
    moments = random.Random(7)
    kills = 0
    with LLMProcess("--latency", "0.02") as server, zygote() as processes:
        recipe = write_recipe(tmp_path, server.url, panel="paper", limits={"concurrency": CONCURRENCY})
        answered = acknowledged = 0
        deadline = time.monotonic() + 100  # only against hanging
        while kills < KILLS and time.monotonic() < deadline:
            pid = processes.start("annotate", recipe, cwd=tmp_path, out=tmp_path / "out.txt")
            # Most moments are in the middle of the calls; some are while it starts, some while it ends.
            time.sleep(moments.uniform(0.0, 0.35))
            code = processes.kill(pid)
            assert code == -9, (tmp_path / "out.txt").read_text()
            kills += 1
            before_answered, before_acknowledged = answered, acknowledged
            answered, acknowledged = _settled(server), _rows(tmp_path)
            assert acknowledged >= before_acknowledged, "an acknowledged reply is gone"
            lost = (answered - before_answered) - (acknowledged - before_acknowledged)
            assert 0 <= lost <= WORKERS, "more than what was in flight is paid for again"
            if acknowledged >= ITEMS * PERSONAS:
                break
        processes.start("annotate", recipe, cwd=tmp_path, out=tmp_path / "out.txt")
        assert processes.wait() == 0, (tmp_path / "out.txt").read_text()
        stats = server.stats()
    assert kills >= 50, f"it was through after {kills} kills: make it slower"
    assert stats["distinct"] == stats["answered_distinct"] == _rows(tmp_path) == ITEMS * PERSONAS
    assert stats["answered"] - stats["answered_distinct"] <= kills * WORKERS
    print(
        f"{kills} kills, {stats['answered'] - stats['answered_distinct']} of {stats['answered']} calls paid for twice"
    )


def _settled(server: LLMProcess) -> int:
    """Calls that the server has answered, once it has noticed that nobody listens any more."""
    while (stats := server.stats())["in_flight"]:
        time.sleep(0.005)
    return int(stats["answered"])


def _rows(folder: Path) -> int:
    path = folder / "run" / "ledger.sqlite"
    if not path.exists():
        return 0
    db = sqlite3.connect(path)
    try:
        return int(db.execute("SELECT COUNT(*) FROM calls").fetchone()[0])
    except sqlite3.OperationalError:  # killed before there was a table
        return 0
    finally:
        db.close()
