"""A worker: all that one process needs to ask about a run's items. Several may be at work on one run where its ledger is in PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

from dprm_data.core.errors import DprmError
from dprm_data.engine.counters import Counters
from dprm_data.engine.direct import Engine
from dprm_data.engine.early_stopping import round_policy_for
from dprm_data.engine.shared.factory import coordinator_for
from dprm_data.ledger.ledger import Ledger
from dprm_data.providers import make_provider
from dprm_data.runs.run import Run


class Worker:
    """One process's part in a run: its provider, its budget, its place among the others. Use as an asynchronous context manager.

        async with Worker(run, ledger) as worker:
            await worker.engine(counters).run(run.work, items)

    As many engines may be made as there are batches of items; what they have learned about the provider's limits stays. max_cost: dollars, in
    place of the recipe's budget. began: when the run did, for `Engine`. Raises `DprmError`: `LedgerError` where the others cannot be met.
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

    def engine(self, counters: Counters | None = None) -> Engine:
        """An engine, good for one `run`."""
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
        )

    async def __aenter__(self) -> Self:
        recipe = self._run.recipe
        self._provider = make_provider(recipe.provider, say=self._say)
        # A model on this machine's own processors answers so many calls at a time; an item's calls together share its cache.
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
            await self._provider.aclose()
        finally:
            await self._coordinator.__aexit__(*raised)


def check_budget(run: Run, limit: float | None) -> None:
    """A budget of so many dollars needs prices. Raises `DprmError`."""
    if limit is not None and not run.prices.known:
        raise DprmError(
            "a budget cannot hold where the price is not known",
            hint="Give provider: price, or leave the budget away.",
        )
