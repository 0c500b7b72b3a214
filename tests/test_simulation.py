"""The simulation of the engine's scheduling against what can be computed by hand, and against a run that is none."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.batch_simulation import Batches, simulate_batches
from benchmarks.simulation import Latency, Model, exponential, fixed, lognormal, simulate
from tests.helpers import answer, write_recipe, write_rows
from tests.processes import dprm
from tests.servers.llm import LLMServer

EIGHT = Model(items=400, calls_each=1, concurrency=8, latency=fixed(1.0))  # 8 is where the window begins: no slow start


def changed(model: Model, **changes: object) -> Model:
    return dataclasses.replace(model, **changes)  # type: ignore[arg-type]


@given(st.integers(1, 60), st.integers(1, 8), st.floats(0.01, 30))
@settings(max_examples=30, deadline=None)
def test_fixed_latencies_go_by_rounds(items: int, concurrency: int, latency: float) -> None:
    found = simulate(changed(EIGHT, items=items, concurrency=concurrency, latency=fixed(latency)))
    assert found.seconds == pytest.approx(math.ceil(items / concurrency) * latency, abs=1e-3)
    assert found.requests == found.billed == found.answered == items
    assert found.most_in_flight == min(items, concurrency)


@pytest.mark.parametrize("latency", [exponential(2.0), lognormal(2.0 * math.exp(-0.32), 0.8)])
def test_littles_law(latency: Latency) -> None:
    """Throughput is what is in flight over the mean latency (here 2 s), whatever the latencies' distribution."""
    found = simulate(changed(EIGHT, items=8000, latency=latency))
    assert found.per_second == pytest.approx(8 / 2.0, rel=0.05)
    assert found.steady == pytest.approx(8 / 2.0, rel=0.08)


def test_the_first_calls_go_out_gradually_by_the_clock() -> None:
    """Eight at once, all 64 within 1.3 s, although no answer comes before 10 s; so three round trips."""
    found = simulate(changed(EIGHT, items=192, concurrency=64, latency=fixed(10.0)))
    assert 30 < found.seconds < 32 and found.most_in_flight == 64


def test_where_answers_are_quick_they_open_the_window() -> None:
    # 8, 16, 32, 64, 64: 184 calls in five round trips.
    found = simulate(changed(EIGHT, items=184, concurrency=64, latency=fixed(0.05)))
    assert found.seconds == pytest.approx(0.25, abs=1e-3)


def test_an_items_first_call_goes_ahead() -> None:
    assert simulate(changed(EIGHT, items=1, calls_each=9)).seconds == pytest.approx(2.0, abs=1e-3)
    assert simulate(changed(EIGHT, items=1, calls_each=10)).seconds == pytest.approx(3.0, abs=1e-3)


@pytest.mark.parametrize("limit", [{"rpm": 600.0}, {"tpm": 600.0 * 510}])
def test_limits_per_minute_bind(limit: dict[str, float]) -> None:
    """What is beyond the burst (one second's worth) comes at the limit's rate."""
    found = simulate(changed(EIGHT, items=1800, concurrency=64, **limit))
    assert found.seconds == pytest.approx((1800 - 10) / 10 + 1, rel=0.05)
    assert found.statuses["limited"] == 0


@given(st.floats(0.0, 0.5), st.integers(0, 2**16))
@settings(max_examples=8, deadline=None)
def test_retries_inflate_by_one_over_the_chance_of_an_answer(chance: float, seed: int) -> None:
    found = simulate(changed(EIGHT, items=1000, attempts=50, failures={"server": chance}, seed=seed))
    deviation = math.sqrt(1000 * chance) / (1 - chance)
    assert found.answered == 1000
    assert abs(found.requests - 1000 / (1 - chance)) <= 5 * deviation + 1e-9


def test_attempts_that_run_out_give_calls_up() -> None:
    found = simulate(changed(EIGHT, items=2000, attempts=3, failures={"server": 0.4}, seed=1))
    share = 0.4**3
    assert found.given_up == pytest.approx(2000 * share, abs=5 * math.sqrt(2000 * share * (1 - share)))
    assert found.answered + found.given_up == 2000


