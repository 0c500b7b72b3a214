"""Several workers spend one budget, keep one pace and cool down together: real processes, counted at the server; and the arithmetic of it
on a real database, with clocks and chances of our own."""

from __future__ import annotations

import asyncio
import itertools
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dprm_data.core.errors import BudgetReached
from dprm_data.core.ledger_address import LedgerAddress
from dprm_data.engine.budget import Budget
from dprm_data.engine.coordinator import Coordinator
from dprm_data.engine.counters import Counters
from dprm_data.engine.direct import Engine
from dprm_data.engine.shared.budget import SharedBudget
from dprm_data.engine.shared.factory import coordinator_for
from dprm_data.engine.shared.leases import Leases, PostgresLease
from dprm_data.engine.shared.membership import Membership
from dprm_data.engine.shared.postgres_coordinator import PostgresCoordinator
from dprm_data.engine.shared.rate_limit import VALID, SharedBucket, SharedRateLimit
from dprm_data.ledger.ledger import Ledger
from dprm_data.ledger.postgres import PostgresStore
from dprm_data.ledger.postgres_pool import RetryingPool, connect
from dprm_data.ledger.store import Transaction
from dprm_data.providers.limits import Limiter, LocalRateLimit, Permit
from dprm_data.providers.request import Answer, Request
from dprm_data.recipe.recipe import LimitsConfig, Recipe
from tests.engine.helpers import FREE, RecordingProvider, items, label, work
from tests.engine.team import Team
from tests.servers.postgres import PASSWORD, Database, PostgresServer

DEAR = {"input": 1000, "output": 1000}  # dollars per million tokens


# -- real processes ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_four_workers_spend_one_budget_to_its_end(team: Callable[..., Team]) -> None:
    four = team(24)
    provider = {"name": "openai", "model": "gpt-4o-mini", "base_url": f"{four.server.url}/v1", "price": DEAR}
    limit = 60.0
    recipe = four.write("dear.yaml", provider=provider, budget={"max_cost": limit}, limits={"lease": 5})
    said = four.end(*four.start(4, recipe=recipe), code=3)
    answered = four.server.stats()["answered"]
    kept, bill = four.database.execute("SELECT COUNT(*), SUM(cost) FROM dprm.calls")[0]
    assert answered == kept, "something was billed that nobody knows of"
    assert bill <= limit
    for each in said:
        found = re.search(r"\$([\d.]+) spent by all workers, and the next call could cost up to \$([\d.]+)", each)
        assert found, each
        assert bill + float(found[2]) * 1.05 > limit, "there was room for one more call"
    assert answered < four.calls, "the budget was no limit"


def test_three_workers_keep_one_pace(team: Callable[..., Team]) -> None:
    three = team(4, latency=0.0, limits={"concurrency": 8, "rpm": 1200, "lease": 5})
    three.end(*three.start(3))
    arrivals = three.server.stats(details=True)["arrivals"]
    assert len(arrivals) == three.calls
    rate = 1200 / (60 + VALID)
    for seconds in (0.1, 0.5, 1.0, 2.0):
        most = _most_within(arrivals, seconds)
        assert most <= rate * (seconds + VALID) + 1 + 2, f"{most} within {seconds} s"  # the wire may bunch two


@pytest.mark.slow
def test_a_429_cools_everyone(team: Callable[..., Team]) -> None:
    two = team(60, latency=0.03, limits={"lease": 5})
    pids = two.start(2)
    two.until(lambda stats: stats["answered"] >= 40 and stats["max_in_flight"] > two.concurrency)
    two.server.script(chances={"429": 1.0})  # Retry-After: 1; one alone would hold up its own call only
    two.until(lambda stats: stats["statuses"].get("429", 0) >= two.concurrency)
    two.server.script(chances={})
    two.end(*pids)
    stats = two.server.stats(details=True)
    assert stats["answered"] == two.calls and stats["statuses"]["429"] >= 3
    arrivals = sorted(stats["arrivals"])
    longest = max(later - earlier for earlier, later in itertools.pairwise(arrivals))
    assert longest > 0.5, (
        "somebody went on"
    )  # while one cools down the other would send a call every hundredth of a second


def _most_within(arrivals: list[float], seconds: float) -> int:
    most = start = 0
    for end, at in enumerate(sorted(arrivals)):
        while arrivals[start] <= at - seconds:
            start += 1
        most = max(most, end - start + 1)
    return most


# -- arithmetic -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(postgres_server: PostgresServer) -> Iterator[PostgresStore]:
    """One ledger for all examples: each takes names of its own."""
    with pytest.MonkeyPatch.context() as environment, postgres_server.database() as database:
        environment.setenv("PGPASSWORD", PASSWORD)
        made = PostgresStore(database.address, readonly=False)
        yield made
        made.close()


