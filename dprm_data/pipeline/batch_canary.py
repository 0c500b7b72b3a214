"""The canary of `mode: batch`: a handful of direct calls, at the direct price, before anything is submitted.

A small first batch would say the same, a day later. The answers count: the batches ask for the rest. Small runs do without, as their batches
cost little more than the handful would; so do runs that have batches at the provider, or labels in the ledger.
"""

from __future__ import annotations

import itertools

from dprm_data.engine.budget import Budget
from dprm_data.engine.canary import Canary
from dprm_data.engine.cost_estimates import voice_of
from dprm_data.engine.counters import Counters
from dprm_data.engine.direct import Engine
from dprm_data.engine.early_stopping import round_policy_for
from dprm_data.engine.prices import prices_for
from dprm_data.ingest.items import load_items
from dprm_data.ledger.ledger import Ledger
from dprm_data.providers.construction import make_provider
from dprm_data.runs.run import Run

_FEWEST_CALLS = 1000  # of a run that is worth the handful
_ITEMS = 20


class _Answered(Exception):
    """There is a label: the rest is for the batches."""


async def try_directly(
    run: Run, ledger: Ledger, limit: float | None, counters: Counters, *, calls: int, retry_failed: bool
) -> None:
    """Make the first calls, until each way of asking has a label. limit: of the run's budget; calls: of the run. Raises `ProviderUnusable` if none has one, or another
    `DprmError` that would have stopped the run."""
    limits, recipe = run.recipe.limits, run.recipe
    if not limits.give_up_unusable or calls < _FEWEST_CALLS or ledger.store.batches(ledger.run):
        return
    [entry] = recipe.entries  # more are refused in this mode
    prices = prices_for(entry, allow_unknown=recipe.budget.allow_unknown_price or run.provider is not None)
    provider = make_provider(entry, say=run.progress.say) if run.provider is None else run.provider
    items = list(itertools.islice(load_items(run.asked_items), _ITEMS))
    voices = {voice_of(task) for item in items[:1] for task in run.work.tasks(item)}

    def labelled() -> None:
        if canary.has_labels(voices):
            engine.stop(_Answered())

    canary = Canary(give_up=limits.give_up_unusable, total=calls, prices=prices, labelled=labelled)
    engine = Engine(
        provider=provider,
        ledger=ledger,
        prices=prices,
        budget=Budget(limit, ledger.spent() if limit is not None else 0.0, ledger=ledger),
        limits=limits,
        retry_failed=retry_failed,
        rounds=round_policy_for(recipe.early_stop, run.space),
        canary=canary,
    )
    try:
        await engine.run(run.work, items)
    except _Answered:
        pass
    finally:
        counters.add_calls(engine.counters)
        await ledger.give_back()
        if run.provider is None:
            await provider.aclose()
