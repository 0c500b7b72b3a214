"""The budget: holds before money is spent, not after."""

from __future__ import annotations

import asyncio
import math

from dprm_data.core.errors import BudgetReached, PriceUnknown
from dprm_data.ledger.ledger import Ledger


class Budget:
    """Dollars that may be spent. Settled plus reserved dollars never exceed `limit`, however many calls are in flight.

    This holds as long as no call is billed more than its worst case. If one is, the excess counts at once, and every later reservation
    grows in the same proportion.

    limit: None for no limit. spent: dollars settled earlier (from the ledger). ledger: where what is reserved is written ahead, so that a
    process that is killed leaves behind what its calls in flight may have cost.
    """

    def __init__(self, limit: float | None, spent: float = 0.0, *, ledger: Ledger | None = None) -> None:
        self.limit = math.inf if limit is None else limit
        self.settled = spent
        self.reserved = 0.0
        self._open = 0  # reservations
        self._margin = 1.0  # the largest ratio of a call's bill to its worst case
        self._changed = asyncio.Event()
        self._ledger = ledger
        self._possibly_billed = ledger.possibly_billed() if ledger and limit is not None else 0.0
        if ledger:
            ledger.hold.limit = self.limit - spent

    async def reserve(self, worst: float | None) -> float:
        """Reserve the worst case of one call, in dollars; wait for calls in flight if they may free enough.

        Returns the dollars reserved, which the ledger holds by then. Raises `BudgetReached` if all calls in flight together cannot free
        enough, `PriceUnknown` if there is a limit and the worst case is unknown, and `LedgerError` if the ledger cannot be written.
        """
        while (reserved := self.try_reserve(worst)) is None:
            await self._wait_for_room(self.need(worst))
        if self._ledger and not self._ledger.hold.covers:
            try:
                await self._ledger.cover()
            except BaseException:
                self.settle(reserved, 0.0)
                raise
        return reserved

    async def _wait_for_room(self, amount: float) -> None:
        """Wait until a call in flight has ended. Raises `BudgetReached` if there is none."""
        if not self._open:
            raise self.reached(amount)
        self._changed.clear()
        await self._changed.wait()

    def try_reserve(self, worst: float | None) -> float | None:
        """Reserve if there is room now; otherwise return None. Raises `PriceUnknown` as `reserve` does."""
        need = self.need(worst)
        if not self.has_room_for(need):
            return None
        self.hold(need)
        return need

    def need(self, worst: float | None) -> float:
        """Dollars to reserve for a call with this worst case. Raises `PriceUnknown` if there is a limit and the worst case is unknown."""
        if worst is None and self.limit < math.inf:
            raise PriceUnknown(
                "a budget cannot hold: the price table gives no price for the next call",
                hint="Set provider: price in the recipe, or remove the budget.",
            )
        return (worst or 0.0) * self._margin

    def has_room_for(self, amount: float) -> bool:
        """Whether this amount can be reserved now."""
        return self.settled + self.reserved + amount <= self.limit

    def hold(self, amount: float) -> None:
        """Reserve without checking the limit: for what is committed already (a batch that an earlier process submitted)."""
        self._open += 1
        self.reserved += amount
        self._draw(amount)

    def settle(self, reserved: float, cost: float | None) -> None:
        """End a call: free what it reserved, and spend what it cost (None: unknown, so all that it reserved)."""
        self._open -= 1
        # A rounding error must not leave a reservation that everyone waits for.
        self.reserved = max(0.0, self.reserved - reserved) if self._open else 0.0
        if cost is None:
            cost = reserved if self.limit < math.inf else 0.0
        if cost > reserved > 0:
            self._margin = max(self._margin, self._margin * cost / reserved)
        self.settled += cost
        self._draw(cost - reserved)
        self._changed.set()

    def _draw(self, dollars: float) -> None:
        if self._ledger:
            self._ledger.hold.draw(dollars)

    def reached(self, need: float) -> BudgetReached:
        """The error for a call that needs more than is left."""
        return reached(self.limit, f"${self.settled:.4g} spent", self._possibly_billed, need)


def reached(limit: float, spent: str, possibly_billed: float, need: float) -> BudgetReached:
    """The error for a call that needs more than is left. possibly_billed: of what is spent, by processes that were killed."""
    doubt = (
        f" (${possibly_billed:.4g} of it may have been billed for calls of processes that were killed)"
        if possibly_billed
        else ""
    )
    settle = " What the provider did not bill can be spent again: dprm ledger settle." if possibly_billed else ""
    return BudgetReached(
        f"the budget of ${limit:.4g} is reached: {spent}{doubt}, and the next call could cost up to ${need:.2g}",
        hint=f"All answers are kept. Raise the budget (budget: max_cost, or --max-cost) and run again to continue.{settle}",
    )
