"""`mode: batch`: handed over, closed, started again, collected; every row once, whatever becomes of the batches."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.engine.test_faults import rows_with, statuses
from tests.helpers import answer, write_recipe
from tests.processes import dprm, zygote
from tests.servers.llm import LLMProcess, LLMServer

MODELS = {"openai": "gpt-4o-mini", "anthropic": "claude-haiku-4-5"}


def batch_recipe(folder: Path, url: str, provider: str = "openai", **changes: Any) -> Path:
    settings = {"name": provider, "model": MODELS[provider], "base_url": f"{url}/v1"}
    limits = {"poll_every": 0.05} | changes.pop("limits", {})
    return write_recipe(folder, url, mode="batch", provider=settings, limits=limits, **changes)


def shelf(folder: Path) -> int:
    return int(sqlite3.connect(folder / "run/ledger.sqlite").execute("SELECT COUNT(*) FROM batches").fetchone()[0])


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_every_row_once_at_half_the_price(tmp_path: Path, double: LLMServer, provider: str) -> None:
    rows_with(tmp_path, plain=6)
    done = answer(dprm("run", batch_recipe(tmp_path, double.url, provider), "--json", cwd=tmp_path))
    assert done["summary"]["statuses"] == {"ok": done["annotate"]["annotations"]}
    assert double.tally.requests == len(double.tally.bodies) == done["annotate"]["annotations"]
    assert shelf(tmp_path) == 0
    (tmp_path / "direct").mkdir()
    rows_with(tmp_path / "direct", plain=6)
    settings = {"name": provider, "model": MODELS[provider], "base_url": f"{double.url}/v1"}
    direct = answer(
        dprm("run", write_recipe(tmp_path / "direct", double.url, provider=settings), "--json", cwd=tmp_path / "direct")
    )
    assert done["annotate"]["cost"] == pytest.approx(direct["annotate"]["cost"] / 2)
    again = answer(dprm("run", batch_recipe(tmp_path, double.url, provider), "--json", cwd=tmp_path))
    assert again["annotate"]["calls"] == 0


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_expired_and_failed_rows_are_sent_again_and_answers_asked_again(
    tmp_path: Path, double: LLMServer, provider: str
) -> None:
    faults = ["expired:1", "missing:1", "500:1", "429:2", "400", "unparsable", "refusal", "500:9"]
    rows_with(tmp_path, *faults, plain=2)
    recipe = batch_recipe(tmp_path, double.url, provider, limits={"attempts": 3})
    done = answer(dprm("run", recipe, "--json", cwd=tmp_path))
    found = {mark: {status for status, _ in pairs} for mark, pairs in statuses(tmp_path).items()}
    assert found.pop("[[fault:400]]") == {"rejected"}
    assert found.pop("[[fault:500:9]]") == {"exhausted"}
    assert found.pop("[[fault:refusal]]") == {"refusal"}
    assert found.pop("[[fault:unparsable]]") == {"unparsable"}
    assert set(map(frozenset, found.values())) == {frozenset({"ok"})}, found
    assert sum(done["annotate"]["statuses"].values()) == done["annotate"]["annotations"]
    assert shelf(tmp_path) == 0


def wait_for_pending_batch(folder: Path) -> None:
    """Until a batch is known to be at the provider."""
    while True:
        if (folder / "run/ledger.sqlite").exists():
            try:
                db = sqlite3.connect(folder / "run/ledger.sqlite")
                if db.execute("SELECT COUNT(batch_id) FROM batches").fetchone()[0]:
                    return
            except sqlite3.OperationalError:
                pass
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_closed_and_collected_later(tmp_path: Path, how: int) -> None:
    rows_with(tmp_path, plain=6)
    with LLMProcess() as server:
        server.script(batch_seconds=3.0)
        recipe = batch_recipe(tmp_path, server.url)
        pid = zygote().start("run", recipe, cwd=tmp_path)
        wait_for_pending_batch(tmp_path)
        os.kill(pid, how)
        ended = zygote().end()
        if how == signal.SIGINT:
            assert ended.returncode == 130 and "1 batch at the provider" in ended.stderr, ended
        assert shelf(tmp_path) == 1 and server.stats()["requests"] == 0
        # Started again, it hands nothing over twice: it waits for what is there, and collects it.
        done = answer(dprm("run", recipe, "--json", cwd=tmp_path))
        stats = server.stats()
    assert shelf(tmp_path) == 0
    assert done["annotate"]["calls"] == done["annotate"]["annotations"] == stats["requests"] == stats["distinct"]


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_a_batch_whose_taking_we_never_heard_of_is_found_again(
    tmp_path: Path, double: LLMServer, provider: str
) -> None:
    rows_with(tmp_path, plain=6)
    double.script({"lose_batches": True})
    done = answer(dprm("run", batch_recipe(tmp_path, double.url, provider), "--json", cwd=tmp_path))
    assert done["summary"]["statuses"].keys() == {"ok"}
    assert double.tally.requests == len(double.tally.bodies) == done["annotate"]["annotations"], (
        "nothing was paid twice"
    )


def test_batches_are_split_at_the_provider_s_limits(tmp_path: Path) -> None:
    import asyncio

    from dprm_data.core.ledger_address import LedgerAddress
    from dprm_data.engine.batch import BatchEngine
    from dprm_data.engine.budget import Budget
    from dprm_data.ledger.ledger import Ledger
    from dprm_data.providers.construction import make_batch_provider
    from dprm_data.recipe.provider_config import ProviderConfig
    from dprm_data.recipe.recipe import LimitsConfig
    from tests.engine.helpers import FREE, items, work

    with LLMServer() as double:
        config = ProviderConfig(name="openai", model="gpt-4o-mini", base_url=f"{double.url}/v1")
        asked, rows = work(5), items(10)
        submitted: list[int] = []

        async def go() -> None:
            provider = make_batch_provider(config, {})
            provider.max_requests = 12  # type: ignore[misc]
            submit = provider.submit

            async def counted(given: Any, *, tag: str = "") -> str:
                kept = list(given)
                submitted.append(len(kept))
                return await submit(kept, tag=tag)

            provider.submit = counted  # type: ignore[method-assign]
            with Ledger(LedgerAddress.parse(tmp_path / "l.sqlite"), run="r") as ledger:
                limits = LimitsConfig(poll_every=0.05)
                engine = BatchEngine(provider=provider, ledger=ledger, prices=FREE, budget=Budget(None), limits=limits)
                async with asyncio.timeout(60):
                    await engine.run(asked, lambda: rows)
            await provider.aclose()

        asyncio.run(go())
    assert submitted == [12, 12, 12, 12, 2]


def test_the_budget_holds_for_what_is_pending(tmp_path: Path, double: LLMServer) -> None:
    rows_with(tmp_path, plain=12)
    recipe = batch_recipe(tmp_path, double.url)
    planned = answer(dprm("plan", recipe, "--json", cwd=tmp_path))
    limit = planned["cost_at_most"] / 3
    stopped = dprm("run", recipe, "--max-cost", limit / 3, cwd=tmp_path)
    assert stopped.returncode == 3 and "the budget of" in stopped.stderr
    spent = answer(dprm("plan", recipe, "--json", cwd=tmp_path))["spent"]
    assert 0 < spent <= limit / 3
    assert answer(dprm("run", recipe, "--json", cwd=tmp_path))["summary"]["statuses"].keys() == {"ok"}


@pytest.mark.slow
def test_a_refused_batch_is_tried_smaller(tmp_path: Path, double: LLMServer) -> None:
    rows_with(tmp_path, plain=4)
    double.script({"batch_refusal": "token_limit_exceeded"})
    zygote().start("run", batch_recipe(tmp_path, double.url, limits={"poll_every": 0.02}), cwd=tmp_path)
    time.sleep(1)
    double.script({"batch_refusal": None})
    ended = zygote().end()
    assert ended.returncode == 0, ended
    assert "without a label" not in ended.stdout and double.tally.requests == len(double.tally.bodies) == 16


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_killed_at_random_moments_nothing_at_all_is_paid_twice(tmp_path: Path, provider: str) -> None:
    """Unlike direct calls, what was in flight is not lost: it is at the provider, and found again."""
    rows_with(tmp_path, "500:1", plain=8)
    moments = random.Random(3)
    with LLMProcess() as server:
        server.script(batch_seconds=0.5)
        recipe = batch_recipe(tmp_path, server.url, provider)
        for _ in range(12):
            pid = zygote().start("run", "--no-fit", recipe, cwd=tmp_path)
            time.sleep(moments.uniform(0.1, 0.7))
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            zygote().end()
        done = answer(dprm("run", "--no-fit", recipe, "--json", cwd=tmp_path))["annotate"]
        stats = server.stats()
    assert done["annotations"] == 36 and shelf(tmp_path) == 0
    assert stats["answered"] == stats["answered_distinct"] == 36
    assert stats["requests"] == 36 + 4, "four rows failed once"
