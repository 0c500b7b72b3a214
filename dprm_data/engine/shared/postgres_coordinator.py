"""The coordinator of workers that share a PostgreSQL ledger.

What cannot wait is one round trip (a claim of many items, a slab of the budget, a batch of the rate limits). All else is gathered and told
five times a second by a task of its own: that this worker is still there, what it lets go, the cooldowns that it met; and it hears
what the others met.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, cast

from dprm_data.core.errors import LedgerError
from dprm_data.engine.coordinator import Coordinator, Lease, LeaseLost
from dprm_data.engine.costs import Budget
from dprm_data.engine.counters import Counters
from dprm_data.engine.shared.budget import SharedBudget
from dprm_data.engine.shared.leases import Keys, Leases, PostgresLease
from dprm_data.engine.shared.membership import Figures, Membership
from dprm_data.engine.shared.rate_limit import SharedRateLimit
from dprm_data.ledger.postgres import PostgresStore
from dprm_data.ledger.postgres_pool import Patient
from dprm_data.providers.limits import Limiter
from dprm_data.recipe.recipe import LimitsConfig

if TYPE_CHECKING:
    from dprm_data.ledger.postgres_pool import Connection

_EVERY = 0.2  # seconds between two words with the others
_BURY_EVERY = 1.0
_LAST_WORD = 2.0  # seconds at most that it takes
_NEW = 0.05  # seconds by which a cooldown must be longer than what the others know to be news

_COOL = (
    "INSERT INTO cooldowns (scope, until) VALUES (%(scope)s, clock_timestamp() + make_interval(secs => %(seconds)s)) "
    "ON CONFLICT (scope) DO UPDATE SET until = GREATEST(cooldowns.until, excluded.until)"
)
_HEAR = """
SELECT COALESCE((SELECT extract(epoch FROM until - clock_timestamp()) FROM cooldowns WHERE scope = %(scope)s), 0)::float8,
       COALESCE((SELECT short_until > clock_timestamp() FROM budgets WHERE run = %(run)s), FALSE),
       (SELECT COUNT(*) FROM workers WHERE scope = %(scope)s),
       COUNT(*), COALESCE(SUM(calls), 0)::bigint, COALESCE(SUM(in_flight), 0)::bigint
