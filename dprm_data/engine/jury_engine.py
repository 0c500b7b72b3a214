"""The jury's engine: several models at once, each with an engine of its own, under one budget and one ledger.

Each model goes through the items at its own pace, with its own connections, limits, cooldowns and failures, so a slow one holds nobody up
and one that is down ends alone: the others finish, and then the run says which is missing. What stops everybody (the budget, the ledger,
the user) stops all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from dprm_data.core.errors import ProviderUnusable
from dprm_data.elicit.work import Work
from dprm_data.engine.counters import Counters
from dprm_data.engine.direct import Engine
from dprm_data.ingest.items import Item

_EVERY = 0.2  # seconds between two sums of the counters


class JuryEngine:
    """Runs the work of a recipe with several models. `counters` are the sum over them.

    engines: by the model's id, each with counters of its own. say: receives what must be known at once.
    """

    def __init__(self, engines: Mapping[str, Engine], counters: Counters, *, say: Callable[[str], None]) -> None:
        self.counters = counters
        self._engines = engines
        self._say = say
        self._down: dict[str, ProviderUnusable] = {}
        self._reason: BaseException | None = None
        counters.models = {id_: engine.counters for id_, engine in engines.items()}

    async def run(self, work: Work, items: Iterable[Item]) -> None:
        """Make all missing calls of all models. Raises what stopped the run (a `DprmError`): `ProviderUnusable` if models are down, once
        the others are through.

        items: iterated once by each model.
        """
        summing = asyncio.create_task(self._keep_summing())
        try:
            await asyncio.gather(*(self._run_one(id_, part, items) for id_, part in work.parts.items()))
        finally:
            summing.cancel()
            with suppress(asyncio.CancelledError):
                await summing
            self.counters.mirror(total(self.counters.models))
        if self._reason:
            raise self._reason
        if self._down:
            raise _unusable(self._down, len(self._engines))

    def stop(self, reason: BaseException) -> None:
        """Send nothing more to any model. Calls in flight finish and are kept; the run then raises `reason`."""
        self._reason = self._reason or reason
        for engine in self._engines.values():
            engine.stop(reason)

    async def _run_one(self, id_: str, part: Work, items: Iterable[Item]) -> None:
        try:
            await self._engines[id_].run(part, items)
        except ProviderUnusable as error:
            if not self._reason:
                self._down[id_] = error
                self._say(f"{id_} has stopped: {error.message}")
        except Exception as error:
            self.stop(error)

    async def _keep_summing(self) -> None:
        while True:
            self.counters.mirror(total(self.counters.models))
            await asyncio.sleep(_EVERY)


def total(models: Mapping[str, Counters]) -> Counters:
    """The counters of all models together. An item is done once all models are through with it."""
    found = Counters(models=models)
    for each in models.values():
        found.add_calls(each)
        found.add_done(each)
        found.add_state(each)
    found.workers = max(each.workers for each in models.values())
    found.calls_together = max(each.calls_together for each in models.values())
    found.items = min(each.items for each in models.values())
    found.endpoints = [endpoint for each in models.values() for endpoint in each.endpoints]
    return found


def _unusable(down: Mapping[str, ProviderUnusable], count: int) -> ProviderUnusable:
    lines = [f"{id_}: {error.message}" + (f"\n  {error.hint}" if error.hint else "") for id_, error in down.items()]
    rest = "no model is left" if len(down) == count else f"the other {count - len(down)} have finished"
    have = "has" if len(down) == 1 else "have"
    return ProviderUnusable(
        f"{len(down)} of {count} models {have} stopped, and {rest}\n" + "\n".join(lines),
        hint="Run again to ask only what is missing (with --retry-failed, also what failed for good), or take the model out of models.",
    )
