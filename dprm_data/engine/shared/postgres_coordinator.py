"""The coordinator of workers that share a PostgreSQL ledger.

What cannot wait takes one round trip each (a claim of many items, a slab of the budget, a batch of the rate limit). Everything else is
exchanged five times a second by one task: this worker renews its row, deletes released leases, reports its cooldowns, and reads what the
others have reported.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, cast

from dprm_data.core.errors import LedgerError
from dprm_data.engine.budget import Budget
from dprm_data.engine.coordinator import Coordinator, Lease, LeaseLost
from dprm_data.engine.counters import Counters
from dprm_data.engine.shared.budget import SharedBudget
from dprm_data.engine.shared.leases import Keys, Leases, PostgresLease
from dprm_data.engine.shared.membership import Membership, WorkerCounts
from dprm_data.engine.shared.rate_limit import SharedRateLimit
from dprm_data.ledger.ledger import Ledger
from dprm_data.ledger.postgres import PostgresStore
from dprm_data.ledger.postgres_pool import RetryingPool
from dprm_data.providers.limits import Limiter
from dprm_data.recipe.recipe import LimitsConfig

if TYPE_CHECKING:
    from dprm_data.ledger.postgres_pool import Connection

_EXCHANGE_EVERY = 0.2  # seconds
_DELETE_EXPIRED_EVERY = 1.0
_LAST_EXCHANGE = 2.0  # seconds it may take
_LONGEST_COOLDOWN = 900.0  # seconds: one worker's provider must not stop all others for longer
_NEW_COOLDOWN = 0.05  # seconds by which a cooldown must exceed the known one to be reported

_COOL = (
    "INSERT INTO cooldowns (scope, until) VALUES (%(scope)s, clock_timestamp() + make_interval(secs => %(seconds)s)) "
    "ON CONFLICT (scope) DO UPDATE SET until = CASE WHEN cooldowns.until > clock_timestamp() + make_interval(secs => %(longest)s) "
    "THEN excluded.until ELSE GREATEST(cooldowns.until, excluded.until) END"
)
_STATUS = """
SELECT COALESCE((SELECT extract(epoch FROM until - clock_timestamp()) FROM cooldowns
                 WHERE scope = %(scope)s AND until <= clock_timestamp() + make_interval(secs => %(longest)s)), 0)::float8,
       COALESCE((SELECT short_until > clock_timestamp() FROM budgets WHERE run = %(run)s), FALSE),
       (SELECT COUNT(*) FROM workers WHERE scope = %(scope)s),
       COUNT(*), COALESCE(SUM(calls), 0)::bigint, COALESCE(SUM(in_flight), 0)::bigint
FROM workers WHERE run = %(run)s
"""


@dataclass(frozen=True, slots=True)
class _Status:
    """cooling: seconds of cooldown left; short: whether the budget is short; sharing: workers under these limits; the rest: of the run's workers."""

    cooling: float = 0.0
    short: bool = False
    sharing: int = 1
    workers: int = 1
    calls: int = 0
    in_flight: int = 0


