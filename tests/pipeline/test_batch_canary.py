"""The direct calls before the first batch: what they may cost is held in the ledger while they are in flight, and given back."""

from __future__ import annotations

import asyncio
from pathlib import Path

from dprm_data.engine.counters import Counters
from dprm_data.ingest.items import store_items
from dprm_data.pipeline.batch_canary import try_directly
from dprm_data.providers.request import Answer, Request
from dprm_data.recipe.recipe import Recipe
from dprm_data.runs.folder import RunFolder
from dprm_data.runs.run import Run
from tests.engine.helpers import RecordingProvider, items, label


def test_what_is_in_flight_is_held(tmp_path: Path) -> None:
    held: list[float] = []

    async def complete(request: Request) -> Answer:
        held.append(sum(hold.held for hold in ledger.store.holds()))
        return label("2")

    price = {"input": 1.0, "output": 1.0}
    recipe = Recipe.of({"provider": {"name": "openai", "model": "m", "price": price}, "labels": 3, "name": "test"})
    run = Run(recipe, RunFolder(tmp_path), provider=RecordingProvider(complete))
    store_items(items(20), run.folder.table("items"))
    with run.ledger() as ledger:
        asyncio.run(try_directly(run, ledger, 1.0, Counters(), calls=10_000, retry_failed=False))
        assert held
        assert all(held)
        assert ledger.possibly_billed() == 0
        assert ledger.spent() > 0
