"""What every store of a ledger must do, held to on a file and on a real PostgreSQL; what is particular to the file is in test_ledger.py."""

from __future__ import annotations

import asyncio
import itertools
import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dprm_data.core.errors import LedgerError
from dprm_data.core.ledger_address import LedgerAddress
from dprm_data.engine.pending_batches import PendingBatches
from dprm_data.ledger.call import Reply
from dprm_data.ledger.factory import opened
from dprm_data.ledger.ledger import FailedAttempt, Ledger
from dprm_data.ledger.store import Transaction
from dprm_data.providers.request import Usage
from tests.helpers import ROOT, environ
from tests.ledger.test_ledger import at, key, reply

FRESH = itertools.count(10_000)


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> LedgerAddress:
    """Where there is no ledger yet: a path, or an empty database."""
    if request.param == "sqlite":
        return at(tmp_path / "l.sqlite")
    return at(request.getfixturevalue("postgres").url)


def fill(place: LedgerAddress, numbers: range, run: str = "r") -> None:
    with Ledger(place, run=run) as ledger:
        ledger.record_now([(key(number), reply(str(number))) for number in numbers])


def found(place: LedgerAddress, count: int) -> list[int]:
    with Ledger(place, readonly=True) as ledger:
        return sorted(int(reply.text) for reply in ledger.find([key(number) for number in range(count)]).values())


def test_what_is_recorded_is_found_again(place: LedgerAddress) -> None:
    async def go() -> None:
        with Ledger(place, run="r", price_table="table 1") as ledger:
            await asyncio.gather(*(ledger.record(key(i), reply(str(i))) for i in range(200)))
            ledger.note_failure(FailedAttempt(key(1), "server", 500, "oops", 0.5))
            ledger.note_failure(FailedAttempt(key(1), "timeout", None, "", None))
            for item in (b"item", b"item", b"third"):
                ledger.note_done(b"plan", item)
            await ledger.flush()
            assert ledger.find_done(b"plan", [b"item", b"other", b"third"]) == {b"item", b"third"}
            assert ledger.find_done(b"other plan", [b"item"]) == set()
            ledger.note_undone(b"plan", b"item")
            await ledger.flush()
            assert ledger.find_done(b"plan", [b"item", b"third"]) == {b"third"}
            assert ledger.spent() == 50.5
            assert ledger.failures_by_kind() == {"server": 1, "timeout": 1}
            assert ledger.counts() == {"calls": 200, "failures": 2, "done": 1}

    asyncio.run(go())
    assert found(place, 200) == list(range(200))
    with opened(place) as store, store.snapshot() as select:
        assert list(select("SELECT DISTINCT price_table FROM calls")) == [("table 1",)]
    with Ledger(place, run="another") as other:
        assert other.spent() == 0.0 and other.failures_by_kind() == {}
        other.record_now([(key(900), reply(cost=2.0)), (key(901), reply(cost=None))])
        assert other.spent() == 2.0
    with Ledger(place, run="r", readonly=True) as ledger:
        assert ledger.spent() == 50.5


def test_the_newest_attempt_counts_and_the_older_stay(place: LedgerAddress) -> None:
    with Ledger(place) as ledger:
        ledger.record_now([(key(1), reply("oldest")), (key(2), reply("only")), (key(1), reply("old"))])
        assert ledger.find([key(1)])[key(1)].text == "old"
        ledger.record_now([(key(1), reply("new"))])
        assert {k: r.text for k, r in ledger.find([key(1), key(2), key(3)]).items()} == {key(1): "new", key(2): "only"}
        assert ledger.counts()["calls"] == 4


def test_rows_have_names(place: LedgerAddress) -> None:
    with Ledger(place, run="r", price_table="table 1") as ledger:
        ledger.record_now([(key(1), reply("a")), (key(1), reply("b"))], [FailedAttempt(key(2), "server", 500, "", 0.5)])
        row = ledger.store.find([key(1)])[key(1)]
    assert (row.key, row.attempt, row.run, row.status, row.text) == (key(1), 1, "r", "answered", "b")
    assert (row.input_tokens, row.output_tokens, row.cost, row.price_table) == (3, 1, 0.25, "table 1")


def finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None


