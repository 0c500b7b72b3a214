"""The pool keeps calls with the worker that knows their prefix."""

from __future__ import annotations

import asyncio
import random

import pytest

from dprm_data.providers.prefix_pool import PrefixPool


class Workers:
    """Counts how often a worker had to read a prefix that was not its last."""

    def __init__(self, size: int) -> None:
        self.pool = PrefixPool(size)
        self.last = [""] * size
        self.busy = [False] * size
        self.cold: list[str] = []
        self.calls = 0

    async def call(self, hint: str, seconds: float = 0.002) -> int:
        async with self.pool.lease(hint) as worker:
            assert not self.busy[worker]
            self.busy[worker] = True
            if self.last[worker] != hint:
                self.cold.append(hint)
                self.last[worker] = hint
            self.calls += 1
            try:
                await asyncio.sleep(seconds)
            finally:
                self.busy[worker] = False
            return worker


@pytest.mark.parametrize("size", [1, 2, 4])
def test_every_item_is_read_once(size: int) -> None:
    """As the engine asks: an item's first call goes ahead, the others follow; many items at once."""

    async def run() -> Workers:
        workers = Workers(size)

        async def item(hint: str) -> None:
            await workers.call(hint)
            await asyncio.sleep(0.01)
            await asyncio.gather(*(workers.call(hint) for _ in range(4)))

        await asyncio.gather(*(item(f"item {i}") for i in range(12)))
        return workers

    workers = asyncio.run(run())
    assert workers.calls == 60
    assert len(workers.cold) <= 12 + size  # the last item may be taken over


def test_one_items_many_calls_are_shared_out() -> None:
    async def run() -> Workers:
        workers = Workers(2)
        workers.used = {await t for t in [asyncio.create_task(workers.call("item")) for _ in range(40)]}  # type: ignore[attr-defined]
        return workers

    workers = asyncio.run(run())
    assert workers.used == {0, 1}  # type: ignore[attr-defined]
    assert len(workers.cold) == 2


def test_calls_without_a_hint_wait_for_nobody() -> None:
    async def run() -> float:
        workers = Workers(1)
        loop = asyncio.get_running_loop()
        start = loop.time()
        for _ in range(10):
            await workers.call("", 0.0)
        return loop.time() - start

    assert asyncio.run(run()) < 0.2


def test_cancelled_callers_leave_no_worker_behind() -> None:
    async def run() -> int:
        workers = Workers(2)
        dice = random.Random(1)
        for _ in range(30):
            tasks = [asyncio.create_task(workers.call(f"item {i % 5}")) for i in range(20)]
            await asyncio.sleep(dice.random() / 200)
            for task in dice.sample(tasks, 15):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        async with asyncio.timeout(5):
            return len(set(await asyncio.gather(*(workers.call(str(i), 0.02) for i in range(4)))))

    assert asyncio.run(run()) == 2
