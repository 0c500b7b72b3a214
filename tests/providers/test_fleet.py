"""Several endpoints as one provider, through the command against real servers: who is asked, how much, and what happens where one fails."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dprm_data import FunctionProvider
from dprm_data.core.errors import DprmError, InputError, RecipeError
from dprm_data.core.scrub import public_recipe
from dprm_data.providers.capabilities import Capabilities
from dprm_data.providers.construction import make_batch_provider, make_provider
from dprm_data.providers.endpoint import Endpoint
from dprm_data.providers.fleet import Fleet
from dprm_data.providers.request import Answer, CallFailed, Request
from dprm_data.recipe.provider_config import ProviderConfig
from dprm_data.recipe.recipe import Recipe
from tests.engine.helpers import label
from tests.helpers import answer, write_recipe, write_rows
from tests.processes import dprm, zygote
from tests.providers.helpers import request
from tests.servers.llm import LLMServer

DEAD = "http://127.0.0.1:9"


def fleet_recipe(folder: Path, *endpoints: dict[str, Any], rows: list[str] | int = 20, **changes: Any) -> Path:
    """A recipe for these endpoints (their `base_url` without /v1), and items whose prompts are these words, or so many numbers."""
    words = [f"q{number}." for number in range(rows)] if isinstance(rows, int) else rows
    write_rows(folder / "pairs.jsonl", [{"prompt": word, "response": "r"} for word in words])
    given = [endpoint | {"base_url": f"{endpoint['base_url']}/v1"} for endpoint in endpoints]
    provider = {"name": "openai", "model": "gpt-4o-mini", "timeout": 5, "endpoints": given}
    return write_recipe(folder, provider=provider, **changes)


def name(server: LLMServer) -> str:
    return server.url.removeprefix("http://")


def watch(server: LLMServer) -> Counter[str]:
    """Counts, from now on, how often the server is asked about each item."""
    seen: Counter[str] = Counter()

    def note(data: dict[str, Any]) -> None:
        seen.update(re.findall(r"q\d+\.", str(data["messages"]))[:1])

    server.says = note
    return seen


def counted(folder: Path) -> dict[str, Any]:
    """What `dprm run --no-fit` counted, where it was not asked for JSON (it is silent otherwise)."""
    content: dict[str, Any] = json.loads((folder / "run/manifest.json").read_text())["last_annotate"]
    return content


def all_ok(folder: Path) -> bool:
    return set(pq.read_table(folder / "run/tables/annotations.parquet")["status"].to_pylist()) == {"ok"}


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.01)


# -- who is asked -------------------------------------------------------------------------------------------------------


def test_an_items_calls_go_to_one_endpoint_by_weight_and_nothing_is_paid_again(tmp_path: Path) -> None:
    with LLMServer() as big, LLMServer() as small, LLMServer() as new:
        asked = {server: watch(server) for server in (big, small)}
        two = ({"base_url": big.url, "weight": 3}, {"base_url": small.url})
        # As many at once as an endpoint takes before it is known to take more: nothing spills over.
        shape: dict[str, Any] = {"panel": {"use": "small", "sample": 3}, "limits": {"concurrency": 8}}
        first = answer(dprm("run", "--no-fit", fleet_recipe(tmp_path, *two, rows=60, **shape), "--json", cwd=tmp_path))
        assert not asked[big].keys() & asked[small].keys() and len(asked[big] | asked[small]) == 60
        assert 31 <= len(asked[big]) <= 58, "three quarters of 60, four standard deviations around"
        counts = first["annotate"]["endpoints"]
        assert counts[name(big)] == {"answered": asked[big].total(), "failed": {}, "out": None}
        assert first["annotate"]["calls"] == counts[name(big)]["answered"] + counts[name(small)]["answered"]

        more = fleet_recipe(tmp_path, *two, {"base_url": new.url}, rows=60, **shape)
        again = answer(dprm("run", "--no-fit", more, "--json", cwd=tmp_path))
        assert again["annotate"]["calls"] == new.tally.requests == 0
        one = write_recipe(tmp_path, new.url, **shape)
        assert answer(dprm("run", "--no-fit", one, "--json", cwd=tmp_path))["annotate"]["calls"] == 0


@pytest.mark.slow
def test_what_is_too_much_for_one_spills_over_and_limits_hold_at_every_server(tmp_path: Path) -> None:
    with LLMServer(latency=0.03) as three, LLMServer(latency=0.03) as five, LLMServer() as slow:
        endpoints = (
            {"base_url": three.url, "concurrency": 3, "weight": 100},
            {"base_url": five.url, "concurrency": 5},
            {"base_url": slow.url, "concurrency": 4, "rpm": 120},
        )
        done = answer(dprm("run", "--no-fit", fleet_recipe(tmp_path, *endpoints, rows=40), "--json", cwd=tmp_path))
        assert done["annotate"]["statuses"] == {"ok": done["annotate"]["annotations"]}
        assert three.tally.max_in_flight == 3 and five.tally.max_in_flight == 5
        assert 1 <= slow.tally.most_within(1.0) <= 2 + 2, "a burst of one second's worth, and two a second"
        assert five.tally.requests > 10, "nearly all items are the first one's, which cannot take them all"


def function_fleet(*asked: Callable[[Request], Any], **settings: Any) -> Fleet:
    made = [
        Endpoint(FunctionProvider(one), place=str(number), name=f"e{number}", **settings)
        for number, one in enumerate(asked)
    ]
    return Fleet(made, family="openai")


@given(st.lists(st.floats(0.1, 10), min_size=2, max_size=5), st.integers(0, 4))
@settings(max_examples=25, deadline=None)
def test_an_endpoint_that_goes_moves_nobody_elses_items(weights: list[float], gone: int) -> None:
    gone %= len(weights)

    def homes(places: list[int]) -> dict[str, str]:
        found: dict[str, str] = {}

        def at(place: int) -> Callable[[Request], Any]:
            async def complete(asked: Request) -> Answer:
                found[asked.cache_hint] = str(place)
                return label()

            return complete

        made = [
            Endpoint(FunctionProvider(at(place)), place=str(place), name=str(place), weight=weights[place])
            for place in places
        ]

        async def ask_all() -> None:
            fleet = Fleet(made, family="openai")
            for number in range(40):
                await fleet.complete(request("q", hint=f"item {number}"))

        asyncio.run(ask_all())
        return found

    everyone = list(range(len(weights)))
    before, after = homes(everyone), homes([place for place in everyone if place != gone])
    assert all(after[item] == home for item, home in before.items() if home != str(gone))


# -- where one fails ----------------------------------------------------------------------------------------------------


def test_one_is_killed_in_the_middle_and_comes_back(tmp_path: Path) -> None:
    with LLMServer(latency=0.05) as steady, ExitStack() as stack:
        frail = stack.enter_context(LLMServer(latency=0.05))
        port = int(frail.url.rpartition(":")[2])
        endpoints = ({"base_url": steady.url}, {"base_url": frail.url})
        recipe = fleet_recipe(tmp_path, *endpoints, rows=120, limits={"concurrency": 8, "attempts": 2})
        zygote().start("run", "--no-fit", recipe, cwd=tmp_path)
        wait_for(lambda: frail.tally.answered.total() >= 10)
        stack.close()
        before = steady.tally.requests
        wait_for(lambda: steady.tally.requests >= before + 40)
        with LLMServer(port=port) as back:
            done = zygote().end()
            assert back.tally.requests > 10, done.stderr
        assert done.returncode == 0 and all_ok(tmp_path), (
            "two attempts are enough: no call fails twice for an endpoint that is gone"
        )
        assert counted(tmp_path)["endpoints"][f"127.0.0.1:{port}"]["out"] is None
        assert done.stderr.count(f"127.0.0.1:{port} is taken out") == 1
        assert f"127.0.0.1:{port} answers again (2 of 2 endpoints in use)" in done.stderr


@pytest.mark.parametrize("fault", ["401", "404", "402"])
def test_one_that_refuses_us_is_said_once_and_costs_no_attempt(tmp_path: Path, fault: str) -> None:
    with LLMServer() as good, LLMServer() as bad:
        bad.script({"chances": {fault: 1.0}})
        key = "sk-secret-0123456789abcdef"
        endpoints = ({"base_url": good.url}, {"base_url": bad.url, "api_key_env": "KEY_B"})
        recipe = fleet_recipe(tmp_path, *endpoints, limits={"attempts": 1})
        done = dprm("run", "--no-fit", recipe, cwd=tmp_path, KEY_B=key)
        told = counted(tmp_path)
        assert told["statuses"] == {"ok": told["annotations"]} and not told["retries"]
        assert done.stderr.count(f"{name(bad)} refuses us: {fault} ") == 1 and key not in done.stderr + done.stdout
        assert fault in told["endpoints"][name(bad)]["out"]
        assert bad.tally.requests <= 8, "what was in flight when the first refusal came, and no more"


def test_all_that_refuse_us_end_the_run(tmp_path: Path) -> None:
    with LLMServer(key="another") as a, LLMServer(key="another") as b:
        done = dprm("run", "--no-fit", fleet_recipe(tmp_path, {"base_url": a.url}, {"base_url": b.url}), cwd=tmp_path)
        assert done.returncode == 1 and "the provider refuses every call" in done.stderr
        assert name(a) in done.stderr and name(b) in done.stderr and "Traceback" not in done.stderr
        assert a.tally.requests + b.tally.requests <= 2 * 8


def test_a_429_cools_its_endpoint_alone(tmp_path: Path) -> None:
    with LLMServer() as limited, LLMServer(latency=0.01) as free:
        limited.script({"chances": {"429": 1.0}})  # Retry-After: 1
        recipe = fleet_recipe(
            tmp_path, {"base_url": limited.url}, {"base_url": free.url}, rows=40, limits={"attempts": 1}
        )
        told = answer(dprm("run", "--no-fit", recipe, "--json", cwd=tmp_path))["annotate"]
        assert told["statuses"] == {"ok": told["annotations"]} and not told["retries"]
        assert free.tally.answered.total() == told["calls"]
        first = [at for at in limited.tally.arrivals if at < 0.9]
        assert 1 <= len(first) <= 8, "one round trip's calls, then it is left alone for a second"


def test_one_that_only_breaks_is_left_and_its_calls_are_asked_elsewhere(tmp_path: Path) -> None:
    with LLMServer() as good, LLMServer() as broken:
        broken.script({"chances": {"500": 1.0}})
        recipe = fleet_recipe(
            tmp_path, {"base_url": good.url}, {"base_url": broken.url}, limits={"attempts": 2, "concurrency": 8}
        )
        told = answer(dprm("run", "--no-fit", recipe, "--json", cwd=tmp_path))["annotate"]
        assert told["statuses"] == {"ok": told["annotations"]}
        assert told["retries"] == {"server": broken.tally.requests}, "what reached a server is seen by the engine"
        assert told["endpoints"][name(broken)]["out"].startswith("500")


def test_items_that_always_fail_leave_an_endpoint_for_the_others(tmp_path: Path) -> None:
    with LLMServer() as a, LLMServer() as b:
        rows = [f"q{number}." for number in range(20)] + ["[[fault:500]]", "[[fault:drop]]"]
        endpoints = ({"base_url": a.url}, {"base_url": b.url})
        recipe = fleet_recipe(tmp_path, *endpoints, rows=rows, limits={"attempts": 2})
        told = answer(dprm("run", "--no-fit", recipe, "--json", cwd=tmp_path))["annotate"]
        each = told["annotations"] // len(rows)
        assert told["statuses"] == {"ok": 20 * each, "exhausted": 2 * each}
        assert told["retries"] == {"server": 2 * each, "connection": 2 * each}
        assert [one["out"] for one in told["endpoints"].values()].count(None) >= 1


def test_all_down_from_the_beginning_is_said_with_every_name(tmp_path: Path) -> None:
    endpoints = ({"base_url": DEAD}, {"base_url": "http://127.0.0.1:19"})
    done = dprm("run", "--no-fit", fleet_recipe(tmp_path, *endpoints, limits={"attempts": 2}), cwd=tmp_path)
    assert done.returncode == 1 and "the provider cannot be reached" in done.stderr
    assert "127.0.0.1:9" in done.stderr and "127.0.0.1:19" in done.stderr and "Traceback" not in done.stderr


def test_all_down_in_the_middle_is_waited_out(tmp_path: Path) -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(LLMServer(latency=0.05)) for _ in range(2)]
        ports = [int(server.url.rpartition(":")[2]) for server in servers]
        recipe = fleet_recipe(tmp_path, *({"base_url": each.url} for each in servers), rows=40, limits={"attempts": 3})
        zygote().start("run", "--no-fit", recipe, cwd=tmp_path)
        wait_for(lambda: servers[0].tally.answered.total() >= 5)
        stack.close()
        wait_for(lambda: "0 of 2 endpoints in use" in zygote().errors())
        with LLMServer(port=ports[0]), LLMServer(port=ports[1]):
            assert zygote().end().returncode == 0
        assert all_ok(tmp_path)


# -- small things -------------------------------------------------------------------------------------------------------


def test_an_endpoints_limit_on_tokens_counts_the_thoughts_that_are_usual_and_not_their_room() -> None:
    thinker = Capabilities(known=True, reasons=True, reasoning_tokens=100.0, thought_room=16_000)

    async def ask_twice() -> None:
        fleet = function_fleet(lambda _: label(), tpm=60_000)  # a second's worth: 1,000
        for number in range(2):
            await fleet.complete(replace(request("q", hint=f"item {number}"), capabilities=thinker))

    asyncio.run(asyncio.wait_for(ask_twice(), 5))


def test_an_endpoints_headers_hold_up_nobody_else() -> None:
    asked: dict[str, int] = defaultdict(int)
    nothing_left = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "60s"}

    async def poor(_: Request) -> Answer:
        asked["poor"] += 1
        return label(headers=nothing_left)

    async def rich(_: Request) -> Answer:
        asked["rich"] += 1
        return label()

    async def ask_all() -> list[Answer]:
        fleet = function_fleet(poor, rich)
        return [await fleet.complete(request("q", hint=f"item {number}")) for number in range(30)]

    answers = asyncio.run(ask_all())
    assert asked == {"poor": 1, "rich": 29} and not any(one.headers for one in answers)


def test_nobody_waits_for_ever_and_a_broken_off_wait_leaves_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dprm_data.providers.fleet._LONGEST_WAIT", 0.2)
    gate = asyncio.Event()

    async def held(_: Request) -> Answer:
        await gate.wait()
        return label()

    async def go() -> None:
        fleet = function_fleet(held, concurrency=1)
        first = asyncio.create_task(fleet.complete(request("a")))
        await asyncio.sleep(0)
        with pytest.raises(CallFailed, match="busy") as caught:
            await fleet.complete(request("b"))
        assert caught.value.kind == "rate_limit" and caught.value.retry_after
        left = asyncio.create_task(fleet.complete(request("c")))
        await asyncio.sleep(0.01)
        left.cancel()
        await asyncio.gather(left, return_exceptions=True)
        gate.set()
        assert (await first).text and (await fleet.complete(request("d"))).text

    asyncio.run(asyncio.wait_for(go(), 10))


@pytest.mark.parametrize(
    ("provider", "says"),
    [
        ({"endpoints": []}, "endpoints"),
        ({"base_url": "http://a/v1", "endpoints": [{"base_url": "http://b/v1"}]}, "base_url: with endpoints"),
        ({"name": "local", "endpoints": [{"base_url": "http://b/v1"}]}, "local model runs in this process"),
        ({"endpoints": [{"base_url": "http://b/v1"}, {"base_url": "http://b/v1", "rpm": 5}]}, "two of them"),
        ({"endpoints": [{"base_url": "http://b/v1", "weight": 0}]}, "weight"),
        ({"endpoints": [{"url": "http://b/v1"}]}, "url"),
    ],
)
def test_what_makes_no_sense_is_refused(provider: dict[str, Any], says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        Recipe.of({"provider": {"name": "openai", "model": "m"} | provider})


def test_keys_and_addresses_are_checked_before_anything_is_sent() -> None:
    def config(**endpoint: str) -> ProviderConfig:
        return Recipe.of({"provider": {"name": "openai", "model": "m", "endpoints": [endpoint]}}).provider

    for endpoint, says in (
        ({"api_key_env": "sk-live-0123456789"}, "not the name"),
        ({"api_key_env": "NOT_SET"}, "NOT_SET is not set"),
        ({"base_url": "ftp://x"}, "is not a web address"),
    ):
        with pytest.raises(InputError, match=says) as caught:
            make_provider(config(**endpoint), {})
        assert "sk-live" not in str(caught.value)
    with pytest.raises(DprmError, match="a batch belongs to one account"):
        make_batch_provider(config(base_url="http://b/v1"), {})
    with pytest.raises(RecipeError, match="belongs to one account"):
        Recipe.of({"mode": "batch", "provider": config(base_url="http://b/v1").model_dump()})


def test_two_keys_at_one_address_are_told_apart_and_calls_at_once_add_up() -> None:
    keys = {"KEY_A": "a-key-of-some-length", "KEY_B": "b-key-of-some-length"}
    places = [{"base_url": "http://one:8000/v1", "api_key_env": key, "concurrency": 300} for key in keys]
    recipe = Recipe.of({"provider": {"name": "openai", "model": "m", "endpoints": places}})
    assert recipe.calls_at_once == 600
    assert (
        recipe.model_copy(
            update={
                "limits": Recipe.of({"provider": recipe.provider.model_dump(), "limits": {"concurrency": 7}}).limits
            }
        ).calls_at_once
        == 7
    )
    fleet = make_provider(recipe.provider, keys)
    assert isinstance(fleet, Fleet)
    assert [each.name for each in fleet.standings] == ["one:8000 (KEY_A)", "one:8000 (KEY_B)"]
    published = public_recipe(recipe.model_dump(mode="json"))
    assert "one:8000" not in str(published)  # a host of the publisher's own network
    assert [each["base_url"] for each in published["provider"]["endpoints"]] == ["a local server", "a local server"]
