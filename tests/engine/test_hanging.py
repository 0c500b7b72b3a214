"""Calls that hang, in virtual time: they hold up nothing for long, end nothing, and cost what they may have cost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.virtual_time import virtual_run
from dprm_data import FunctionProvider
from dprm_data.engine.budget import Budget
from dprm_data.engine.cancellation import Cancellation
from dprm_data.engine.client import RetryingClient
from dprm_data.engine.counters import Counters
from dprm_data.ledger.call import Call, Reply
from dprm_data.providers.limits import Limiter
from dprm_data.providers.request import Answer, Request, Usage
from dprm_data.recipe.recipe import LimitsConfig
from tests.engine.helpers import DOLLAR, label


class Memory:
    """A ledger that keeps nothing."""

    def note_failure(self, failed: Any) -> None:
        return None

    async def record(self, key: bytes, reply: Reply) -> None:
        return None


def ask(
    complete: Callable[[Request], Awaitable[Answer]], calls: int
) -> tuple[float, list[Reply], RetryingClient, Budget]:
    """Ask so many questions, eight at a time. Returns the seconds, the replies, the client and the budget."""

    async def go() -> tuple[float, list[Reply], RetryingClient, Budget]:
        budget = Budget(1e9)
        client = RetryingClient(
            provider=FunctionProvider(complete),
            ledger=Memory(),  # type: ignore[arg-type]
            prices=DOLLAR,
            budget=budget,
            limits=LimitsConfig(concurrency=8),
            limiter=Limiter(concurrency=8),
            counters=Counters(),
            stop=Cancellation(),
        )

        async def one(number: int) -> Reply:
            message = {"role": "user", "content": f"question {number}."}
            asked = Request("m", (message,), {"max_tokens": 5}, cache_hint=str(number))  # type: ignore[arg-type]
            return await client.reply(Call(number.to_bytes(8, "big"), asked), missing=True)

        begun = asyncio.get_running_loop().time()
        replies = await asyncio.gather(*map(one, range(calls)))
        return asyncio.get_running_loop().time() - begun, replies, client, budget

    return virtual_run(go())


def is_about(request: Request, *numbers: int) -> bool:
    return request.messages[0]["content"] in {f"question {number}." for number in numbers}


def test_two_prompts_that_hang_are_given_up_and_nobody_is_blamed() -> None:
    async def complete(request: Request) -> Answer:
        await asyncio.sleep(3600 if is_about(request, 150, 390) else 1.0)
        return label(usage=Usage(10, 2))

    seconds, replies, client, budget = ask(complete, 400)
    assert [number for number, reply in enumerate(replies) if reply.status != "answered"] == [150, 390]
    assert "no answer within" in replies[150].reason
    assert 50 < seconds < 200, "fifty seconds for the others, and then attempts of 15, 30 and 60 s"
    assert client.failing_since is None or client.failing_since < 1000 + seconds
    assert budget.settled > 398 * 12 + 2 * 3 * 12, "an attempt that is given up costs its worst case"


def test_a_call_that_is_slower_than_the_others_is_answered_in_the_end() -> None:
    async def complete(request: Request) -> Answer:
        await asyncio.sleep(50.0 if is_about(request, 200) else 1.0)
        return label()

    _, replies, _, _ = ask(complete, 300)
    assert {reply.status for reply in replies} == {"answered"}


def test_a_provider_that_becomes_slow_for_everybody_is_waited_for() -> None:
    asked = 0

    async def complete(request: Request) -> Answer:
        nonlocal asked
        asked += 1
        await asyncio.sleep(1.0 if asked < 300 else 40.0)
        return label()

    _, replies, _, _ = ask(complete, 600)
    assert {reply.status for reply in replies} == {"answered"}
    assert asked < 640, "a few attempts are given up before that is understood"
