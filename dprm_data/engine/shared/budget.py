"""The budget of several workers: what all have spent, and all that any may still come to, never exceeds the limit.

Dollars are handed out in slabs. A worker's ceiling is what its ledger's writer may come to; what it may still spend is the ceiling less what it
has recorded, by the database's own sum, so a reply counts in full from the commit that keeps it, and never twice. Where a slab is refused
everyone is asked to give back what is not reserved, and from then on gets what one call needs and no more: so the whole budget is used
before it is said to be reached. What a dead worker had is free again when its row is deleted; what it recorded stays spent.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dprm_data.core.errors import BudgetReached
from dprm_data.engine.costs import Budget
from dprm_data.engine.shared.membership import Membership
from dprm_data.ledger.postgres_pool import Patient

if TYPE_CHECKING:
    from dprm_data.ledger.postgres_pool import Connection

_LOOK_AGAIN = 0.1  # seconds
_SECONDS = 5.0  # of spending in one slab
_CALLS = 16  # worst cases in the first slab
_CRUMB = 1e-9  # of the limit: rounding is no reason to wait

_LOCK = "INSERT INTO budgets (run) VALUES (%s) ON CONFLICT (run) DO UPDATE SET run = excluded.run RETURNING short_until > clock_timestamp()"
# One statement, so one moment: what a commit adds to one sum it takes from the other.
_SUMS = """
SELECT (SELECT COALESCE(SUM(cost), 0) FROM writers WHERE run = %(run)s),
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
class _Asked:
    """Dollars wanted beside those in hand, and as much more as would do for a while; where this worker stands."""

    need: float
    wish: float
    ceiling: float
    open: float


@dataclass(frozen=True, slots=True)
class _Told:
    """What was handed out (0: refused); what all have spent; what others may yet give back; whether this worker is among them."""

    slab: float
    spent: float
    elsewhere: float
    here: bool


class SharedBudget(Budget):
    """A budget of dollars for all workers of a run. `limit` is what this one may come to at present; `total`, all together.

    In the database the same is counted from what the ledger's writer has recorded before this budget was made (`_before`).
    """

    def __init__(self, total: float, patient: Patient, member: Membership, run: str) -> None:
        super().__init__(0.0)
        self.total = total
        found: Any = patient(lambda db: db.execute(_RECORDED, (run, member.writer)).fetchone())
        self._before = float(found[0]) if found else 0.0
        self._patient = patient
        self._member = member
        self._run = run
        self._spent = 0.0  # by all
        self._asking = asyncio.Lock()
        self._began = time.monotonic()

    async def reserve(self, worst: float | None) -> float:
        while (reserved := self.try_reserve(worst)) is None:
            await self._more(self.need(worst))
        return reserved

    async def _more(self, amount: float) -> None:
        """Wait for dollars: others', or those of an own call. Raises `BudgetReached` where there are none to wait for."""
        async with self._asking:
            need = self.settled + self.reserved + amount - self.limit
            if need <= 0:
                return
            self._changed.clear()
            life = self._member.life
            told = await self._ask(need + _CRUMB * self.total, amount)
            if told.slab and told.here and life == self._member.life:
                self.limit += told.slab
                return
            if told.here and not self._open and told.elsewhere <= _CRUMB * self.total:
                raise self.reached(amount)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), _LOOK_AGAIN)

    async def _ask(self, need: float, amount: float) -> _Told:
        rate = self.settled / max(time.monotonic() - self._began, 1.0)
        wish = max(need, _CALLS * amount, _SECONDS * rate)
        asked = _Asked(need, wish, self._before + self.limit, max(0.0, self.limit - self.settled))
        told = await asyncio.to_thread(self._patient, lambda db: self._handed_out(db, asked))
        self._spent = told.spent
        return told

    def _handed_out(self, db: Connection, asked: _Asked) -> _Told:
        me = self._member.number
        with db.transaction():
            short: Any = db.execute(_LOCK, (self._run,)).fetchone()
            sums: Any = db.execute(_SUMS, {"run": self._run, "me": me}).fetchone()
            spent, mine, others, elsewhere, workers, here = sums
            room = self.total - spent - others - max(0.0, asked.ceiling - (mine or 0.0))
            slab = asked.need if short[0] else max(asked.need, min(asked.wish, room / (2 * max(1, workers))))
            if room < asked.need:
                db.execute(_SHORT, (self._run,))
                slab = 0.0
            db.execute(_RAISE, (asked.ceiling + slab, asked.open + slab, me))
        return _Told(slab, spent, elsewhere, here)

    async def give_back(self) -> None:
        """Return what is not reserved: another worker is short of it."""
        async with self._asking:
            self.limit = min(self.limit, self.settled + self.reserved)
            values = (self._before + self.limit, max(0.0, self.limit - self.settled), self._member.number)
            await asyncio.to_thread(self._patient, lambda db: db.execute(_RAISE, values))

    @property
    def lowest_ceiling(self) -> float:
        """What this worker comes to with what is under way, as the database counts."""
        return self._before + self.settled + self.reserved

    def begin_anew(self, ceiling: float) -> None:
        """This worker is a new one, at this ceiling: what it had may have been handed out to others."""
        self.limit = ceiling - self._before

    def reached(self, need: float) -> BudgetReached:
        return BudgetReached(
            f"the budget of ${self.total:.4g} is reached: ${self._spent:.4g} spent by all workers, and the next call could cost up to ${need:.2g}",
            hint="What was bought is kept. Raise the budget (budget: max_cost, or --max-cost) and run again: it goes on from here.",
        )
