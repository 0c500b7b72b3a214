"""Several workers on one PostgreSQL ledger, each asking several models: every call is sent once, and a model's cooldown is that model's."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import ExitStack
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from dprm_data.engine.shared.factory import coordinator_for, scope_of
from dprm_data.ledger.ledger import Ledger
from dprm_data.recipe.recipe import LimitsConfig, Recipe
from tests.engine.team import CONCURRENCY, IN_FLIGHT, PERSONAS, Team
from tests.processes import zygote
from tests.servers.llm import LLMProcess
from tests.servers.postgres import Database

ITEMS, MODELS = 8, 2


@pytest.mark.slow
def test_two_workers_and_one_is_killed(tmp_path: Path, postgres: Database) -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(LLMProcess("--latency", latency)) for latency in ("0.02", "0.06")]
        team = Team(tmp_path, servers[0], postgres, ITEMS)
        content = yaml.safe_load(team.recipe.read_text())
        del content["provider"]
        content["models"] = [
            {"name": "openai", "model": f"model-{i}", "base_url": f"{server.url}/v1"} | {"price": {"input": 0, "output": 0}}
            for i, server in enumerate(servers)
        ]  # fmt: skip
        team.recipe.write_text(yaml.safe_dump(content))
        pids = team.start(2)
        team.until(lambda stats: stats["answered"] >= 40)
        os.kill(pids[0], signal.SIGKILL)
        assert zygote().end(pids[0]).returncode == -9
        team.end(pids[1])
        for server in servers:
            stats = server.stats()
            assert stats["answered_distinct"] == stats["distinct"] == team.calls
            assert stats["answered"] - team.calls <= IN_FLIGHT
            assert stats["max_in_flight"] <= 2 * CONCURRENCY
    rows = pq.read_table(tmp_path / "run/tables/annotations.parquet").to_pylist()
    assert (
        len({(row["item_id"], row["annotator_id"], row["model_id"]) for row in rows})
        == len(rows)
        == MODELS * ITEMS * PERSONAS
    )
    # The killed worker's row stays until somebody joins or its work is missed; whoever ended by itself leaves nothing.
    names = [name for (name,) in postgres.execute("SELECT name FROM dprm.workers")]
    assert not [name for name in names if not name.endswith(f":{pids[0]}")], "left behind"


def test_a_cooldown_is_one_model_s_in_all_workers(postgres: Database) -> None:
    recipe = Recipe.of(
        {"models": [{"name": "openai", "model": name} for name in "ab"], "ledger": postgres.url, "limits": {"lease": 5}}
    )
    here, there = (scope_of(entry) for entry in recipe.entries)

    async def go() -> list[float]:
        with Ledger(postgres.address, run="r") as one, Ledger(postgres.address, run="r") as two:
            async with coordinator_for(one, recipe) as first, coordinator_for(two, recipe) as second:
                limits = LimitsConfig()
                hot = first.of_model(here).limiter(limits)
                limiters = [second.of_model(scope).limiter(limits) for scope in (here, there)]
                assert first.of_model(here).limiter(limits) is hot, "one limiter for all engines of a model"
                hot.cool_down(20.0)
                async with asyncio.timeout(10):
                    while not limiters[0].cooling:  # noqa: ASYNC110 - it comes from the database
                        await asyncio.sleep(0.05)
                return [limiter.cooling for limiter in [*limiters, first.of_model(there).limiter(limits)]]

    cooled, other, other_here = asyncio.run(go())
    assert cooled > 10
    assert other == other_here == 0