@given(
    seed=st.integers(0, 10**6),
    limit=st.one_of(st.integers(1, 100), st.integers(100, 20_000)),
    workers=st.integers(1, 5),
    idle=st.sampled_from([0.0, 0.3]),
)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_minute_sees_more_than_the_limit(
    store: PostgresStore, seed: int, limit: int, workers: int, idle: float
) -> None:
    """What workers take at random moments and use as late as they may: the worst that can come together."""
    dice = random.Random(seed)
    bucket = SharedBucket(RetryingPool(store.pool, store.address), uuid4().hex, limit, lambda: workers)
    batch = max(1.0, bucket.rate * 0.25 / workers)
    used: list[float] = []
    now = 1e9
    with store.pool.connection() as db, db.transaction():
        while now < 1e9 + 200 and len(used) < 2000:
            waits = bucket.taken(db, batch, now)
            first = now + waits
            for unit in range(1, int(batch) + 1):
                allowed = first + unit / bucket.rate
                latest = max(now, allowed) if dice.random() < 0.5 else allowed + VALID
                if latest >= now and dice.random() >= idle:
                    used.append(min(latest, allowed + VALID))
            # Sometimes everybody is there at once, sometimes there is a pause.
            now = max(now, first) if dice.random() < 0.8 else now + dice.uniform(0, 4 / bucket.rate + 1)
    used.sort()
    most = 0
    for start in range(len(used)):
        within = sum(1 for at in used[start:] if at < used[start] + 60)
        most = max(most, within)
        if within == len(used) - start:
            break
    assert most <= limit


def test_the_limit_is_used(store: PostgresStore) -> None:
    """Three who always want more get it all, less the sixtieth that the validity of a unit costs."""
    limit = 600
    bucket = SharedBucket(RetryingPool(store.pool, store.address), uuid4().hex, limit, lambda: 3)
    now, units = 1e9, 0.0
    with store.pool.connection() as db, db.transaction():
        while now < 1e9 + 120:
            units += 3.0
            now += max(0.0, bucket.taken(db, 3.0, now) + 3.0 / bucket.rate)
    assert 0.97 * limit <= units / 2 <= limit


def test_buckets_of_several_workers_in_real_time(store: PostgresStore) -> None:
    """The workers' own halves: what is in hand, what has become void, what is asked for anew."""
    limit, name = 3000, uuid4().hex
    used: list[float] = []

    async def worker(dice: random.Random) -> None:
        bucket = SharedBucket(RetryingPool(store.pool, store.address), name, limit, lambda: 3)
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            if time.monotonic() <= await bucket.take(1.0):
                used.append(time.monotonic())
            if dice.random() < 0.01:
                await asyncio.sleep(0.2)

    async def all_of_them() -> None:
        await asyncio.gather(*(worker(random.Random(seed)) for seed in range(3)))

    asyncio.run(all_of_them())
    rate = limit / (60 + VALID)
    assert len(used) > 20
    for seconds in (0.05, 0.2, 0.5, 1.0):
        assert _most_within(sorted(used), seconds) <= rate * (seconds + VALID) + 2


@pytest.mark.parametrize("waits_for", ["tokens", "requests"])
def test_a_turn_that_is_not_waited_for_takes_no_tokens(store: PostgresStore, waits_for: str) -> None:
    """The wait for a turn is cancelled, and the next one comes at once: it need not wait for what the first had reserved."""
    requests = 1.0 if waits_for == "requests" else None

    async def go() -> None:
        pace = SharedRateLimit(
            RetryingPool(store.pool, store.address), uuid4().hex, rpm=requests, tpm=6000, workers=lambda: 1
        )
        if requests:
            await pace.turn(0.0)  # there is none other for a minute
        cancelled = asyncio.create_task(pace.turn(6000 if waits_for == "tokens" else 20))
        await asyncio.sleep(0.3)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        if requests:
            assert pace._credit == pytest.approx(20)
        else:
            await asyncio.wait_for(pace.turn(50), 5)

    asyncio.run(go())


