"""The budget holds through `kill -9`: what was in flight then may have been billed, and counts as spent until somebody knows better."""

from __future__ import annotations

import os
import random
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import answer, write_recipe, write_rows
from tests.processes import dprm, zygote
from tests.servers.llm import LLMProcess

KILLS = 6
PRICE = {"input": 500.0, "output": 2000.0}  # dollars per million tokens


def billed(server: LLMProcess) -> float:
    """What the provider would charge for all that it was sent, whether or not anybody waited for the answer."""
    while (stats := server.stats())["in_flight"]:
        time.sleep(0.005)
    read, written = stats["billed"]
    return float(read * PRICE["input"] + written * PRICE["output"]) / 1e6


def some_more(server: LLMProcess, requests: int) -> None:
    """Wait until the server was sent so many more; or long enough, where the budget is reached and nothing more is sent."""
    wanted = server.stats()["requests"] + requests
    deadline = time.monotonic() + 4
    while server.stats()["requests"] < wanted and time.monotonic() < deadline:
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize("store", ["file", "postgres"])
def test_six_kills_never_spend_more_than_the_budget(store: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    more: dict[str, Any] = {}
    environment: dict[str, str] = {}
    if store == "postgres":
        database = request.getfixturevalue("postgres")
        more, environment = {"ledger": database.url}, database.environment
    write_rows(tmp_path / "pairs.jsonl", [{"prompt": f"question {i}", "response": "an answer"} for i in range(24)])
    moments = random.Random(11)
    command = partial(dprm, cwd=tmp_path, **environment)
    with LLMProcess("--latency", "0.1") as server:
        recipe = write_recipe(
            tmp_path,
            server.url,
            panel="paper",
            limits={"concurrency": 24, "lease": 1},
            provider={"name": "openai", "model": "m", "base_url": f"{server.url}/v1", "price": PRICE},
            **more,
        )
        planned = answer(command("plan", recipe, "--json"))
        budget = planned["cost"] * 0.75
        for _ in range(KILLS):
            pid = zygote().start("run", "--no-fit", recipe, "--max-cost", budget, cwd=tmp_path, **environment)
            some_more(server, moments.randint(1, 50))
            os.kill(pid, signal.SIGKILL)
            zygote().end()
            time.sleep(1.1 * bool(environment))  # until its lease has expired
        killed = answer(command("ledger", "stats", tmp_path / "run", "--json"))
        # Runs until the budget is reached, or all is answered.
        ended = command("run", "--no-fit", recipe, "--max-cost", budget)
        bill = billed(server)
        assert bill <= budget, f"billed ${bill:.2f} of ${budget:.2f}"
        stats = answer(command("ledger", "stats", tmp_path / "run", "--json"))
        recorded, held = stats["totals"]["test"], stats["possibly_billed"]["test"]
        assert ended.returncode == 3, ended
        assert killed["possibly_billed"]["test"] == held > 0
        assert recorded < bill <= recorded + held <= budget * (1 + 1e-9)
        # The rest of the budget is used: not even one worst case is left over.
        assert budget - recorded - held < 0.05 * budget
        assert "may have been billed" in ended.stderr and "dprm ledger settle" in ended.stderr

        # The provider's bill says what was billed: what it did not charge may be spent.
        told = command("ledger", "settle", tmp_path / "run", "--billed", bill - recorded)
        assert told.returncode == 0, told
        settled = answer(command("ledger", "stats", tmp_path / "run", "--json"))
        assert settled["possibly_billed"] == {} and abs(settled["totals"]["test"] - bill) < 1e-6
        assert command("ledger", "check", tmp_path / "run").returncode == 0
        assert command("run", "--no-fit", recipe, "--max-cost", budget).returncode == 3
        assert billed(server) <= budget
        finished = command("run", "--no-fit", recipe, "--max-cost", planned["cost_at_most"] * 3, "--json")
        assert answer(finished)["annotate"]["possibly_billed"] == 0
        assert server.stats()["answered_distinct"] == 24 * 15
        stats = answer(command("ledger", "stats", tmp_path / "run", "--json"))
        assert stats["possibly_billed"] == {}, "a clean end gives back what it held"


def test_nothing_to_settle_and_no_amount(tmp_path: Path) -> None:
    with LLMProcess() as server:
        recipe = write_recipe(tmp_path, server.url)
        assert dprm("run", "--no-fit", recipe, cwd=tmp_path).returncode == 0
    for amount, words in (("1", "nothing to settle"), ("-1", "must be an amount"), ("nan", "must be an amount")):
        told = dprm("ledger", "settle", tmp_path / "run", f"--billed={amount}", cwd=tmp_path)
        assert told.returncode == 2 and words in told.stderr, told
