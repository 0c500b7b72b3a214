"""The budget: holds before money is spent, not after."""

from __future__ import annotations

import asyncio
import math

from dprm_data.core.errors import BudgetReached, PriceUnknown


class Budget:
    """Dollars that may be spent. Settled plus reserved dollars never exceed `limit`, however many calls are in flight.

    This holds as long as no call is billed more than its worst case. If one is, the excess counts at once, and every later reservation
    grows in the same proportion.

    limit: None for no limit. spent: dollars settled earlier (from the ledger).
    """

    def __init__(self, limit: float | None, spent: float = 0.0) -> None:
        self.limit = math.inf if limit is None else limit
        self.settled = spent
        self.reserved = 0.0
        self._open = 0  # reservations
        self._margin = 1.0  # the largest ratio of a call's bill to its worst case
        self._changed = asyncio.Event()

    async def reserve(self, worst: float | None) -> float:
        """Reserve the worst case of one call, in dollars; wait for calls in flight if they may free enough.

        Returns the dollars reserved. Raises `BudgetReached` if all calls in flight together cannot free enough, and `PriceUnknown` if
        there is a limit and the worst case is unknown.
        """
        while (reserved := self.try_reserve(worst)) is None:
            if not self._open:
                raise self.reached(self.need(worst))
            self._changed.clear()
            await self._changed.wait()
        return reserved

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
        self._changed.set()

    def reached(self, need: float) -> BudgetReached:
        """The error for a call that needs more than is left."""
        return BudgetReached(
            f"the budget of ${self.limit:.4g} is reached: ${self.settled:.4g} spent, and the next call could cost up to ${need:.2g}",
            hint="All answers are kept. Raise the budget (budget: max_cost, or --max-cost) and run again to continue.",
        )
