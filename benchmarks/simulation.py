"""A discrete-event simulation of the engine's scheduling: how long a run takes, and what it asks, on machines and providers that are not here.

What decides is the engine's own code, in virtual time: `Limiter` (cooldown, adaptive window, rpm and tpm), `RetryingClient` (attempts, backoff), `Scheduler`
(an item's first call ahead of the others). What is simulated is what they act on:

    the provider    a latency per call, failures by chance, a limit of its own with 429s
    the process     one processor that every call needs for a while, before and after it is sent
    the ledger      a writer per process that commits what has gathered; a database that takes so many rows a second from all of them
    the workers     processes that lease items from one pile; one that dies leaves them until its leases have run out

Nothing is measured here: the numbers in a `Model` come from `benchmarks.cost_per_call` and from providers' contracts.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from benchmarks.virtual_time import virtual_run
from dprm_data.engine.budget import Budget
from dprm_data.engine.cancellation import Cancellation
from dprm_data.engine.client import RetryingClient
from dprm_data.engine.counters import Counters
from dprm_data.engine.prices import Prices
from dprm_data.engine.scheduler import OpenItem, Pause, ReadyItem, Scheduler
from dprm_data.ledger.call import Call, Reply
from dprm_data.providers.characters import PER_TOKEN
from dprm_data.providers.limits import Limiter, LocalRateLimit
from dprm_data.providers.request import Answer, CallFailed, FailureKind, Request, Usage
from dprm_data.recipe.recipe import LimitsConfig

Latency = Callable[[random.Random], float]
_LOOK_AGAIN = 0.5  # seconds between two looks at what others have


def fixed(seconds: float) -> Latency:
    return lambda dice: seconds


def lognormal(median: float, sigma: float) -> Latency:
    """Most calls take about the median (seconds); a few much longer. sigma: of the logarithm."""
    return lambda dice: median * math.exp(dice.gauss(0.0, sigma))


def exponential(mean: float) -> Latency:
    return lambda dice: dice.expovariate(1 / mean)


A_SECOND = fixed(1.0)


@dataclass(frozen=True)
class Model:
    """A run to be simulated. Times in seconds.

    concurrency: per process. rpm, tpm: of all processes together. tokens: of one call's input; output: of its answer.
    failures: chance of each kind, per attempt. provider_rpm: beyond it the provider says 429, after `refusal` seconds, and how long to wait.
    cpu: of one attempt, before and after it together; every process has one processor. commit: of one transaction; rows_per_second: what
    the database takes from all processes. killed: when a process dies, one after the other. lease: until others may take a dead one's items.
    """

    items: int = 100
    calls_each: int = 20
    processes: int = 1
    concurrency: int = 32
    rpm: float | None = None
    tpm: float | None = None
    tokens: int = 500
    output: int = 10
    attempts: int = 6
    latency: Latency = A_SECOND
    failures: dict[FailureKind, float] = field(default_factory=dict)
    provider_rpm: float | None = None
    refusal: float = 0.0
    cpu: float = 0.0
    commit: float = 0.0
    rows_per_second: float = math.inf
    killed: Sequence[float] = ()
    lease: float = 60.0
    seed: int = 0


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    seconds: until everything had an outcome; requests: that reached the provider; answered, given_up: calls by how they ended; billed: answers
    that the provider gave, those that nobody heard included; statuses: of all requests; most_in_flight: at the provider; steady: calls that
    ended per second between the fourth and the eighth tenth of them, where the run has begun and not begun to end.
    """

    seconds: float
    requests: int
    answered: int
    given_up: int
    billed: int
    statuses: Counter[str]
    most_in_flight: int
    steady: float

    @property
    def per_second(self) -> float:
        """Calls answered per second."""
        return self.answered / self.seconds


def simulate(model: Model) -> Outcome:
    """Run the model to its end."""
    return virtual_run(_simulate(model), model.seed)


