"""A worker: one process's provider, budget and limits for a run. Several workers may share a run whose ledger is in PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Self

from dprm_data.core.errors import DprmError
from dprm_data.engine.canary import Canary
from dprm_data.engine.counters import Counters
from dprm_data.engine.direct import Engine
from dprm_data.engine.early_stopping import round_policy_for
from dprm_data.engine.forecast import forecast
from dprm_data.engine.replay import TaskState
from dprm_data.engine.shared.factory import coordinator_for
from dprm_data.ledger.ledger import Ledger
from dprm_data.providers.construction import make_provider
from dprm_data.runs.run import Run


class Worker:
    """One process's share of a run: its provider, its budget, and its coordination with other workers. An asynchronous context manager:

        async with Worker(run, ledger) as worker:
            await worker.engine(counters).run(run.work, items)

    Make an engine per batch of items; they share what they learn about the provider's limits. max_cost: dollars, overriding the recipe's
    budget. began: when the run began, for `Engine`. total_items: of the run, where that is known. Raises `DprmError`: `LedgerError` if it cannot join the other workers.
    """

    def __init__(
        self,
        run: Run,
        ledger: Ledger,
        *,
        max_cost: float | None = None,
        retry_failed: bool = False,
        began: float | None = None,
        say: Callable[[str], None] | None = None,
        total_items: int | None = None,
    ) -> None:
        self._run = run
        self._ledger = ledger
        self._retry_failed = retry_failed
        self._began = began
        self._say = say or run.progress.say
        self._coordinator = coordinator_for(ledger, run.recipe)
        limit = max_cost if max_cost is not None else run.recipe.budget.max_cost
        check_budget(run, limit)
        self._budget = self._coordinator.budget(limit, ledger.spent() if limit is not None else 0.0)
        self._rounds = round_policy_for(run.recipe.early_stop, run.space)
        self._forecasting: asyncio.Task[None] | None = None
        self._canary = Canary(
            give_up=run.recipe.limits.give_up_unusable,
            total=None if total_items is None else total_items * run.work.annotations_per_item,
            prices=run.prices,
            among=run.recipe.ray.fewest_and_most[1] if run.recipe.engine == "ray" else 1,
            heard=self._heard if run.prices.known and run.folder.table("items").is_file() else None,
        )

    def engine(self, counters: Counters | None = None) -> Engine:
        """A new engine, for one call of its `run`."""
        counters = counters or Counters()
        counters.endpoints = getattr(self._provider, "standings", ())
        return Engine(
            provider=self._provider,
            ledger=self._ledger,
            prices=self._run.prices,
            budget=self._budget,
            limits=self._limits,
            counters=counters,
            retry_failed=self._retry_failed,
            began=self._began,
            rounds=self._rounds,
            coordinator=self._coordinator,
            canary=self._canary,
        )

    def _heard(self, first: list[TaskState]) -> None:
        self._forecasting = asyncio.create_task(self._forecast(first))

    async def _forecast(self, first: list[TaskState]) -> None:
        """Say what the run is expected to cost, now that these tasks have ended."""
        items = self._run.folder.table("items")
        if said := await forecast(self._run.work, items, self._run.prices, first):
            self._say(said)

    async def __aenter__(self) -> Self:
        recipe = self._run.recipe
        own = self._run.provider
        self._provider = make_provider(recipe.provider, say=self._say) if own is None else own
        # A model on this machine answers few calls at a time; those of one item, made together, share its cache.
        most = min(recipe.calls_at_once, getattr(self._provider, "concurrency", recipe.calls_at_once))
        self._limits = recipe.limits.model_copy(update={"concurrency": most})
        try:
            await self._coordinator.__aenter__()
        except BaseException:
            await self._provider.aclose()
            raise
        return self

    async def __aexit__(self, *raised: object) -> None:
        try:
            if self._forecasting:
                await self._forecasting
            await self._provider.aclose()
        finally:
            await self._coordinator.__aexit__(*raised)


def check_budget(run: Run, limit: float | None) -> None:
    """Refuse a budget if prices are not known. Raises `DprmError`."""
    if limit is not None and not run.prices.known:
        raise DprmError(
            "a budget cannot be kept, because the price is not known",
            hint="Give provider: price, or leave the budget out.",
        )
