"""Costs: what a call costs, and a budget that holds before the money is gone.

Prices come from the genai-prices table (cached, cache-write, long-context and batch prices) unless the recipe gives them. A price that is
not known is None, never 0; so is one that makes no sense (negative, infinite, not a number).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from dprm_data.core.errors import BudgetReached, PriceUnknown
from dprm_data.providers.provider import provider_class
from dprm_data.providers.request import Request, Usage
from dprm_data.providers.token_estimates import worst_case
from dprm_data.recipe.provider_config import PriceConfig, ProviderConfig

_PROBE = 10_000  # tokens in the questions that a price table is asked

Price = Callable[[Usage], float | None]


@dataclass(frozen=True)
class Prices:
    """What a model costs.

    of: dollars for a usage, as the table says; `cost` and `worst` are what to ask. source: where the prices are from, for people and for
    the ledger. known: False where the recipe allows an unknown price: then every cost is None.
    """

    of: Price
    source: str
    known: bool = True

    def cost(self, usage: Usage) -> float | None:
        """Dollars for this usage; None where the table does not know, or says what cannot be."""
        try:
            dollars = self.of(usage)
        except (LookupError, ValueError, ArithmeticError, TypeError):
            return None
        return dollars if dollars is not None and math.isfinite(dollars) and dollars >= 0 else None

    def worst(self, request: Request) -> float | None:
        """The most dollars that one attempt at this request can cost: at the dearest that its input may be billed at, whether it is
        written to the provider's cache (dearer at some), read from there, or neither."""
        usage = worst_case(request)
        given, said = usage.input_tokens, usage.output_tokens
        ways = (usage, Usage(given, said, cached_tokens=given), Usage(given, said, cache_write_tokens=given))
        costs = [self.cost(way) for way in ways]
        return None if None in costs else max(cost for cost in costs if cost is not None)


def prices_for(config: ProviderConfig, *, batch: bool = False, allow_unknown: bool = False) -> Prices:
    """The prices of the recipe's model. Raises `PriceUnknown` where there are none and the recipe does not allow that."""
    kind = provider_class(config.name)
    if kind.is_free:
        return Prices(lambda usage: 0.0, f"{kind.title} is free")
    if config.price:
        return _given(config.price)
    if kind.price_list and (listed := _listed(config, kind.price_list, batch)):
        return listed
    if allow_unknown:
        return Prices(lambda usage: None, f"no price is known for {config.model}", known=False)
    raise PriceUnknown(
        f"no price is known for the model {config.model!r}",
        hint="Give it in the recipe (provider: price: {input: ..., output: ...}, dollars per million tokens; 0 for a model of your own), "
        "or say budget: {allow_unknown_price: true}.",
    )


def _given(price: PriceConfig) -> Prices:
    cached = price.input if price.cached is None else price.cached
    written = price.input if price.cache_write is None else price.cache_write
    of = _linear(price.input / 1e6, price.output / 1e6, cached / 1e6, written / 1e6)
    return Prices(of, "the recipe's own price")


def _linear(given: float, said: float, cached: float, written: float) -> Callable[[Usage], float]:
    """Dollars per token of plain input, output, cached input and input written to the cache."""

    def of(usage: Usage) -> float:
        plain = usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens
        return (
            plain * given
            + usage.output_tokens * said
            + usage.cached_tokens * cached
            + usage.cache_write_tokens * written
        )

    return of


# -- the price table --------------------------------------------------------------------------------------------------


def _listed(config: ProviderConfig, price_list: str, batch: bool) -> Prices | None:
    # An endpoint of its own may sell a model under its known name: its list price is then the best guess, and the plan says whose it is.
    elsewhere = next((each.base_url for each in config.places if each.base_url), None)
    look_up = _table(config.model, None if elsewhere else price_list, batch)
    try:
        found = look_up(Usage(1, 1))
    except LookupError:
        return None
    slow = _dollars(look_up)
    fast, limit = _short_cut(slow, found)

    def of(usage: Usage) -> float:
        return fast(usage) if usage.input_tokens < limit else slow(usage)

    other = f"; {elsewhere} may charge otherwise (provider: price)" if elsewhere else ""
    name = f"{found.provider.name}'s list price of {found.model.id}"
    kind = " (batch)" if batch else ""
    return Prices(of, f"genai-prices {version('genai-prices')}, {name}{kind}{other}")


def _table(model: str, provider_id: str | None, batch: bool) -> Callable[[Usage], Any]:
    from genai_prices import calc_price
    from genai_prices.types import Usage as ListUsage

    context = {"processing": "batch"} if batch else None

    def look_up(usage: Usage) -> Any:
        counted = ListUsage(
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cache_read_tokens=usage.cached_tokens,
            cache_write_tokens=usage.cache_write_tokens,
        )
        return calc_price(counted, model, provider_id=provider_id, price_context=context)

    return look_up