async def _simulate(model: Model) -> Outcome:
    world = _World(model)
    begun = asyncio.get_running_loop().time()
    processes = [asyncio.create_task(_Process(world).run()) for _ in range(model.processes)]
    killers = [asyncio.create_task(_kill(process, at)) for process, at in zip(processes, model.killed, strict=False)]
    for result in await asyncio.gather(*processes, return_exceptions=True):
        if isinstance(result, Exception):
            raise result
    for killer in killers:
        killer.cancel()
    seconds = asyncio.get_running_loop().time() - begun
    provider, kept = world.provider, Counter(world.kept.values())
    return Outcome(
        seconds,
        provider.requests,
        kept["answered"],
        kept["exhausted"],
        provider.statuses["answered"],
        provider.statuses,
        provider.most_in_flight,
        _steady(world.ended),
    )


def _steady(ended: Sequence[float]) -> float:
    first, last = len(ended) * 4 // 10, len(ended) * 8 // 10
    seconds = ended[last] - ended[first] if ended else 0.0
    return (last - first) / seconds if seconds > 0 else math.inf


async def _kill(process: asyncio.Task[None], at: float) -> None:
    await asyncio.sleep(at)
    process.cancel()


# -- what all processes share -------------------------------------------------------------------------------------------


class _World:
    def __init__(self, model: Model) -> None:
        self.model = model
        self.provider = _Provider(model)
        self.database = _Station(1 / model.rows_per_second)
        self.pace = LocalRateLimit(model.rpm, model.tpm)
        self.kept: dict[bytes, str] = {}  # key: status
        self.ended: list[float] = []  # when
        self.pile = _Pile(model)


class _Station:
    """Serves one after the other, each for so long."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._free_at = 0.0

    async def serve(self, amount: float = 1.0) -> None:
        if self._seconds:
            now = asyncio.get_running_loop().time()
            self._free_at = max(now, self._free_at) + amount * self._seconds
            await asyncio.sleep(self._free_at - now)


class _Provider:
    """The provider's side of the wire."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._dice = random.Random(model.seed)
        self._rate = (model.provider_rpm or math.inf) / 60
        self._left = self._burst = max(1.0, self._rate)  # one second's worth at once
        self._looked_at = asyncio.get_running_loop().time()
        self.requests = self.in_flight = self.most_in_flight = 0
        self.statuses: Counter[str] = Counter()

    async def ask(self) -> Answer:
        self.requests += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        fate = self._fate()
        self.statuses[fate] += 1  # at once: what is on its way is billed, whether anyone is there to hear it or not
        try:
            if fate == "limited":
                retry_after = self._retry_after
                await asyncio.sleep(self._model.refusal)
                raise CallFailed("rate_limit", "limited", retry_after=retry_after)
            await asyncio.sleep(self._model.latency(self._dice))
        finally:
            self.in_flight -= 1
        if fate != "answered":
            raise CallFailed(fate, "failed by chance")  # type: ignore[arg-type]
        return Answer("", "stop", Usage(self._model.tokens, self._model.output), "simulated")

    def _fate(self) -> str:
        now = asyncio.get_running_loop().time()
        if self._rate < math.inf:
            self._left = min(self._burst, self._left + (now - self._looked_at) * self._rate)
            self._looked_at = now
            if self._left < 1:
                self._retry_after = (1 - self._left) / self._rate
                return "limited"
            self._left -= 1
        dice = self._dice.random()
        for kind, chance in self._model.failures.items():
            dice -= chance
            if dice < 0:
                return kind
        return "answered"


@dataclass(slots=True)
class _Item:
    """An item, and since when nobody can have it any more."""

    number: int
    free_at: float = 0.0


class _Pile:
    """The items that are not closed: those that nobody has, and those that dead processes had."""

    def __init__(self, model: Model) -> None:
        self._free: deque[_Item] = deque(map(_Item, range(model.items)))
        self._lease = model.lease
        self.open = model.items

    def take(self, now: float) -> _Item | None:
        for _ in range(len(self._free)):
            item = self._free.popleft()
            if item.free_at <= now:
                return item
            self._free.append(item)
        return None

    def give_back(self, items: Sequence[_Item], now: float) -> None:
        """Their holder has died."""
        for item in items:
            item.free_at = now + self._lease
            self._free.append(item)


# -- one process --------------------------------------------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class _Course:
    """What `Scheduler` hands out: here, one call."""

    call: Call
    outcome: str | None = None


