"""Runs in the caller's event loop, and their cancellation."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from dprm_data import DprmError, FunctionProvider, arun, open_run, run
from tests.helpers import PAIRS

MANY = [{"prompt": f"What is {i} + {i}?", "response": f"{2 * i}."} for i in range(30)]
RECIPE: dict[str, Any] = {"panel": "small", "labels": ["poor", "good"], "limits": {"concurrency": 4}}


class Asked:
    """A provider in the caller's loop; `pause` seconds a call. loops: where it was asked; begun: set once there were `enough` calls."""

    def __init__(self, pause: float = 0.0, enough: int = 9) -> None:
        self.pause, self.enough, self.calls, self.answers, self.loops = pause, enough, 0, 0, set[Any]()
        self.begun = asyncio.Event()

    def provider(self) -> FunctionProvider:
        async def ask(request: Any) -> str:
            self.calls += 1
            self.loops.add(asyncio.get_running_loop())
            if self.calls >= self.enough:
                self.begun.set()
            await asyncio.sleep(self.pause)
            self.answers += 1
            return "good"

        return FunctionProvider(ask, family="asked")


def test_calls_are_made_in_the_callers_loop_which_stays_free(tmp_path: Path) -> None:
    async def main() -> None:
        asked, ticks = Asked(0.01), 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.01)

        ticking = asyncio.create_task(tick())
        result = await arun(RECIPE, source=PAIRS, output=tmp_path / "run", provider=asked.provider(), progress=False)
        ticking.cancel()
        assert result.counters and result.counters.calls == 16 and result.distributions.num_rows == 4
        assert asked.loops == {asyncio.get_running_loop()} and ticks > 3

    asyncio.run(main())


def test_several_runs_at_once(tmp_path: Path) -> None:
    """Each has a thread of its own: with the loop's few, functions that are asked there would find none."""

    def one(i: int) -> Any:
        ask = FunctionProvider(lambda request: "good", family="asked")
        return arun(RECIPE, source=PAIRS[:2], output=tmp_path / f"{i}", provider=ask, progress=False)

    async def main() -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2))
        async with asyncio.timeout(60):
            results = await asyncio.gather(*(one(i) for i in range(3)))
        assert [each.counters.calls for each in results] == [8] * 3

    asyncio.run(main())


def test_a_cancelled_task_keeps_every_answer(tmp_path: Path) -> None:
    async def main() -> tuple[int, int]:
        asked = Asked(0.05)
        work = arun(RECIPE, source=MANY, output=tmp_path / "run", provider=asked.provider(), progress=False)
        task = asyncio.create_task(work)
        await asked.begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return asked.calls, asked.answers

    calls, answers = asyncio.run(main())
    assert 8 < calls == answers < 100  # those in flight have finished, and no more were sent
    opened = open_run(tmp_path / "run")
    assert opened.annotations.num_rows == answers and opened.distributions.num_rows == 30
    ask = FunctionProvider(lambda request: "good", family="asked")
    again = run(RECIPE, source=MANY, output=tmp_path / "run", provider=ask, progress=False)
    assert again.counters and again.counters.calls == 120 - answers  # nothing is asked twice


def test_a_second_cancellation_leaves_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        asked = Asked(60, enough=1)
        work = arun(
            RECIPE | {"limits": {"concurrency": 12}},
            source=MANY,
            output=tmp_path / "run",
            provider=asked.provider(),
            progress=False,
        )
        task = asyncio.create_task(work)
        await asked.begun.wait()
        task.cancel()
        await asyncio.sleep(0.1)
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 20)

    asyncio.run(main())


def test_a_timeout_is_a_cancellation(tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.4):
                provider = Asked(0.05).provider()
                await arun(RECIPE, source=MANY, output=tmp_path / "run", provider=provider, progress=False)
        with pytest.raises(DprmError, match="no source"):
            await arun(RECIPE, output=tmp_path / "other", provider=Asked().provider(), progress=False)

    asyncio.run(main())


def test_the_source_is_not_read_on_after_a_cancellation(tmp_path: Path) -> None:
    read, begun = 0, threading.Event()

    def rows() -> Any:
        nonlocal read
        for i in range(60_000):
            read = i
            begun.set()
            yield {"prompt": f"{i}?", "response": "Yes."}

    async def main() -> None:
        provider = Asked().provider()
        task = asyncio.create_task(
            arun(RECIPE, source=rows(), output=tmp_path / "run", provider=provider, progress=False)
        )
        await asyncio.to_thread(begun.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert read < 40_000