def _dollars(look_up: Callable[[Usage], Any]) -> Callable[[Usage], float]:
    return lambda usage: float(look_up(usage).total_price)


def _short_cut(slow: Callable[[Usage], float], found: Any) -> tuple[Callable[[Usage], float], float]:
    """The same prices as a sum of four products, and the input tokens from which it does not hold (long-context prices).

    The table takes a tenth of a millisecond and more for an answer, which at some hundred calls a second is felt.
    """
    from genai_prices.types import ModelPrice, TieredPrices

    if not isinstance(found.model.prices, ModelPrice):
        return slow, 0.0  # a price that depends on the time of day
    tiers = [price for price in vars(found.model_price).values() if isinstance(price, TieredPrices)]
    limit = min((tier.start for price in tiers for tier in price.tiers), default=math.inf)
    if limit <= _PROBE:
        return slow, 0.0
    asked = (
        Usage(input_tokens=_PROBE),
        Usage(output_tokens=_PROBE),
        Usage(input_tokens=_PROBE, cached_tokens=_PROBE),
        Usage(input_tokens=_PROBE, cache_write_tokens=_PROBE),
    )
    given, said, cached, written = (slow(usage) / _PROBE for usage in asked)
    return _linear(given, said, cached, written), float(limit)


# -- how long a request is --------------------------------------------------------------------------------------------


# -- the budget -------------------------------------------------------------------------------------------------------


class Budget:
    """Dollars that may be spent. What is settled plus what is reserved never exceeds `limit`, however many calls are in flight.

    That holds as long as no call is billed more than its worst case. A provider that does bill more is met as well as can be: the excess
    counts at once, and from then on every reservation is larger in the same proportion.

    spent: what was settled before (from the ledger).
    """

    def __init__(self, limit: float | None, spent: float = 0.0) -> None:
        self.limit = math.inf if limit is None else limit
        self.settled = spent
        self.reserved = 0.0
        self._open = 0  # reservations
        self._margin = 1.0  # how much more than the worst case a call has been billed
        self._changed = asyncio.Event()

    async def reserve(self, worst: float | None) -> float:
        """Reserve the worst case of one call; waits for calls in flight where they may free enough.

        Returns what was reserved. Raises `BudgetReached` where even all calls in flight together cannot free enough, and
        `PriceUnknown` where there is a limit and the worst case is not known.
        """
        while (reserved := self.try_reserve(worst)) is None:
            if not self._open:
                raise self.reached(self.need(worst))
            self._changed.clear()
            await self._changed.wait()
        return reserved

    def try_reserve(self, worst: float | None) -> float | None:
        """Reserve if there is room now; None where there is none. Raises `PriceUnknown` as `reserve` does."""
        need = self.need(worst)
        if not self.has_room_for(need):
            return None
        self.hold(need)
        return need

    def need(self, worst: float | None) -> float:
        """What must be reserved for a call with this worst case. Raises `PriceUnknown` where there is a limit and it is not known."""
        if worst is None and self.limit < math.inf:
            raise PriceUnknown(
                "a budget cannot hold: the price table gives no price for the next call",
                hint="Give provider: price in the recipe, or leave the budget away.",
            )
        return (worst or 0.0) * self._margin

    def has_room_for(self, amount: float) -> bool:
        """Whether so much could be reserved now."""
        return self.settled + self.reserved + amount <= self.limit

    def hold(self, amount: float) -> None:
        """Reserve without asking: what was promised already (a batch that an earlier process handed over)."""
        self._open += 1
        self.reserved += amount

    def settle(self, reserved: float, real: float | None) -> None:
        """The call is over: what it reserved is freed, what it cost is spent."""
        self._open -= 1
        # Rounding must not leave a crumb that everyone waits for.
        self.reserved = max(0.0, self.reserved - reserved) if self._open else 0.0
        if real is None:
            real = reserved if self.limit < math.inf else 0.0
        if real > reserved > 0:
            self._margin = max(self._margin, self._margin * real / reserved)
        self.settled += real
        self._changed.set()

    def reached(self, need: float) -> BudgetReached:
        """The error that says so."""
        return BudgetReached(
            f"the budget of ${self.limit:.4g} is reached: ${self.settled:.4g} spent, and the next call could cost up to ${need:.2g}",
            hint="What was bought is kept. Raise the budget (budget: max_cost, or --max-cost) and run again: it goes on from here.",
        )
