"""Costs: what a call costs, and a budget that holds before the money is gone.

Prices come from the genai-prices table (cached, cache-write, long-context and batch prices) unless the recipe gives them. A price that is
not known is None, never 0.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version

from dprm_data.errors import BudgetReached, PriceUnknown
from dprm_data.providers.base import Request, Usage
from dprm_data.recipe import PriceConfig, ProviderConfig

_MESSAGE_OVERHEAD = 8  # tokens that a chat format spends on one message, generously
CHARACTERS_PER_TOKEN = 4.0  # a first guess; corrected by the first real usages


@dataclass(frozen=True)
class Prices:
    """What a model costs. `of(usage)` gives dollars; `source` says where the prices are from, for people and for the ledger.

    known: False where the recipe allows an unknown price: then every cost is None.
    """

    of: Callable[[Usage], float | None]
    source: str
    known: bool = True
    per_million: tuple[float, float] | None = None  # dollars for input and output tokens, where they are flat


def prices_for(config: ProviderConfig, *, batch: bool = False, allow_unknown: bool = False) -> Prices:
    """The prices of the recipe's model. Raises `PriceUnknown` where there are none and the recipe does not allow that."""
    if config.name == "local":
        return Prices(lambda usage: 0.0, "the bundled model runs on this machine: free", per_million=(0.0, 0.0))
    if config.price:
        return _given(config.price)
    listed = _listed(config, batch)
    if listed:
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

    def of(usage: Usage) -> float:
        plain = usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens
        return (
            plain * price.input
            + usage.cached_tokens * cached
            + usage.cache_write_tokens * written
            + usage.output_tokens * price.output
        ) / 1e6

    return Prices(of, "the recipe's own price", per_million=(price.input, price.output))


def _listed(config: ProviderConfig, batch: bool) -> Prices | None:
    from genai_prices import calc_price
    from genai_prices.types import Usage as ListUsage

    # An endpoint of its own may sell a model under its known name: its list price is then the best guess, and the plan says whose it is.
    provider_id = config.name if config.base_url is None else None
    context = {"processing": "batch"} if batch else None

    @lru_cache(maxsize=4096)
    def of(usage: Usage) -> float:
        counted = ListUsage(
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cache_read_tokens=usage.cached_tokens,
            cache_write_tokens=usage.cache_write_tokens,
        )
        return float(calc_price(counted, config.model, provider_id=provider_id, price_context=context).total_price)

    try:
        found = calc_price(
            ListUsage(input_tokens=1, output_tokens=1), config.model, provider_id=provider_id, price_context=context
        )
    except LookupError:
        return None
    whose = found.provider.name
    other = f"; {config.base_url} may charge otherwise (provider: price)" if config.base_url else ""
    million = of(Usage(input_tokens=10_000)) * 100, of(Usage(output_tokens=10_000)) * 100
    return Prices(
        of,
        f"genai-prices {version('genai-prices')}, {whose}'s list price of {found.model.id}{' (batch)' if batch else ''}{other}",
        per_million=million,
    )


def estimated_input_tokens(request: Request) -> float:
    """About how many input tokens a request is, before any real usage is known."""
    return sum(len(message["content"]) / CHARACTERS_PER_TOKEN + 4 for message in request.messages)


def worst_case(request: Request) -> Usage:
    """The most that a request can be billed: a token for every byte of its input (no tokenizer makes more), and all the output it may have."""
    written = sum(len(message["content"].encode()) + _MESSAGE_OVERHEAD for message in request.messages)
    schema = len(repr(request.params["schema"])) if "schema" in request.params else 0
    return Usage(input_tokens=written + schema, output_tokens=int(request.params.get("max_tokens", 0)))


class Budget:
    """Dollars that may be spent. What is settled plus what is reserved never exceeds `limit`, however many calls are in flight.

    spent: what was settled before (from the ledger).
    """

    def __init__(self, limit: float | None, spent: float = 0.0) -> None:
        self.limit = math.inf if limit is None else limit
        self.settled = spent
        self.reserved = 0.0
        self._changed = asyncio.Event()

    async def reserve(self, worst: float | None) -> float:
        """Reserve the worst case of one call; waits for calls in flight where they may free enough.

        Returns what was reserved. Raises `BudgetReached` where even all calls in flight together cannot free enough.
        """
        need = worst or 0.0
        while self.settled + self.reserved + need > self.limit:
            if self.reserved <= 0.0:
                raise self.reached(need)
            self._changed.clear()
            await self._changed.wait()
        self.reserved += need
        return need

    def settle(self, reserved: float, real: float | None) -> None:
        """The call is over: what it reserved is freed, what it cost is spent."""
        self.reserved = max(0.0, self.reserved - reserved)
        self.settled += real or 0.0
        if self.reserved < 1e-12:  # rounding must not leave a crumb that everyone waits for
            self.reserved = 0.0
        self._changed.set()

    def reached(self, need: float) -> BudgetReached:
        """The error that says so."""
        return BudgetReached(
            f"the budget of ${self.limit:.4g} is reached: ${self.settled:.4g} spent, and the next call could cost up to ${need:.2g}",
            hint="What was bought is kept. Raise the budget (budget: max_cost, or --max-cost) and run again: it goes on from here.",
        )