@given(
    seed=st.integers(0, 10**6),
    limit=st.floats(1, 300),
    workers=st.integers(1, 4),
    leaves=st.booleans(),
)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_all_together_never_come_to_more_than_the_budget(
    store: PostgresStore, seed: int, limit: float, workers: int, leaves: bool
) -> None:
    run = uuid4().hex
    told = {"spent": 0.0, "in flight": 0.0}
    reached: list[BudgetReached] = []

    async def worker(number: int) -> None:
        writer = uuid4()
        for stay in range(2 if leaves else 1):
            await at_work(random.Random(seed * 10 + 5 * stay + number), writer)

    async def at_work(dice: random.Random, writer: UUID) -> None:
        pool = RetryingPool(store.pool, store.address)
        member = Membership(pool, run=run, scope=run, writer=writer, lease=30, ceiling=lambda: 0.0)
        await asyncio.to_thread(member.renew)
        budget = SharedBudget(limit, pool, member, run)

        async def give_back() -> None:
            while True:
                await asyncio.sleep(0.05)
                await budget.give_back()

        giving = asyncio.create_task(give_back())

        async def call() -> None:
            worst = dice.uniform(1, 20)
            reserved = await budget.reserve(worst)
            told["in flight"] += worst
            assert told["spent"] + told["in flight"] <= limit + 1e-6
            await asyncio.sleep(dice.uniform(0, 0.002))
            real = worst * dice.choice([0.05, 0.3, 1.0])
            told["in flight"] -= worst
            told["spent"] += real
            budget.settle(reserved, real)
            await asyncio.to_thread(_commit, store, writer, run, real)

        async def calls() -> None:
            for _ in range(6 if leaves else 12):
                await call()

        try:
            going = [asyncio.create_task(calls()) for _ in range(3)]
            for result in await asyncio.gather(*going, return_exceptions=True):
                if isinstance(result, BudgetReached):
                    reached.append(result)
                elif isinstance(result, BaseException):
                    raise result
        finally:
            giving.cancel()
            await asyncio.to_thread(member.leave)

    async def all_of_them() -> None:
        await asyncio.gather(*(worker(number) for number in range(workers)))

    asyncio.run(all_of_them())
    assert told["spent"] <= limit + 1e-6
    if reached:
        assert told["spent"] > limit - 20, "there was room for one more call"


def _commit(store: PostgresStore, writer: UUID, run: str, cost: float) -> None:
    """What the ledger's writer does when it keeps a reply."""
    query = (
        "INSERT INTO writers (run, writer, cost, last_commit) VALUES (%s, %s, %s, %s) "
        "ON CONFLICT (run, writer) DO UPDATE SET cost = writers.cost + excluded.cost"
    )
    with store.pool.connection() as db:
        db.execute(query, (run, writer, cost, Transaction(run).id))


