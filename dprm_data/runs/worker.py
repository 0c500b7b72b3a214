"""A worker: one process's provider, budget and limits for a run. Several workers may share a run whose ledger is in PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Self

from dprm_data.core.errors import DprmError
from dprm_data.engine.canary import Canary
from dprm_data.engine.counters import Counters
from dprm_data.engine.direct import Engine
from dprm_data.engine.early_stopping import round_policy_for
from dprm_data.engine.forecast import forecast
from dprm_data.engine.jury_engine import JuryEngine
from dprm_data.engine.replay import TaskState
from dprm_data.engine.shared.factory import coordinator_for, scope_of
from dprm_data.ledger.ledger import Ledger
from dprm_data.providers.construction import make_provider
from dprm_data.providers.provider import Provider
from dprm_data.recipe.model_config import ModelConfig
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
        self._budget = self._coordinator.budget(limit, ledger)
        self._providers: dict[str, Provider] = {}
        self._rounds = round_policy_for(run.recipe.early_stop, run.space)
        self._forecasts: list[asyncio.Task[None]] = []
        self._canaries = {entry.id: self._canary(entry.id, total_items) for entry in run.recipe.entries}

    def engine(self, counters: Counters | None = None) -> Engine | JuryEngine:
        """A new engine, for one call of its `run`."""
        counters = counters or Counters()
        entries = self._run.recipe.entries
        if len(entries) == 1:
            return self._engine(entries[0], counters)
        engines = {entry.id: self._engine(entry, Counters()) for entry in entries}
        return JuryEngine(engines, counters, say=self._say)

    def _engine(self, entry: ModelConfig, counters: Counters) -> Engine:
        """An engine that asks one model."""
        provider = self._providers[entry.id]
        counters.endpoints = getattr(provider, "standings", ())
        limits = self._run.recipe.limits_of(entry)
        # A model on this machine answers few calls at a time; those of one item, made together, share its cache.
        most = min(limits.concurrency, getattr(provider, "concurrency", limits.concurrency))
        return Engine(
            provider=provider,
            ledger=self._ledger,
            prices=self._run.prices[entry.id],
            budget=self._budget,
            limits=limits.model_copy(update={"concurrency": most}),
            counters=counters,
            retry_failed=self._retry_failed,
            began=self._began,
            rounds=self._rounds,
            coordinator=self._coordinator.of_model(scope_of(entry)),
            canary=self._canaries[entry.id],
        )

    def _canary(self, id_: str, total_items: int | None) -> Canary:
        """One model's, for all engines that ask it."""
        run, part = self._run, self._run.work.parts[id_]
        prices, items = run.prices[id_], run.asked_items

        async def say_forecast(first: list[TaskState]) -> None:
            what = "the whole run" if len(run.prices) == 1 else f"the part of {id_}"
            if said := await forecast(part, items, prices, first, what=what):
                self._say(said)

        return Canary(
            give_up=run.recipe.limits.give_up_unusable,
            total=None if total_items is None else round(total_items * part.annotations_per_item),
            prices=prices,
            among=run.recipe.ray.fewest_and_most[1] if run.recipe.engine == "ray" else 1,
            heard=(lambda first: self._forecasts.append(asyncio.create_task(say_forecast(first))))
            if prices.known and items.is_file()
            else None,
        )

    async def __aenter__(self) -> Self:
        entries, own = self._run.recipe.entries, self._run.provider
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._coordinator)
            stack.push_async_callback(self._ledger.give_back)
            for entry in entries:
                provider = make_provider(entry, say=self._say) if own is None else own
                stack.push_async_callback(provider.aclose)
                self._providers[entry.id] = provider
            stack.push_async_callback(self._end_forecasts)
            self._open = stack.pop_all()
        return self

    async def __aexit__(self, *raised: object) -> None:
        # In turn: forecasts said, connections closed, what was reserved and not spent given back, the coordinator left.
        await self._open.__aexit__(*raised)  # type: ignore[arg-type]

    async def _end_forecasts(self) -> None:
        await asyncio.gather(*self._forecasts)


def check_budget(run: Run, limit: float | None) -> None:
    """Refuse a budget if prices are not known. Raises `DprmError`."""
    unknown = [id_ for id_, prices in run.prices.items() if not prices.known]
    if limit is not None and unknown:
        whose = "the price" if len(run.prices) == 1 else f"the price of {' and of '.join(unknown)}"
        raise DprmError(
            f"a budget cannot be kept, because {whose} is not known",
            hint="Give provider: price, or leave the budget out.",
        )
