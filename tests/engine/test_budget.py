"""The budget holds: whatever the price table and the server do, with any concurrency."""

from __future__ import annotations

import asyncio
import math
import random
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dprm_data.core.errors import BudgetReached, PriceUnknown, ProviderUnusable
from dprm_data.core.ledger_address import LedgerAddress
from dprm_data.engine.budget import Budget
from dprm_data.engine.prices import Prices
from dprm_data.ledger.call import Call
from dprm_data.ledger.ledger import Ledger
from dprm_data.providers.request import Answer, CallFailed, Request, Usage
from dprm_data.providers.token_estimates import worst_case
from tests.engine.helpers import DOLLAR, RecordingProvider, annotate, items, label, work
from tests.helpers import answer, write_recipe, write_rows
from tests.processes import dprm
from tests.servers.llm import LLMServer

# What a price table may say instead of a price, and with which chance.
_NONSENSE: list[Any] = [None, math.nan, math.inf, -1.0, LookupError]


class CrookedTable:
    """A price table that now and then says nonsense about what a call cost (worst cases it does know)."""

    def __init__(self, seed: int, chance: float) -> None:
        self._dice = random.Random(seed)
        self._chance = chance

    def __call__(self, usage: Usage) -> float | None:
        dollars = usage.input_tokens + 3.0 * usage.output_tokens + 0.5 * usage.cache_write_tokens
        if usage.input_tokens < 500 and self._dice.random() < self._chance:
            said = self._dice.choice(_NONSENSE)
            if said is LookupError:
                raise LookupError("no such price")
            return said  # type: ignore[no-any-return]
        return dollars


class CrookedServer:
    """Answers, fails, bills for failures, times out after it has billed; checks the budget at every request. `bill` is what it really charges."""

    def __init__(self, seed: int, budget: Budget, *, overbills: bool) -> None:
        self._dice = random.Random(seed)
        self._budget = budget
        self._overbills = overbills
        self.bill = 0.0
        self.excess = 0.0
        self.sent_beyond = 0

    async def __call__(self, request: Request) -> Answer:
        budget, dice = self._budget, self._dice
        assert budget.settled + budget.reserved <= budget.limit + self.excess + 1e-6
        worst = worst_case(request)
        dearest = 1.5 * worst.input_tokens + 3.0 * worst.output_tokens
        await asyncio.sleep(dice.choice([0, 0, 0.0005]))
        kind = dice.choice(["answer"] * 6 + ["rate_limit", "server", "timeout", "broken", "connection", "billed"])
        given, said = dice.randint(0, worst.input_tokens), dice.randint(0, worst.output_tokens)
        usage = Usage(given, said, cache_write_tokens=dice.choice([0, given]))
        if self._overbills and dice.random() < 0.1:
            usage = Usage(3 * worst.input_tokens, worst.output_tokens)
        cost = usage.input_tokens + 3.0 * usage.output_tokens + 0.5 * usage.cache_write_tokens
        self.excess += max(0.0, cost - dearest)
        if kind == "answer":
            self.bill += cost
            return label(dice.choice(["1", "2", "3", "no idea"]), usage=usage)
        if kind == "billed":
            self.bill += cost
            raise CallFailed("broken", "half an answer", usage=usage)
        if kind in ("timeout", "broken", "connection") and dice.random() < 0.5:
            self.bill += cost  # answered and billed, but we never hear of it
        raise CallFailed(kind, "as it happens", retry_after=0.001)


