"""The budget of several workers: what all have spent, plus what any may still spend, never exceeds the limit.

Dollars are allotted in slabs. A worker's ceiling is the cost that its ledger's writer may reach; what it may still spend is the ceiling minus
what it has recorded, as the database sums it. So a reply counts in full from the commit that keeps it, and never twice. When a slab is
refused, all workers are asked to return what they have not reserved, and from then on get only what one call needs: the whole budget is
used before it counts as reached. A dead worker's unspent dollars are free again once its row is deleted; what it recorded stays spent,
and so does what it held for its calls in flight (`ledger/hold.py`).
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dprm_data.core.errors import BudgetReached
from dprm_data.engine.budget import Budget, reached
from dprm_data.engine.shared.membership import Membership
from dprm_data.ledger.ledger import Ledger
from dprm_data.ledger.postgres_pool import RetryingPool

if TYPE_CHECKING:
    from dprm_data.ledger.postgres_pool import Connection

_RETRY_EVERY = 0.1  # seconds
_SLAB_SECONDS = 5.0  # of spending in one slab
_SLAB_CALLS = 16  # worst cases in the first slab
_ROUNDING = 1e-9  # share of the limit that is too little to wait for

_LOCK = "INSERT INTO budgets (run) VALUES (%s) ON CONFLICT (run) DO UPDATE SET run = excluded.run RETURNING short_until > clock_timestamp()"
# One statement, so one snapshot: what a commit adds to one sum it takes from the other.
_SUMS = """
SELECT (SELECT COALESCE(SUM(cost), 0) FROM writers WHERE run = %(run)s),
       (SELECT COALESCE(SUM(held), 0) FROM holds WHERE run = %(run)s AND NOT EXISTS
            (SELECT 1 FROM workers WHERE workers.run = holds.run AND workers.writer::text = holds.writer)),
       (SELECT COALESCE(cost, 0) FROM writers WHERE run = %(run)s AND writer = (SELECT writer FROM workers WHERE id = %(me)s)),
       COALESCE(SUM(GREATEST(0, ceiling - COALESCE(writers.cost, 0))) FILTER (WHERE id <> %(me)s), 0),
       COALESCE(SUM(open) FILTER (WHERE id <> %(me)s), 0),
       COUNT(*),
       COALESCE(BOOL_OR(id = %(me)s), FALSE)
FROM workers LEFT JOIN writers USING (run, writer) WHERE run = %(run)s
"""
_RECORDED = "SELECT cost FROM writers WHERE run = %s AND writer = %s"
_RAISE = "UPDATE workers SET ceiling = %s, open = %s WHERE id = %s"
_SHORT = "UPDATE budgets SET short_until = clock_timestamp() + interval '2 seconds' WHERE run = %s"


@dataclass(frozen=True, slots=True)
class _SlabRequest:
    """need: dollars that a worker cannot do without; wish: what it would like; ceiling; open: the part of the ceiling that is not spent."""

    need: float
    wish: float
    ceiling: float
    open: float


@dataclass(frozen=True, slots=True)
class _SlabReply:
    """slab: dollars allotted (0: refused); spent: by all workers; held: of this, by workers that died; returnable: what other workers may still return; registered: whether this
    worker has its row."""

    slab: float
    spent: float
    held: float
    returnable: float
    registered: bool


class SharedBudget(Budget):
    """A budget of dollars for all workers of a run. `limit` is what this worker may spend at present, `total` what all may spend.

    A ceiling in the database includes what the ledger's writer had recorded before this budget was created (`_before`).
    """

    def __init__(
        self, total: float, pool: RetryingPool, member: Membership, run: str, *, ledger: Ledger | None = None
    ) -> None:
        super().__init__(0.0, ledger=ledger)
        self.total = total
        recorded: Any = pool.run(lambda db: db.execute(_RECORDED, (run, member.writer)).fetchone())
        self._before = float(recorded[0]) if recorded else 0.0
        self._pool = pool
        self._member = member
        self._run = run
        self._spent = 0.0  # by all
        self._requesting = asyncio.Lock()
        self._started = time.monotonic()

    async def _wait_for_room(self, amount: float) -> None:
        """Get a slab; or wait for dollars from other workers or own calls in flight. Raises `BudgetReached` if there are none to wait for."""
        async with self._requesting:
            need = self.settled + self.reserved + amount - self.limit
            if need <= 0:
                return
            self._changed.clear()
            life = self._member.life
            reply = await self._request_slab(need + _ROUNDING * self.total, amount)
            if reply.slab and reply.registered and life == self._member.life:
                self.limit += reply.slab
                if self._ledger:
                    self._ledger.hold.limit = self.limit
                return
            if reply.registered and not self._open and reply.returnable <= _ROUNDING * self.total:
                raise self.reached(amount)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), _RETRY_EVERY)

    async def _request_slab(self, need: float, amount: float) -> _SlabReply:
        rate = self.settled / max(time.monotonic() - self._started, 1.0)
        wish = max(need, _SLAB_CALLS * amount, _SLAB_SECONDS * rate)
        request = _SlabRequest(need, wish, self._before + self.limit, max(0.0, self.limit - self.settled))
        reply = await asyncio.to_thread(self._pool.run, lambda db: self._allot(db, request))
        self._spent, self._possibly_billed = reply.spent, reply.held
        return reply

    def _allot(self, db: Connection, request: _SlabRequest) -> _SlabReply:
        me = self._member.number
        with db.transaction():
            short: Any = db.execute(_LOCK, (self._run,)).fetchone()
            sums: Any = db.execute(_SUMS, {"run": self._run, "me": me}).fetchone()
            recorded, held, mine, others, returnable, workers, registered = sums
            spent = recorded + held
            room = self.total - spent - others - max(0.0, request.ceiling - (mine or 0.0))
            slab = request.need if short[0] else max(request.need, min(request.wish, room / (2 * max(1, workers))))
            if room < request.need:
                db.execute(_SHORT, (self._run,))
                slab = 0.0
            db.execute(_RAISE, (request.ceiling + slab, request.open + slab, me))
        return _SlabReply(slab, spent, held, returnable, registered)

    async def give_back(self) -> None:
        """Return what is not reserved to the other workers."""
        async with self._requesting:
            self.limit = min(self.limit, self.settled + self.reserved)
            values = (self._before + self.limit, max(0.0, self.limit - self.settled), self._member.number)
            await asyncio.to_thread(self._pool.run, lambda db: db.execute(_RAISE, values))

    @property
    def lowest_ceiling(self) -> float:
        """The ceiling that just covers what is spent and reserved."""
        return self._before + self.settled + self.reserved

    def reset(self, ceiling: float) -> None:
        """Start over from this ceiling, as a new worker: this one's dollars may have been allotted to others."""
        self.limit = ceiling - self._before

    def reached(self, need: float) -> BudgetReached:
        return reached(self.total, f"${self._spent:.4g} spent by all workers", self._possibly_billed, need)
