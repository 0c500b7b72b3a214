"""The coordinator of workers that share a PostgreSQL ledger.

What cannot wait takes one round trip each (a claim of many items, a slab of the budget, a batch of the rate limit). Everything else is
exchanged five times a second by one task: this worker renews its row, deletes released leases, reports its cooldowns, and reads what the
others have reported.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
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
SELECT COALESCE((SELECT json_object_agg(scope, extract(epoch FROM until - clock_timestamp())::float8) FROM cooldowns
                 WHERE scope = ANY(%(scopes)s) AND until <= clock_timestamp() + make_interval(secs => %(longest)s)), '{}'),
       COALESCE((SELECT short_until > clock_timestamp() FROM budgets WHERE run = %(run)s), FALSE),
       (SELECT COUNT(*) FROM workers WHERE scope = %(scope)s),
       COUNT(*), COALESCE(SUM(calls), 0)::bigint, COALESCE(SUM(in_flight), 0)::bigint
FROM workers WHERE run = %(run)s
"""


@dataclass(frozen=True, slots=True)
class _Status:
    """cooling: seconds of cooldown left, by scope; short: whether the budget is short; sharing: workers under these limits; the rest: of the
    run's workers."""

    cooling: Mapping[str, float] = field(default_factory=dict)
    short: bool = False
    sharing: int = 1
    workers: int = 1
    calls: int = 0
    in_flight: int = 0


@dataclass(slots=True)
class _Scope:
    """One account's calls to one model. cool_until: as far as the others know; cooldown: a later end, not reported yet; stop: ends them."""

    limiter: Limiter | None = None
    cool_until: float = 0.0
    cooldown: float = 0.0
    calls: int = 0
    in_flight: int = 0
    stop: Callable[[BaseException], None] = lambda reason: None