@given(
    seed=st.integers(0, 10**6),
    concurrency=st.integers(1, 20),
    limit=st.floats(0, 400_000),
    nonsense=st.sampled_from([0.0, 0.2]),
    overbills=st.booleans(),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_settled_and_reserved_never_exceed_the_budget(
    seed: int, concurrency: int, limit: float, nonsense: float, overbills: bool
) -> None:
    budget = Budget(limit)
    server = CrookedServer(seed, budget, overbills=overbills)
    provider = RecordingProvider(server)
    prices = Prices(CrookedTable(seed, nonsense), "crooked")
    with tempfile.TemporaryDirectory() as folder:
        try:
            asked = work(3)
            annotate(
                Path(folder),
                provider,
                asked,
                items(12),
                prices=prices,
                budget=budget,
                concurrency=concurrency,
                attempts=2,
            )
        except (BudgetReached, ProviderUnusable):
            pass
        with Ledger(LedgerAddress.parse(Path(folder) / "ledger.sqlite"), run="test", readonly=True) as ledger:
            spent = ledger.spent()
    assert budget.reserved == 0
    assert budget.settled <= limit + server.excess + 1e-6
    assert server.bill <= budget.settled + server.excess + 1e-6, "it cost more than we know of"
    if not nonsense:  # what the table cannot say is settled at its worst, but not written down as a price
        assert spent == pytest.approx(budget.settled)


def test_an_overbilling_server_is_believed_the_next_time() -> None:
    async def go() -> None:
        budget = Budget(100.0)
        budget.settle(await budget.reserve(10.0), 20.0)
        assert await budget.reserve(10.0) == 20.0

    asyncio.run(go())


def test_a_call_whose_cost_is_not_known_costs_what_it_reserved() -> None:
    async def go() -> None:
        budget = Budget(10.0)
        budget.settle(await budget.reserve(4.0), None)
        assert budget.settled == 4.0
        without_limit = Budget(None)
        without_limit.settle(await without_limit.reserve(None), None)
        assert without_limit.settled == 0.0

    asyncio.run(go())


def test_a_budget_needs_a_price() -> None:
    async def go() -> None:
        assert await Budget(None).reserve(None) == 0.0
        with pytest.raises(PriceUnknown):
            await Budget(1.0).reserve(None)

    asyncio.run(go())


def test_the_whole_budget_is_used_before_it_is_said_to_be_reached(tmp_path: Path) -> None:
    async def complete(request: Request) -> Answer:
        await asyncio.sleep(0.001)
        return label(usage=Usage(48, 2))

    provider, asked, rows = RecordingProvider(complete), work(5), items(4)
    first = asked.tasks(rows[0])[0].next(())
    assert isinstance(first, Call)
    worst = DOLLAR.worst(first.request) or 0.0
    with pytest.raises(BudgetReached):
        annotate(tmp_path, provider, asked, rows, prices=DOLLAR, budget=Budget(worst + 400), concurrency=8)
    # Calls cost 50 each and could cost some thousand: sending ends only when not even one more worst case fits.
    assert 6 <= len(provider.requests) <= 12


def test_exit_code_3_a_usable_dataset_and_going_on(tmp_path: Path, double: LLMServer) -> None:
    write_rows(tmp_path / "pairs.jsonl", [{"prompt": f"q{i}", "response": "r"} for i in range(12)])
    recipe = write_recipe(tmp_path, double.url, panel="paper", limits={"concurrency": 4})
    planned = answer(dprm("plan", recipe, "--json", cwd=tmp_path))
    stopped = dprm("run", recipe, "--max-cost", planned["cost"] / 2, cwd=tmp_path)
    assert stopped.returncode == 3
    assert "the budget of" in stopped.stderr and "Raise the budget" in stopped.stderr
    partial = answer(dprm("show", tmp_path / "run", "--json", cwd=tmp_path))["summary"]
    assert 0 < partial["annotations"] < 180 and partial["items"] == 12
    spent = answer(dprm("plan", recipe, "--json", cwd=tmp_path))["spent"]
    assert 0 < spent <= planned["cost"] / 2
    # The budget is for all that the run's ledger holds, not for one process.
    assert dprm("run", recipe, "--max-cost", spent, cwd=tmp_path).returncode == 3
    finished = answer(dprm("run", recipe, "--max-cost", planned["cost_at_most"] * 2, "--json", cwd=tmp_path))
    assert finished["summary"]["annotations"] == 180
    assert double.tally.requests == len(double.tally.bodies) == 180