FROM workers WHERE run = %(run)s
"""


@dataclass(frozen=True, slots=True)
class _News:
    """What is heard: seconds of cooldown left, whether the budget is short, how many share the limits, and what all of the run do."""

    cooling: float = 0.0
    short: bool = False
    sharing: int = 1
    workers: int = 1
    calls: int = 0
    in_flight: int = 0


class PostgresCoordinator(Coordinator):
    """This process among the workers on one ledger. Raises `LedgerError` where the database is away for longer than it is waited for.

    run: whose budget is shared; scope: whose limits (one account's calls to one model); lease: seconds after which a worker that says
    nothing is taken for dead.
    """

    shared = True

    def __init__(self, store: PostgresStore, *, run: str, scope: str, lease: float) -> None:
        self._patient = Patient(store.pool, store.url)
        self._names = {"run": run, "scope": scope}
        self._budget: SharedBudget | None = None
        self._limiter: Limiter | None = None
        self._member = Membership(
            self._patient, run=run, scope=scope, writer=store.writer, lease=lease, ceiling=self._under_way
        )
        self._leases = Leases(self._patient, self._member, self._make_sure)
        self._life = 0
        self._staying = asyncio.Lock()
        self._news = _News()
        self._cool_until = 0.0  # what the others know of
        self._cooldown = 0.0  # until when, that they do not
        self._hurry = asyncio.Event()
        self._buried_at = 0.0
        self._talking: asyncio.Task[None] | None = None
        self._stop: Callable[[BaseException], None] = lambda reason: None
        self._ending = False

    # -- what there is to agree about -----------------------------------------------------------------------------------

    def budget(self, limit: float | None, spent: float) -> Budget:
        if limit is None:
            return Budget(None)
        self._budget = SharedBudget(limit, self._patient, self._member, self._names["run"])
        return self._budget

    def limiter(self, limits: LimitsConfig) -> Limiter:
        if self._limiter is None:
            pace = SharedRateLimit(
                self._patient,
                self._names["scope"],
                rpm=limits.rpm,
                tpm=limits.tpm,
                workers=lambda: self._news.sharing,
            )
            self._limiter = Limiter(concurrency=limits.concurrency, pace=pace, told=self._cooled)
        return self._limiter

    def claim(self, wanted: Sequence[Keys], most: int) -> list[Lease | None]:
        self._notice()
        return self._leases.claim(wanted, most)

    def release(self, lease: Lease) -> None:
        self._leases.release(cast(PostgresLease, lease))

    def report(self, counters: Counters) -> None:
        self._member.figures = Figures(counters.calls, counters.in_flight)
        counters.workers, counters.calls_together = self._news.workers, self._news.calls

    def on_failure(self, stop: Callable[[BaseException], None]) -> None:
        self._stop = stop
        if self._talking and self._talking.done():
            self._talked(self._talking)

    # -- being there ----------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._member.stay)
        self._notice()
        self._talking = asyncio.create_task(self._talk())
        self._talking.add_done_callback(self._talked)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._talking
        self._patient.stopped.set()
        self._ending = True
        self._hurry.set()
        # A word that is under way comes to its end first: it might put back the row that is deleted now.
        await asyncio.wait([self._talking], timeout=_LAST_WORD)
        self._talking.cancel()
        with suppress(asyncio.CancelledError, LedgerError):
            await self._talking
        with suppress(Exception):  # then the others find it expired
            await asyncio.to_thread(self._member.leave)

    async def _make_sure(self, lease: PostgresLease) -> None:
        async with self._staying:
            if not self._member.good:
                await asyncio.to_thread(self._member.stay)
        self._notice()
        if not lease.good:
            raise LeaseLost

    def _notice(self) -> None:
        """If this worker was taken for dead, it has nothing any more."""
        if self._life == self._member.life:
            return
        self._life = self._member.life
        self._leases.forget()
        if self._budget:
            self._budget.begin_anew(self._member.ceiling)

    def _under_way(self) -> float:
        return self._budget.lowest_ceiling if self._budget else 0.0

    # -- talking --------------------------------------------------------------------------------------------------------

    def _cooled(self, seconds: float) -> None:
        """A cooldown was met here: the others hear of it at once."""
        until = time.monotonic() + seconds
        if until > max(self._cool_until, self._cooldown) + _NEW:
            self._cooldown = until
            self._hurry.set()

    async def _talk(self) -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), _EVERY)
            if self._ending:
                return
            self._hurry.clear()
            cooldown, self._cooldown = self._cooldown, 0.0
            self._cool_until = max(self._cool_until, cooldown)
            letting_go = self._leases.leaving()
            self._news = await asyncio.to_thread(self._exchange, cooldown, letting_go)
            self._leases.left()
            self._notice()
            self._cool_until = max(self._cool_until, time.monotonic() + self._news.cooling)
            if self._limiter and self._news.cooling > 0:
                self._limiter.join_cooldown(self._news.cooling)
            if self._budget and self._news.short:
                await self._budget.give_back()

    def _talked(self, talking: asyncio.Task[None]) -> None:
        if not talking.cancelled() and (error := talking.exception()):
            self._stop(error)

    def _exchange(self, cooldown: float, letting_go: bool) -> _News:
        """One word with the others. Blocks."""
        if self._member.due:
            self._member.stay()
        if cooldown:
            given = self._names | {"seconds": cooldown - time.monotonic()}
            self._patient(lambda db: db.execute(_COOL, given))
        if letting_go:
            self._leases.let_go()
        if time.monotonic() - self._buried_at > _BURY_EVERY:
            self._member.bury()
            self._buried_at = time.monotonic()
        return self._patient(self._hear)

    def _hear(self, db: Connection) -> _News:
        row: Any = db.execute(_HEAR, self._names).fetchone()
        return _News(*row)
