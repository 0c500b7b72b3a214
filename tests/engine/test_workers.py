"""Several `dprm run --no-fit` on one PostgreSQL ledger send every call once, whatever becomes of them on the way."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable

import pyarrow.parquet as pq
import pytest

from tests.engine.team import IN_FLIGHT, Team
from tests.processes import zygote


def test_four_workers_send_every_call_once(team: Callable[..., Team]) -> None:
    four = team(24)
    four.end(*four.start(4))
    stats = four.server.stats()
    assert stats["requests"] == stats["distinct"] == four.calls
    assert stats["max_in_flight"] > 2 * four.concurrency, "they took turns"
    assert pq.read_metadata(four.folder / "run/tables/annotations.parquet").num_rows == four.calls
    assert not four.database.execute("SELECT 1 FROM dprm.workers UNION ALL SELECT 1 FROM dprm.leases"), "left behind"


def test_one_is_killed(team: Callable[..., Team]) -> None:
    three = team(24)
    pids = three.start(3)
    three.until(lambda stats: stats["answered"] >= 100)
    os.kill(pids[1], signal.SIGKILL)
    assert zygote().end(pids[1]).returncode == -9
    three.end(pids[0], pids[2])
    stats = three.server.stats()
    assert stats["answered_distinct"] == three.calls
    assert stats["answered"] - stats["answered_distinct"] <= IN_FLIGHT, (
        "more than what was in flight was paid for again"
    )


@pytest.mark.slow
def test_all_are_killed_and_started_again(team: Callable[..., Team]) -> None:
    three = team(30)
    for answered in (60, 180):
        pids = three.start(3)
        three.until(lambda stats, answered=answered: stats["answered"] >= answered)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        assert [zygote().end(pid).returncode for pid in pids] == [-9] * 3
    three.end(*three.start(3))
    stats = three.server.stats()
    assert stats["answered_distinct"] == three.calls
    assert stats["answered"] - stats["answered_distinct"] <= 2 * 3 * IN_FLIGHT


@pytest.mark.slow
def test_one_sleeps_until_it_is_taken_for_dead(team: Callable[..., Team]) -> None:
    two = team(24, latency=0.04)
    asleep, awake = two.start(2)
    two.until(lambda stats: stats["answered"] >= 100)
    os.kill(asleep, signal.SIGSTOP)
    held = "SELECT COUNT(*) FROM dprm.workers WHERE name LIKE %s"
    deadline = time.monotonic() + 20  # only against hanging
    while two.database.execute(held, (f"%:{asleep}",)) != [(0,)]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(asleep, signal.SIGCONT)
    ended = [zygote().end(pid) for pid in (asleep, awake)]
    assert [each.returncode for each in ended] == [0, 0], ended
    stats = two.server.stats()
    assert stats["distinct"] == two.calls
    assert stats["requests"] - stats["distinct"] <= IN_FLIGHT
    tallies = [json.loads(each.stdout)["annotate"] for each in ended]
    for tally in tallies:
        assert tally["items"] == 24 and tally["annotations"] == two.calls, tallies
        assert tally["calls"] + tally["replayed"] + tally["elsewhere"] >= two.calls


@pytest.mark.slow
def test_two_recipes_share_their_calls(team: Callable[..., Team]) -> None:
    first = team(30)
    # The same questions to fewer people, and to people who say more than one word: half of the second recipe's calls are the first's.
    second = first.write("second.yaml", name="second", output="second", prior={}, panel={"use": "paper", "sample": 8})
    pids = [*first.start(2), *first.start(2, recipe=second)]
    first.end(*pids)
    stats = first.server.stats()
    assert stats["requests"] == stats["distinct"] == first.calls + 30, "a prior per item is all that is new"
    assert pq.read_metadata(first.folder / "second/tables/annotations.parquet").num_rows == 30 * (8 + 1)


@pytest.mark.slow
def test_the_database_is_killed_and_comes_back(team: Callable[..., Team]) -> None:
    three = team(24, limits={"lease": 20})
    pids = three.start(3)
    three.until(lambda stats: stats["answered"] >= 100)
    server = three.database.server
    server.kill()
    server.start()
    three.end(*pids)
    stats = three.server.stats()
    assert stats["requests"] == stats["distinct"] == three.calls
    assert pq.read_metadata(three.folder / "run/tables/annotations.parquet").num_rows == three.calls


def test_one_of_several_workers_begins_and_all_stop_if_nothing_comes_of_it(team: Callable[..., Team]) -> None:
    three = team(24, latency=1.0, limits={"lease": 10})
    three.server.script(chances={"unparsable": 1.0})
    said = three.end(*three.start(3), code=1)
    assert all("gives a label" in each for each in said), said
    assert three.server.stats()["requests"] <= 8, "of all workers together"
    three.server.script(chances={}, latency=0.02)
    three.end(*three.start(3, "--retry-failed"))
    assert three.server.stats()["distinct"] <= three.calls + 8


@pytest.mark.slow
def test_each_failure_is_retried_by_one_worker_only(team: Callable[..., Team]) -> None:
    two = team(8, limits={"attempts": 1})
    two.server.script(chances={"400": 0.3})
    two.end(*two.start(1))
    before = two.server.stats()
    failed = two.calls - before["answered"]
    assert failed > 5
    two.server.script(chances={})
    two.end(*two.start(2, "--retry-failed"))
    after = two.server.stats()
    assert after["requests"] - before["requests"] == failed, "each failure is asked again once"


@pytest.mark.slow
def test_what_calibrates_is_asked_once(team: Callable[..., Team]) -> None:
    three = team(4, latency=0.05, elicitation="logprobs", labels="hh6")
    three.end(*three.start(3))
    stats = three.server.stats()
    annotated = three.calls * 2  # two axes, two questions
    assert stats["requests"] == stats["distinct"] > annotated, "something was asked twice, or nothing calibrates"


def test_one_is_interrupted_and_leaves_nothing_behind(team: Callable[..., Team]) -> None:
    two = team(20, limits={"lease": 60})
    leaving, staying = two.start(2)
    two.until(lambda stats: stats["answered"] >= 60 and stats["max_in_flight"] > two.concurrency)
    os.kill(leaving, signal.SIGINT)
    two.end(leaving, code=130)
    assert not two.database.execute("SELECT 1 FROM dprm.workers WHERE name LIKE %s", (f"%:{leaving}",))
    two.end(staying)  # what the other had would be waited for as long as its lease: a minute
    stats = two.server.stats()
    assert stats["requests"] == stats["distinct"] == two.calls


def test_a_worker_that_can_no_longer_talk_to_the_others_stops_at_once(team: Callable[..., Team]) -> None:
    """Only its heartbeat fails: the calls could go on to the end, without anybody knowing of it."""
    one = team(40, latency=0.05)
    pid = one.start(1)[0]
    one.until(lambda stats: stats["answered"] >= 40)
    one.database.execute("DROP TABLE dprm.cooldowns")
    asked = one.server.stats()["requests"]
    said = one.end(pid, code=1)[0]
    assert "cooldowns" in said and "Traceback" not in said
    assert one.server.stats()["requests"] - asked < one.calls / 4
    kept = one.database.execute("SELECT COUNT(*) FROM dprm.calls")
    assert kept == [(one.server.stats()["answered"],)], "what was in flight is kept"