class PostgresCoordinator(Coordinator):
    """This process among the workers on one ledger. Raises `LedgerError` if the database is away for longer than it is retried.

    run: whose budget is shared; scope: whose limits (one account's calls to one model); lease: seconds after which a silent worker counts
    as dead.
    """

    shared = True

    def __init__(self, store: PostgresStore, *, run: str, scope: str, lease: float) -> None:
        self._pool = RetryingPool(store.pool, store.address)
        self._run, self._scope = run, scope
        self._scopes: dict[str, _Scope] = {}  # by name
        self._budget: SharedBudget | None = None
        self._member = Membership(
            self._pool, run=run, scope=scope, writer=store.writer, lease=lease, ceiling=self._lowest_ceiling
        )
        self._leases = Leases(self._pool, self._member, self._renew)
        self._life = 0
        self._renewing = asyncio.Lock()
        self._status = _Status()
        self._hurry = asyncio.Event()
        self._deleted_expired_at = 0.0
        self._talking: asyncio.Task[None] | None = None
        self._ending = False

    # -- budget, limits, leases ----------------------------------------------------------------------------------------

    def budget(self, limit: float | None, ledger: Ledger) -> Budget:
        if limit is None:
            return Budget(None, ledger=ledger)
        self._budget = SharedBudget(limit, self._pool, self._member, self._run, ledger=ledger)
        return self._budget

    def of_model(self, scope: str) -> Coordinator:
        return _OfModel(self, scope)

    def limiter(self, limits: LimitsConfig, scope: str | None = None) -> Limiter:
        name = scope or self._scope
        there = self.scope(name)
        if there.limiter is None:
            rate_limit = SharedRateLimit(
                self._pool,
                name,
                rpm=limits.rpm,
                tpm=limits.tpm,
                workers=lambda: self._status.sharing,
            )
            there.limiter = Limiter(
                concurrency=limits.concurrency, rate_limit=rate_limit, on_cooldown=partial(self._cooled, there)
            )
        return there.limiter

    def scope(self, name: str | None = None) -> _Scope:
        """What is known of the calls in this scope (default: this worker's own)."""
        return self._scopes.setdefault(name or self._scope, _Scope())

    def claim(self, wanted: Sequence[Keys], most: int) -> list[Lease | None]:
        self._check_life()
        return self._leases.claim(wanted, most)

    def release(self, lease: Lease) -> None:
        self._leases.release(cast(PostgresLease, lease))

    def report(self, counters: Counters, scope: str | None = None) -> None:
        there = self.scope(scope)
        there.calls, there.in_flight = counters.calls, counters.in_flight
        all_ = self._scopes.values()
        self._member.counts = WorkerCounts(sum(each.calls for each in all_), sum(each.in_flight for each in all_))
        counters.workers, counters.calls_together = self._status.workers, self._status.calls

    def on_failure(self, stop: Callable[[BaseException], None], scope: str | None = None) -> None:
        self.scope(scope).stop = stop
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

    def _cooled(self, scope: _Scope, seconds: float) -> None:
        """Report a cooldown of this process at once."""
        until = time.monotonic() + min(seconds, _LONGEST_COOLDOWN)
        if until > max(scope.cool_until, scope.cooldown) + _NEW_COOLDOWN:
            scope.cooldown = until
            self._hurry.set()

    async def _talk(self) -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), _EXCHANGE_EVERY)
            if self._ending:
                return
            self._hurry.clear()
            cooldowns = {name: scope.cooldown for name, scope in self._scopes.items() if scope.cooldown}
            for name, cooldown in cooldowns.items():
                self._scopes[name].cool_until = max(self._scopes[name].cool_until, cooldown)
                self._scopes[name].cooldown = 0.0
            deleting = self._leases.begin_deleting()
            self._status = await asyncio.to_thread(self._exchange, cooldowns, list(self._scopes), deleting)
            self._leases.end_deleting()
            self._check_life()
            for name, cooling in self._status.cooling.items():
                self._join_cooldown(self._scopes[name], cooling)
            if self._budget and self._status.short:
                await self._budget.give_back()

    @staticmethod
    def _join_cooldown(scope: _Scope, cooling: float) -> None:
        scope.cool_until = max(scope.cool_until, time.monotonic() + cooling)
        if scope.limiter and cooling > 0:
            scope.limiter.join_cooldown(cooling)

    def _talked(self, talking: asyncio.Task[None]) -> None:
        if not talking.cancelled() and (error := talking.exception()):
            for scope in self._scopes.values():
                scope.stop(error)

    def _exchange(self, cooldowns: Mapping[str, float], scopes: Sequence[str], deleting: bool) -> _Status:
        """One exchange with the others. Blocks."""
        if self._member.due:
            self._member.renew()
        for name, cooldown in cooldowns.items():
            self._pool.run(partial(self._cool, name=name, seconds=cooldown - time.monotonic()))
        if deleting:
            self._leases.delete_released()
        if time.monotonic() - self._deleted_expired_at > _DELETE_EXPIRED_EVERY:
            self._member.delete_expired()
            self._deleted_expired_at = time.monotonic()
        return self._pool.run(partial(self._read_status, scopes=scopes))

    def _cool(self, db: Connection, *, name: str, seconds: float) -> None:
        db.execute(_COOL, {"scope": name, "seconds": seconds, "longest": _LONGEST_COOLDOWN})

    def _read_status(self, db: Connection, *, scopes: Sequence[str]) -> _Status:
        values = {"run": self._run, "scope": self._scope, "scopes": list(scopes), "longest": _LONGEST_COOLDOWN}
        row: Any = db.execute(_STATUS, values).fetchone()
        return _Status(*row)


class _OfModel(Coordinator):
    """The coordinator as one of several models sees it."""

    shared = True

    def __init__(self, whole: PostgresCoordinator, scope: str) -> None:
        self._whole = whole
        self._scope = scope

    def limiter(self, limits: LimitsConfig) -> Limiter:
        return self._whole.limiter(limits, self._scope)

    def claim(self, wanted: Sequence[Keys], most: int) -> list[Lease | None]:
        return self._whole.claim(wanted, most)

    def release(self, lease: Lease) -> None:
        self._whole.release(lease)

    def report(self, counters: Counters) -> None:
        self._whole.report(counters, self._scope)

    def on_failure(self, stop: Callable[[BaseException], None]) -> None:
        self._whole.on_failure(stop, self._scope)
