"""The budget holds through `kill -9`: what was in flight then may have been billed, and counts as spent until somebody knows better."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

from tests.engine.helpers import dprm, zygote
from tests.helpers import answer, write_recipe, write_rows
from tests.servers.llm import LLMProcess

KILLS = 6
PRICE = {"input": 500.0, "output": 2000.0}  # dollars per million tokens


def billed(server: LLMProcess) -> float:
    """What the provider would charge for all that it was sent, whether or not anybody waited for the answer."""
    while (stats := server.stats())["in_flight"]:
        time.sleep(0.005)
    read, written = stats["billed"]
    return float(read * PRICE["input"] + written * PRICE["output"]) / 1e6


def test_six_kills_never_spend_more_than_the_budget(tmp_path: Path) -> None:
    write_rows(tmp_path / "pairs.jsonl", [{"prompt": f"question {i}", "response": "an answer"} for i in range(24)])
    moments = random.Random(11)
    with LLMProcess("--latency", "0.1") as server:
        recipe = write_recipe(
            tmp_path,
            server.url,
            panel="paper",
            limits={"concurrency": 24},
            provider={"name": "openai", "model": "m", "base_url": f"{server.url}/v1", "price": PRICE},
        )
        planned = answer(dprm("plan", recipe, "--json", cwd=tmp_path))
        budget = planned["cost"] * 0.75
        for _ in range(KILLS):
            pid = zygote().start("annotate", recipe, "--max-cost", budget, cwd=tmp_path)
            time.sleep(moments.uniform(0.25, 0.6))
            os.kill(pid, signal.SIGKILL)
            zygote().end()
        killed = answer(dprm("ledger", "stats", tmp_path / "run", "--json", cwd=tmp_path))
        # Runs until the budget is reached, or all is answered.
        ended = dprm("annotate", recipe, "--max-cost", budget, cwd=tmp_path)
        bill = billed(server)
        assert bill <= budget, f"billed ${bill:.2f} of ${budget:.2f}"
        stats = answer(dprm("ledger", "stats", tmp_path / "run", "--json", cwd=tmp_path))
        recorded, held = stats["totals"]["test"], stats["possibly_billed"]["test"]
        assert ended.returncode == 3, ended
        assert killed["possibly_billed"]["test"] == held > 0
        assert recorded < bill <= recorded + held <= budget
        # The rest of the budget is used: not even one worst case is left over.
        assert budget - recorded - held < 0.05 * budget
        assert "may have been billed" in ended.stderr and "dprm ledger settle" in ended.stderr

        # The provider's bill says what was billed: what it did not charge may be spent.
        told = dprm("ledger", "settle", tmp_path / "run", "--billed", bill - recorded, cwd=tmp_path)
        assert told.returncode == 0, told
        settled = answer(dprm("ledger", "stats", tmp_path / "run", "--json", cwd=tmp_path))
        assert settled["possibly_billed"] == {} and abs(settled["totals"]["test"] - bill) < 1e-6
        assert dprm("ledger", "check", tmp_path / "run", cwd=tmp_path).returncode == 0
        assert dprm("annotate", recipe, "--max-cost", budget, cwd=tmp_path).returncode == 3
        assert billed(server) <= budget
        finished = dprm("annotate", recipe, "--max-cost", planned["cost_at_most"] * 3, cwd=tmp_path)
        assert finished.returncode == 0, finished
        assert server.stats()["answered_distinct"] == 24 * 15
        stats = answer(dprm("ledger", "stats", tmp_path / "run", "--json", cwd=tmp_path))
        assert stats["possibly_billed"] == {}, "a clean end gives back what it held"