@given(st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_key_has_one_holder(store: PostgresStore, data: st.DataObject) -> None:
    """Against a dictionary: whatever is claimed, let go, lost with its worker or claimed again, an item is one worker's at a time."""
    with store.pool.connection() as db:
        db.execute("DELETE FROM workers")
    pool = RetryingPool(store.pool, store.address)

    async def sure(lease: PostgresLease) -> None: ...

    members = [Membership(pool, run="r", scope="s", writer=uuid4(), lease=60, ceiling=lambda: 0.0) for _ in range(3)]
    for member in members:
        member.renew()
    workers = [Leases(pool, member, sure) for member in members]
    keys = [bytes([number]) * 16 for number in range(6)]
    holder: dict[bytes, int] = {}
    held: list[list[PostgresLease]] = [[], [], []]
    for _ in range(data.draw(st.integers(5, 15))):
        me = data.draw(st.integers(0, 2))
        what = data.draw(st.sampled_from(["claim", "claim", "claim", "release", "die"]))
        if what == "claim":
            wanted = data.draw(
                st.lists(
                    st.sets(st.sampled_from(keys), min_size=1, max_size=2).map(lambda each: tuple(sorted(each))),
                    max_size=5,
                )
            )
            most = data.draw(st.integers(1, 3))
            got = workers[me].claim(wanted, most)
            for place, lease in enumerate(got):
                free = all(holder.get(key, me) == me for key in wanted[place])
                assert (lease is not None) == free
                if lease:
                    assert isinstance(lease, PostgresLease)
                    held[me].append(lease)
                    holder.update(dict.fromkeys(wanted[place], me))
            assert sum(lease is not None for lease in got) <= most
        elif what == "release" and held[me]:
            workers[me].release(held[me].pop(data.draw(st.integers(0, len(held[me]) - 1))))
            still = {key for lease in held[me] for key in lease.keys}
            holder = {key: who for key, who in holder.items() if who != me or key in still}
        elif what == "die":
            members[me].leave()
            members[me].renew()
            assert not any(lease.good for lease in held[me])
            workers[me].clear()
            held[me].clear()
            holder = {key: who for key, who in holder.items() if who != me}
        # Also what was claimed for an item that was not needed any more, or not to be had whole.
        if workers[me].begin_deleting():
            workers[me].delete_released()
            workers[me].end_deleting()
    with store.pool.connection() as db:
        rows = db.execute("SELECT key, worker FROM leases").fetchall()
    assert {bytes(key): worker for key, worker in rows} == {key: members[who].number for key, who in holder.items()}


def test_a_worker_out_of_touch_is_no_judge(postgres: Database) -> None:
    """Late is not dead: as long as nobody else has looked, a worker that was late has lost nothing."""
    store = PostgresStore(postgres.address, readonly=False)
    pool = RetryingPool(store.pool, store.address)
    late, other = (Membership(pool, run="r", scope="s", writer=uuid4(), lease=1, ceiling=lambda: 0.0) for _ in range(2))
    late.renew()
    assert late.good
    time.sleep(1.0)
    assert not late.good, "its time is up: it is to ask before it sends"
    with connect(postgres.address) as db:
        db.execute("UPDATE workers SET expires_at = clock_timestamp() - interval '1 second'")
    late.renew()
    assert late.life == 1, "nobody had looked"
    with connect(postgres.address) as db:
        db.execute("UPDATE workers SET expires_at = clock_timestamp() - interval '1 second'")
    other.renew()
    other.delete_expired()
    late.renew()
    assert late.life == 2 and late.good
    store.close()


def test_a_turn_that_was_over_before_the_budget_answered_is_not_used(tmp_path: Path) -> None:
    """Units are void a second after their time, also where it is the budget, or the database behind it, that takes so long."""

    class Slow(Budget):
        waited = False

        async def reserve(self, worst: float | None) -> float:
            if not self.waited:
                self.waited = True
                await asyncio.sleep(0.6)
            return await super().reserve(worst)

    class Brief(LocalRateLimit):
        async def turn(self, tokens: float) -> Permit:
            turns.append(time.monotonic())
            return Permit(turns[-1], turns[-1] + 0.5)

    class Alone(Coordinator):
        def limiter(self, limits: LimitsConfig) -> Limiter:
            return Limiter(concurrency=1, rate_limit=Brief(None, None))

    async def complete(request: Request) -> Answer:
        return label()

    async def go() -> None:
        limits = LimitsConfig(concurrency=1)
        with Ledger(LedgerAddress.parse(tmp_path / "ledger.sqlite")) as ledger:
            engine = Engine(
                provider=provider, ledger=ledger, prices=FREE, budget=budget, limits=limits, coordinator=Alone()
            )
            await engine.run(work(2), items(1))

    turns: list[float] = []
    provider, budget = RecordingProvider(complete), Slow(1.0)
    asyncio.run(go())
    assert len(provider.requests) == 2 < len(turns)
    assert not budget.reserved, "what was reserved in vain is free again"


def test_who_leaves_while_it_asks_for_more_time_is_gone(postgres: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer to that question, "there is no such row", must not bring it back."""
    asking, answered = threading.Event(), threading.Event()
    renew = Membership._renew

    def late(self: Membership, db: Any) -> bool:
        asking.set()
        time.sleep(0.3)
        return renew(self, db)

    def noted(self: Membership) -> None:
        ask(self)
        answered.set()

    async def go() -> None:
        async with PostgresCoordinator(store, run="r", scope="s", lease=1):
            ask_late = asyncio.to_thread(asking.wait, 10)
            monkeypatch.setattr(Membership, "_renew", late)
            monkeypatch.setattr(Membership, "renew", noted)
            assert await ask_late

    ask = Membership.renew
    store = PostgresStore(postgres.address, readonly=False)
    asyncio.run(go())
    assert answered.wait(10)
    assert postgres.execute("SELECT COUNT(*) FROM dprm.workers") == [(0,)]
    store.close()


def test_a_worker_that_was_taken_for_dead_starts_over(postgres: Database) -> None:
    """In the middle of its calls a worker's row is deleted: it sends nothing more under what it had, and asks for nothing twice."""
    asked, rows = work(5), items(12)
    died = asyncio.Event()

    async def complete(request: Request) -> Answer:
        if len(provider.requests) == 20 and not died.is_set():
            died.set()
            postgres.execute("DELETE FROM dprm.workers")
            time.sleep(1.1)  # noqa: ASYNC251 - the whole process sleeps, for longer than its lease
        await asyncio.sleep(0.01)
        return label()

    provider = RecordingProvider(complete)

    async def go() -> Counters:
        recipe = Recipe.of(
            {"provider": {"name": "openai", "model": "m"}, "ledger": postgres.url, "limits": {"lease": 1}}
        )
        with Ledger(postgres.address, run=recipe.name) as ledger:
            async with coordinator_for(ledger, recipe) as coordinator, asyncio.timeout(60):
                engine = Engine(
                    provider=provider,
                    ledger=ledger,
                    prices=FREE,
                    budget=coordinator.budget(None, 0.0),
                    limits=recipe.limits,
                    coordinator=coordinator,
                )
                await engine.run(asked, rows)
                return engine.counters

    tally = asyncio.run(go())
    assert died.is_set()
    bodies = [str(request.messages) for request in provider.requests]
    assert len(bodies) == len(set(bodies)) == 12 * 5
    assert (tally.items, tally.annotations, tally.statuses["ok"], tally.calls) == (12, 60, 60, 60)
    assert not postgres.execute("SELECT 1 FROM dprm.leases")