def test_the_processor_and_the_database_bind() -> None:
    fast = changed(EIGHT, concurrency=64, latency=fixed(0.1), cpu=0.01, items=2000)
    assert simulate(fast).per_second == pytest.approx(100, rel=0.05)
    assert simulate(changed(fast, processes=2)).per_second == pytest.approx(200, rel=0.1)
    slow = changed(fast, cpu=0.0, processes=4, rows_per_second=50.0)
    assert simulate(slow).per_second == pytest.approx(50, rel=0.05)


def test_a_provider_that_limits_is_not_stormed() -> None:
    """429s narrow the window and cool everyone: nearly the whole limit is used, by few calls that are refused."""
    found = simulate(changed(EIGHT, items=1200, concurrency=64, provider_rpm=600.0, attempts=50))
    assert found.answered == 1200 and found.statuses["limited"] < 0.1 * 1200
    assert 7 < found.per_second <= 10.1


def test_a_process_that_dies_costs_what_was_in_flight() -> None:
    two = changed(EIGHT, items=100, calls_each=10, processes=2, lease=30.0)
    found = simulate(changed(two, killed=(10.5,)))
    assert found.answered == 1000 and 1 <= found.requests - 1000 <= 8
    assert found.billed == found.requests
    whole = simulate(two)
    assert whole.requests == 1000 and found.seconds > max(whole.seconds, 10.5 + 30.0)


def test_batches_come_in_rounds() -> None:
    found = simulate_batches(Batches(calls=1000, size=100, at_once=4, latency=fixed(3600.0), walk=60.0))
    assert (found.requests, found.batches, found.rounds) == (1000, 10, 1)
    assert found.seconds == pytest.approx(60 + math.ceil(10 / 4) * 3600, abs=1e-3)
    again = simulate_batches(Batches(calls=100_000, size=1000, at_once=100, failed=0.1, seed=3))
    assert again.requests == pytest.approx(100_000 / 0.9, abs=5 * math.sqrt(100_000 * 0.1) / 0.9)
    assert again.seconds == pytest.approx(again.rounds * 3600.0, abs=1e-3)


def test_the_same_dice_give_the_same_run() -> None:
    model = changed(EIGHT, failures={"server": 0.2, "timeout": 0.05}, latency=exponential(1.0), provider_rpm=300.0)
    assert simulate(model) == simulate(model) != simulate(changed(model, seed=1))


def test_a_real_run_asks_what_the_simulated_one_asks(tmp_path: Path) -> None:
    """Counts only: how long a real run takes depends on who else uses the machine (`python -m benchmarks.simulate --check` compares times)."""
    write_rows(tmp_path / "pairs.jsonl", [{"prompt": f"q{number}", "response": "r"} for number in range(25)])
    limits = {"concurrency": 8, "attempts": 20, "rpm": 6000}
    with LLMServer(latency=0.03, seed=5) as server:
        server.script({"chances": {"500": 0.1}})
        recipe = write_recipe(tmp_path, server.url, limits=limits)
        real = answer(dprm("run", "--no-fit", recipe, "--json", cwd=tmp_path))["annotate"]
    each = real["annotations"] // 25
    model = Model(25, each, concurrency=8, rpm=6000, attempts=20, latency=fixed(0.03), failures={"server": 0.1})
    simulated = simulate(model)
    assert real["calls"] == simulated.answered == 25 * each
    assert server.tally.max_in_flight == simulated.most_in_flight == 8
    spread = math.sqrt(25 * each * 0.1) / 0.9
    assert abs(server.tally.requests - simulated.requests) <= 5 * math.sqrt(2) * spread
    assert server.tally.requests == real["calls"] + real["retries"]["server"]
    # Never faster than simulated, on any machine: the limit per minute says how long the requests take at the least.
    assert server.tally.arrivals[-1] >= (server.tally.requests - 100) / 100 * 0.97