class PostgresCoordinator(Coordinator):
    """This process among the workers on one ledger. Raises `LedgerError` if the database is away for longer than it is retried.

    run: whose budget is shared; scope: whose limits (one account's calls to one model); lease: seconds after which a silent worker counts
    as dead.
    """

    shared = True

    def __init__(self, store: PostgresStore, *, run: str, scope: str, lease: float) -> None:
        self._pool = RetryingPool(store.pool, store.address)
        self._run, self._scope = run, scope
        self._values = {"run": run, "scope": scope, "longest": _LONGEST_COOLDOWN}
        self._budget: SharedBudget | None = None
        self._limiter: Limiter | None = None
        self._member = Membership(
            self._pool, run=run, scope=scope, writer=store.writer, lease=lease, ceiling=self._lowest_ceiling
        )
        self._leases = Leases(self._pool, self._member, self._renew)
        self._life = 0
        self._renewing = asyncio.Lock()
        self._status = _Status()
        self._cool_until = 0.0  # as far as the others know
        self._cooldown = 0.0  # a later end, not reported yet
        self._hurry = asyncio.Event()
        self._deleted_expired_at = 0.0
        self._talking: asyncio.Task[None] | None = None
        self._stop: Callable[[BaseException], None] = lambda reason: None
        self._ending = False

    # -- budget, limits, leases ----------------------------------------------------------------------------------------

    def budget(self, limit: float | None, ledger: Ledger) -> Budget:
        if limit is None:
            return Budget(None, ledger=ledger)
        self._budget = SharedBudget(limit, self._pool, self._member, self._run, ledger=ledger)
        return self._budget

    def limiter(self, limits: LimitsConfig) -> Limiter:
        if self._limiter is None:
            rate_limit = SharedRateLimit(
                self._pool,
                self._scope,
                rpm=limits.rpm,
                tpm=limits.tpm,
                workers=lambda: self._status.sharing,
            )
            self._limiter = Limiter(concurrency=limits.concurrency, rate_limit=rate_limit, on_cooldown=self._cooled)
        return self._limiter

    def claim(self, wanted: Sequence[Keys], most: int) -> list[Lease | None]:
        self._check_life()
        return self._leases.claim(wanted, most)

    def release(self, lease: Lease) -> None:
        self._leases.release(cast(PostgresLease, lease))

    def report(self, counters: Counters) -> None:
        self._member.counts = WorkerCounts(counters.calls, counters.in_flight)
        counters.workers, counters.calls_together = self._status.workers, self._status.calls

    def on_failure(self, stop: Callable[[BaseException], None]) -> None:
        self._stop = stop
        if self._talking and self._talking.done():
            self._talked(self._talking)

    # -- membership -----------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._member.renew)
        self._check_life()
        self._talking = asyncio.create_task(self._talk())
        self._talking.add_done_callback(self._talked)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._talking
        self._pool.stopped.set()
        self._ending = True
        self._hurry.set()
        # Let an exchange in progress end first: it might insert the row again after `leave` has deleted it.
        await asyncio.wait([self._talking], timeout=_LAST_EXCHANGE)
        self._talking.cancel()
        with suppress(asyncio.CancelledError, LedgerError):
            await self._talking
        with suppress(Exception):  # then the others will find it expired
            await asyncio.to_thread(self._member.leave)

    async def _renew(self, lease: PostgresLease) -> None:
        async with self._renewing:
            if not self._member.good:
                await asyncio.to_thread(self._member.renew)
        self._check_life()
        if not lease.good:
            raise LeaseLost

    def _check_life(self) -> None:
        """Drop everything if this worker was declared dead and has joined again."""
        if self._life == self._member.life:
            return
        self._life = self._member.life
        self._leases.clear()
        if self._budget:
            self._budget.reset(self._member.ceiling)

    def _lowest_ceiling(self) -> float:
        return self._budget.lowest_ceiling if self._budget else 0.0

    # -- the exchange ---------------------------------------------------------------------------------------------------

    def _cooled(self, seconds: float) -> None:
        """Report a cooldown of this process at once."""
        until = time.monotonic() + min(seconds, _LONGEST_COOLDOWN)
        if until > max(self._cool_until, self._cooldown) + _NEW_COOLDOWN:
            self._cooldown = until
            self._hurry.set()

    async def _talk(self) -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), _EXCHANGE_EVERY)
            if self._ending:
                return
            self._hurry.clear()
            cooldown, self._cooldown = self._cooldown, 0.0
            self._cool_until = max(self._cool_until, cooldown)
            deleting = self._leases.begin_deleting()
            self._status = await asyncio.to_thread(self._exchange, cooldown, deleting)
            self._leases.end_deleting()
            self._check_life()
            self._cool_until = max(self._cool_until, time.monotonic() + self._status.cooling)
            if self._limiter and self._status.cooling > 0:
                self._limiter.join_cooldown(self._status.cooling)
            if self._budget and self._status.short:
                await self._budget.give_back()

    def _talked(self, talking: asyncio.Task[None]) -> None:
        if not talking.cancelled() and (error := talking.exception()):
            self._stop(error)

    def _exchange(self, cooldown: float, deleting: bool) -> _Status:
        """One exchange with the others. Blocks."""
        if self._member.due:
            self._member.renew()
        if cooldown:
            values = self._values | {"seconds": cooldown - time.monotonic()}
            self._pool.run(lambda db: db.execute(_COOL, values))
        if deleting:
            self._leases.delete_released()
        if time.monotonic() - self._deleted_expired_at > _DELETE_EXPIRED_EVERY:
            self._member.delete_expired()
            self._deleted_expired_at = time.monotonic()
        return self._pool.run(self._read_status)

    def _read_status(self, db: Connection) -> _Status:
        row: Any = db.execute(_STATUS, self._values).fetchone()
        return _Status(*row)
