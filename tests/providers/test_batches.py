"""Batches of both providers, by the real SDKs over a socket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from dprm_data.core.errors import InputError
from dprm_data.providers.batch_api import BatchProvider, split
from dprm_data.providers.construction import make_batch_provider
from dprm_data.providers.request import Answer, CallFailed, Request
from dprm_data.recipe.provider_config import ProviderConfig
from tests.providers.helpers import BOTH, CHOICE, ENVIRON, KEY, ask, config, request
from tests.servers.llm import LLMServer

both = pytest.mark.parametrize("name", BOTH)


def with_batches(name: str, url: str, work: Callable[[BatchProvider], Awaitable[Any]]) -> Any:
    """Runs `work` with the provider's batches, and closes them."""

    async def run() -> Any:
        batches = make_batch_provider(config(name, url), ENVIRON)
        try:
            return await work(batches)
        finally:
            await batches.aclose()

    return asyncio.run(run())


async def collect(batches: BatchProvider, batch_id: str, rows: dict[str, Request]) -> dict[str, Answer | CallFailed]:
    async with asyncio.timeout(10):
        while (await batches.poll(batch_id)).state != "ended":  # noqa: ASYNC110 - a server's state
            await asyncio.sleep(0.05)
    found: dict[str, Answer | CallFailed] = {}
    async for custom_id, result in batches.results(batch_id, rows):
        assert custom_id not in found
        found[custom_id] = result
    return found


def run_batch(name: str, url: str, rows: dict[str, Request]) -> dict[str, Answer | CallFailed]:
    async def work(batches: BatchProvider) -> dict[str, Answer | CallFailed]:
        return await collect(batches, await batches.submit(rows.items(), tag="run-1"), rows)

    found: dict[str, Answer | CallFailed] = with_batches(name, url, work)
    return found


@pytest.mark.slow
@both
def test_a_batch_gives_the_answers_that_direct_calls_give(double: LLMServer, name: str) -> None:
    rows = {f"row-{i}": request(f"hello {i}\u2028é", system="be fair", schema=CHOICE) for i in range(50)}
    found = run_batch(name, double.url, rows)
    direct = ask(name, double.url, *rows.values())
    assert set(found) == set(rows)
    for batched, asked in zip((found[custom_id] for custom_id in rows), direct, strict=True):
        assert isinstance(batched, Answer) and isinstance(asked, Answer)
        assert (batched.text, batched.usage, batched.finish) == (asked.text, asked.usage, asked.finish)
    assert set(double.tally.bodies.values()) == {2}  # the very same bodies


@both
def test_results_come_in_any_order(double: LLMServer, name: str) -> None:
    rows = {f"row-{i}": request(str(i)) for i in range(30)}
    assert list(run_batch(name, double.url, rows)) != list(rows)


@both
def test_each_row_has_its_own_fate(double: LLMServer, name: str) -> None:
    faults = (
        "400",
        "429",
        "500",
        "529",
        "length",
        "refusal",
        "unparsable",
        "expired",
        "missing",
        "empty",
        "filter_400",
    )
    rows = {f"row-{fault}": request(f"[[fault:{fault}]]", schema=CHOICE) for fault in faults} | {
        "row-good": request(schema=CHOICE)
    }
    found = {custom_id.removeprefix("row-"): result for custom_id, result in run_batch(name, double.url, rows).items()}
    kinds = {fault: result.kind for fault, result in found.items() if isinstance(result, CallFailed)}
    assert kinds == {
        "400": "rejected",
        "429": "rate_limit",
        "500": "server",
        "529": "overloaded",
        "expired": "timeout",
        "missing": "broken",
        "empty": "broken",
    }
    finishes = {fault: result.finish for fault, result in found.items() if isinstance(result, Answer)}
    assert finishes == {
        "length": "length",
        "refusal": "refusal",
        "unparsable": "stop",
        "good": "stop",
        "filter_400": "content_filter",
    }


@both
def test_progress(double: LLMServer, name: str) -> None:
    double.script({"batch_seconds": 0.4})

    async def work(batches: BatchProvider) -> None:
        before = time.time()
        batch_id = await batches.submit([("a", request("1")), ("b", request("[[fault:400]]"))])
        status = await batches.poll(batch_id)
        assert (status.id, status.state, status.total, status.done) == (batch_id, "running", 2, 0)
        assert abs(status.created - before) < 2
        await asyncio.sleep(0.5)
        status = await batches.poll(batch_id)
        assert (status.state, status.total, status.done, status.failed) == ("ended", 2, 2, 1)

    with_batches(name, double.url, work)