class _Process:
    """An engine: the real agenda, sender and limiter, before the simulated provider and ledger."""

    family = "simulated"

    def __init__(self, world: _World) -> None:
        model = world.model
        self._world = world
        self._processor = _Station(model.cpu / 2)
        self._held: dict[int, _Item] = {}
        self._message = {"role": "user", "content": "x" * int(model.tokens * PER_TOKEN)}
        self._gathered: list[asyncio.Future[None]] = []
        self._writer: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._client = RetryingClient(
            provider=self,
            ledger=self,  # type: ignore[arg-type]
            prices=Prices(lambda usage: 0.0, "simulated"),
            budget=Budget(None),
            limits=LimitsConfig(attempts=model.attempts, give_up_after=1e9),
            limiter=Limiter(concurrency=model.concurrency, rate_limit=world.pace),
            counters=Counters(),
            stop=Cancellation(),
        )

    async def run(self) -> None:
        """Until nothing is open anywhere; or until it is killed, which leaves its items to the others."""
        agenda = Scheduler(self._opened(), closed=self._closed)  # type: ignore[arg-type]
        many = self._world.model.concurrency
        workers = [asyncio.create_task(self._work(agenda)) for _ in range(many + many // 4 + 1)]
        try:
            await asyncio.gather(*workers)
        except asyncio.CancelledError:
            for worker in workers:
                worker.cancel()
            if self._writer:
                self._writer.cancel()
            self._world.pile.give_back(list(self._held.values()), asyncio.get_running_loop().time())
            raise

    async def _work(self, agenda: Scheduler) -> None:
        while not agenda.finished:  # as `Engine._worker`
            found = agenda.next()
            if found:
                item, state = found
                reply = await self._client.reply(state.call, missing=True)  # type: ignore[attr-defined]
                state.outcome = reply.status  # type: ignore[misc, assignment]
                agenda.through(item, state)
                self._news.set()
            elif agenda.exhausted or agenda.paused_for:
                self._news.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), agenda.paused_for or None)
            else:
                await asyncio.sleep(0)
        self._news.set()

    def _opened(self) -> Iterator[ReadyItem | Pause]:
        pile, model = self._world.pile, self._world.model
        while pile.open:
            item = pile.take(asyncio.get_running_loop().time())
            if item is None and model.processes == 1:
                return  # as `ItemQueue`: alone, nobody can leave anything
            if item is None:
                yield Pause(_LOOK_AGAIN)
                continue
            self._held[item.number] = item
            keys = [item.number.to_bytes(8, "big") + place.to_bytes(8, "big") for place in range(model.calls_each)]
            missing = [_Course(self._call(key)) for key in keys if key not in self._world.kept]
            if missing:
                yield ReadyItem(item, [], missing)  # type: ignore[arg-type]
            else:
                self._close(item)

    def _call(self, key: bytes) -> Call:
        return Call(key, Request("simulated", (self._message,), {"max_tokens": self._world.model.output}))  # type: ignore[arg-type]

    def _closed(self, item: OpenItem) -> None:
        self._close(item.item)  # type: ignore[arg-type]

    def _close(self, item: _Item) -> None:
        del self._held[item.number]
        self._world.pile.open -= 1

    # -- as a provider --------------------------------------------------------------------------------------------------

    async def complete(self, request: Request) -> Answer:
        await self._processor.serve()
        try:
            return await self._world.provider.ask()
        finally:
            await self._processor.serve()

    async def aclose(self) -> None:
        return None

    # -- as a ledger ----------------------------------------------------------------------------------------------------

    def note_failure(self, failed: Any) -> None:
        return None

    async def record(self, key: bytes, reply: Reply) -> None:
        written = asyncio.get_running_loop().create_future()
        self._gathered.append(written)
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        await written
        self._world.kept[key] = reply.status
        self._world.ended.append(asyncio.get_running_loop().time())

    async def _write(self) -> None:
        await asyncio.sleep(0)
        while self._gathered:
            rows, self._gathered = self._gathered, []
            await asyncio.sleep(self._world.model.commit)
            await self._world.database.serve(len(rows))
            for written in rows:
                if not written.done():
                    written.set_result(None)
