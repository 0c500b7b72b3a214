"""Runs in the caller's event loop, and their cancellation."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from dprm_data import DprmError, FunctionProvider, arun, open_run, run
from tests.helpers import PAIRS, ROOT, environ

MANY = [{"prompt": f"What is {i} + {i}?", "response": f"{2 * i}."} for i in range(30)]
RECIPE: dict[str, Any] = {"panel": "small", "labels": ["poor", "good"], "limits": {"concurrency": 4}}


class Asked:
    """A provider in the caller's loop; `pause` seconds a call. loops: where it was asked."""

    def __init__(self, pause: float = 0.0) -> None:
        self.pause, self.calls, self.answers, self.loops = pause, 0, 0, set[Any]()
        self.begun = asyncio.Event()

    def provider(self) -> FunctionProvider:
        async def ask(request: Any) -> str:
            self.calls += 1
            self.loops.add(asyncio.get_running_loop())
            if self.calls > 8:
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
    def one(i: int) -> Any:
        return arun(RECIPE, source=PAIRS, output=tmp_path / f"{i}", provider=Asked(0.01).provider(), progress=False)

    async def main() -> None:
        results = await asyncio.gather(*(one(i) for i in range(8)))
        assert [each.counters.calls for each in results] == [16] * 8

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
    again = run(RECIPE, source=MANY, output=tmp_path / "run", provider=again_provider(), progress=False)
    assert again.counters and again.counters.calls == 120 - answers  # nothing is asked twice


def again_provider() -> FunctionProvider:
    return FunctionProvider(lambda request: "good", family="asked")


def test_a_second_cancellation_leaves_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        asked = Asked(60)
        work = arun(
            RECIPE | {"limits": {"concurrency": 12}},
            source=MANY,
            output=tmp_path / "run",
            provider=asked.provider(),
            progress=False,
        )
        task = asyncio.create_task(work)
        while asked.calls < 1:
            await asyncio.sleep(0.01)
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
    read = 0

    def rows() -> Any:
        nonlocal read
        for i in range(60_000):
            read = i
            yield {"prompt": f"{i}?", "response": "Yes."}

    async def main() -> None:
        provider = Asked().provider()
        task = asyncio.create_task(
            arun(RECIPE, source=rows(), output=tmp_path / "run", provider=provider, progress=False)
        )
        while not read:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert read < 40_000