@both
def test_a_cancelled_batch_ends_and_its_rows_can_be_sent_again(double: LLMServer, name: str) -> None:
    double.script({"batch_seconds": 60})
    rows = {"a": request("1"), "b": request("2")}

    async def work(batches: BatchProvider) -> dict[str, Answer | CallFailed]:
        batch_id = await batches.submit(rows.items())
        await batches.cancel(batch_id)
        return await collect(batches, batch_id, rows)

    found = with_batches(name, double.url, work)
    assert all(isinstance(result, CallFailed) and result.retryable for result in found.values())
    assert double.tally.requests == 0


@both
def test_a_batch_whose_id_was_lost_is_found_again(double: LLMServer, name: str) -> None:
    double.script({"lose_batches": True, "batch_page": 2})
    rows = {"a": request("1"), "b": request("2")}

    async def work(batches: BatchProvider) -> dict[str, Answer | CallFailed]:
        since = time.time() - 5
        for tag in ("one", "two", "three", "four", "five"):
            with pytest.raises(CallFailed) as caught:
                await batches.submit(rows.items(), tag=tag)
            assert caught.value.kind == "connection"
        found = await batches.recent(since)
        assert [status.total for status in found] == [2] * 5
        assert [status.tag for status in found] == (
            ["five", "four", "three", "two", "one"] if name == "openai" else [None] * 5
        )
        assert await batches.recent(time.time() + 60) == []
        return await collect(batches, found[2].id, rows)

    assert all(isinstance(result, Answer) for result in with_batches(name, double.url, work).values())


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("token_limit_exceeded", "rate_limit"),
        ("billing_hard_limit_reached", "billing"),
        ("invalid_json_line", "rejected"),
    ],
)
def test_a_batch_that_is_refused_as_a_whole(double: LLMServer, code: str, kind: str) -> None:
    double.script({"batch_refusal": code})

    async def work(batches: BatchProvider) -> CallFailed:
        batch_id = await batches.submit([("a", request())])
        with pytest.raises(CallFailed) as caught:
            await batches.poll(batch_id)
        return caught.value

    failure = with_batches("openai", double.url, work)
    assert failure.kind == kind
    assert code in failure.message and "line 1" in failure.message


@both
@pytest.mark.parametrize("missing", ["poll", "results"])
def test_a_batch_that_does_not_exist(double: LLMServer, name: str, missing: str) -> None:
    async def work(batches: BatchProvider) -> CallFailed:
        with pytest.raises(CallFailed) as caught:
            if missing == "poll":
                await batches.poll("batch_none")
            else:
                async for _ in batches.results("batch_none", {}):
                    pass
        return caught.value

    assert with_batches(name, double.url, work).kind == "not_found"


@both
def test_a_wrong_key_is_found_out_at_once(double: LLMServer, name: str) -> None:
    double.script({"key": "another"})

    async def work(batches: BatchProvider) -> CallFailed:
        with pytest.raises(CallFailed) as caught:
            await batches.submit([("a", request())])
        return caught.value

    failure = with_batches(name, double.url, work)
    assert failure.kind == "key" and KEY not in failure.message


@both
def test_a_large_batch_goes_through_a_file(double: LLMServer, name: str) -> None:
    rows = {f"row-{i}": request(f"{i} " + "x" * 100_000) for i in range(120)}  # 12 MB: more than is held in memory
    assert all(isinstance(result, Answer) for result in run_batch(name, double.url, rows).values())


@both
def test_splitting_keeps_both_limits(double: LLMServer, name: str) -> None:
    batches = make_batch_provider(config(name, double.url), ENVIRON)
    rows = [(f"row-{i}", request("x" * (i * 100))) for i in range(20)]
    sizes = {custom_id: batches.row_bytes(custom_id, each) for custom_id, each in rows}
    parts = list(split(rows, max_requests=4, max_bytes=5000, size=batches.row_bytes))
    asyncio.run(batches.aclose())
    assert [row for part in parts for row in part] == rows
    assert all(len(part) <= 4 and sum(sizes[custom_id] for custom_id, _ in part) <= 5000 for part in parts)
    assert len(parts) < 12
    assert [len(part) for part in split(rows, max_requests=50, max_bytes=10, size=batches.row_bytes)] == [1] * 20
    assert (batches.max_requests, batches.max_bytes) == (
        (50_000, 200_000_000) if name == "openai" else (100_000, 256_000_000)
    )


def test_the_local_model_has_no_batches() -> None:
    with pytest.raises(InputError, match="no batches"):
        make_batch_provider(ProviderConfig(name="local"), {})