REPLIES = st.builds(
    Reply,
    status=st.sampled_from(["answered", "rejected", "exhausted"]),
    text=st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\x00\x1a01")),
    finish=st.sampled_from(["stop", "length"]),
    top_logprobs=st.none() | st.lists(st.tuples(st.text(), st.floats(max_value=0.0, allow_nan=False))).map(tuple),
    model=st.text(),
    usage=st.builds(Usage, st.integers(), st.integers(), st.integers(), st.integers()),
    cost=st.none() | st.floats() | st.integers(0, 5),
    latency=st.floats(),
    created_at=st.floats(),
    reason=st.text(),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(replies=st.lists(REPLIES, min_size=1, max_size=5))
def test_every_reply_comes_back_as_it_was(place: LedgerAddress, replies: list[Reply]) -> None:
    """Texts with NUL characters, numbers beyond 64 bits, what is no number: the same from either store."""
    keys = [key(next(FRESH)) for _ in replies]
    with Ledger(place, run="\x00r\x1a") as ledger:
        before = ledger.spent()
        ledger.record_now(list(zip(keys, replies, strict=True)))
        kept = ledger.find(keys)
        added = sum(finite(one.cost) or 0.0 for one in replies)
        if math.isfinite(before + added):
            assert ledger.spent() == pytest.approx(before + added, rel=1e-12, abs=1e-300)
    for name, given_reply in zip(keys, replies, strict=True):
        got = kept[name]
        for same in ("status", "text", "finish", "model", "reason"):
            assert getattr(got, same) == getattr(given_reply, same)
        assert got.top_logprobs == given_reply.top_logprobs
        for count in ("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens"):
            wanted = getattr(given_reply.usage, count)
            assert getattr(got.usage, count) == max(-(2**63 - 1), min(wanted, 2**63 - 1))
        assert got.cost == finite(given_reply.cost)
        assert got.latency == (finite(given_reply.latency) or 0.0)


def test_more_calls_than_one_query_takes(place: LedgerAddress) -> None:
    fill(place, range(12_000))
    assert found(place, 13_000) == list(range(12_000))


def test_pending_batches(place: LedgerAddress) -> None:
    with Ledger(place, run="r") as ledger, pytest.raises(AssertionError, match="stop here"):
        batches = PendingBatches(ledger)
        first, second = batches.put([(key(1), b"a"), (key(2), b"b")], 2.5), batches.put([(key(3), b"b")], 1.0)
        batches.confirm(first, "batch-1")
        assert [(b.number, b.batch_id, b.rows, b.reserved) for b in batches.batches()] == [
            (first.number, "batch-1", 2, 2.5),
            (second.number, None, 1, 1.0),
        ]
        assert batches.rows(first) == {key(1): b"a", key(2): b"b"}
        assert batches.holds([b"a", b"b", b"c"]) == {b"a", b"b"}
        ledger.record_now([(key(1), reply())], [FailedAttempt(key(2), "server", 500, "", 0.5)], collected=first.number)
        assert batches.holds([b"a", b"b"]) == {b"b"}
        assert [b.number for b in batches.batches()] == [second.number] and ledger.spent() == 0.75
        raise AssertionError("stop here")
    with Ledger(place, run="r") as ledger:  # another process, later
        batches = PendingBatches(ledger)
        batches.drop(second)
        assert batches.batches() == [] and batches.holds([b"b"]) == set()


def test_a_reply_that_cannot_be_kept_fails_and_leaves_nobody_waiting(place: LedgerAddress) -> None:
    def broken(transaction: Transaction) -> None:
        raise ValueError("broken")

    async def go() -> None:
        with pytest.raises(ValueError, match="broken"), Ledger(place) as ledger, pytest.raises(LedgerError):
            ledger.store.commit = broken  # type: ignore[method-assign]
            async with asyncio.timeout(20):
                await ledger.record(key(1), reply())

    asyncio.run(go())


def test_looking_at_what_is_not_there(place: LedgerAddress) -> None:
    with pytest.raises(LedgerError, match="no ledger at"):
        Ledger(place, readonly=True)


_WRITES = """
import asyncio, sys
from dprm_data.ledger.ledger import Ledger
from tests.ledger.test_ledger import at, key, reply
place = at(sys.argv[1])

async def go(first):
    with Ledger(place, run="r") as ledger:
        async def one(worker):
            for number in range(first + worker, 10**9, 8):
                await ledger.record(key(number), reply(str(number)))
                print(number, flush=True)
        await asyncio.gather(*(one(worker) for worker in range(8)))
asyncio.run(go(int(sys.argv[2])))
"""


def test_killed_at_random_moments(place: LedgerAddress) -> None:
    """kill -9: all that was acknowledged (printed after the call had returned) is there, once, and the sum is right."""
    moments = random.Random(5)
    acknowledged: set[int] = set()
    for _ in range(4):
        first = max(acknowledged, default=-1) + 100
        process = subprocess.Popen(
            [sys.executable, "-c", _WRITES, place.text, str(first)], cwd=ROOT, env=environ(), stdout=subprocess.PIPE
        )
        assert process.stdout
        said = [process.stdout.readline()]
        time.sleep(moments.uniform(0.0, 0.15))
        os.kill(process.pid, signal.SIGKILL)
        said += process.communicate()[0].splitlines(keepends=True)
        acknowledged.update(int(line) for line in said if line.endswith(b"\n"))
    assert len(acknowledged) > 40
    with Ledger(place, run="r") as ledger:
        there = ledger.find([key(number) for number in acknowledged])
        assert len(there) == len(acknowledged)
        rows = ledger.counts()["calls"]
        assert rows <= len(acknowledged) + 4 * 8 and ledger.spent() == 0.25 * rows
