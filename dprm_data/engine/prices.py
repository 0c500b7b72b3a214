"""Prices: what a call costs.

They come from the genai-prices table (cached, cache-write, long-context and batch prices) unless the recipe gives them. An unknown price
is None, never 0; so is an impossible one (negative, infinite, not a number).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from dprm_data.core.errors import PriceUnknown
from dprm_data.core.scrub import public_url
from dprm_data.engine.model_list import like_a_sold_one
from dprm_data.providers.provider import provider_class
from dprm_data.providers.request import Request, Usage
from dprm_data.providers.token_estimates import worst_case
from dprm_data.recipe.provider_config import PriceConfig, ProviderConfig

_PROBE = 10_000  # tokens in the usages whose prices are looked up

Price = Callable[[Usage], float | None]


@dataclass(frozen=True)
class Prices:
    """What a model costs. Call `cost` and `worst`, not `price`.

    price: dollars for a usage, unchecked. source: where the prices come from, for people and for the ledger. known: False if the recipe
    allows an unknown price; every cost is then None.
    """

    price: Price
    source: str
    known: bool = True

    def cost(self, usage: Usage) -> float | None:
        """Dollars for this usage; None if the table has no price, or an impossible one."""
        try:
            dollars = self.price(usage)
        except (LookupError, ValueError, ArithmeticError, TypeError):
            return None
        return dollars if dollars is not None and math.isfinite(dollars) and dollars >= 0 else None

    def worst(self, request: Request) -> float | None:
        """The most dollars that one attempt at this request can cost; None if no price is known.

        Covers input that is written to the provider's cache (some charge more for it), read from the cache, or neither.
        """
        usage = worst_case(request)
        tokens, output = usage.input_tokens, usage.output_tokens
        usages = (usage, Usage(tokens, output, cached_tokens=tokens), Usage(tokens, output, cache_write_tokens=tokens))
        costs = [self.cost(each) for each in usages]
        return None if None in costs else max(cost for cost in costs if cost is not None)


def prices_for(config: ProviderConfig, *, batch: bool = False, allow_unknown: bool = False) -> Prices:
    """The prices of the recipe's model. Raises `PriceUnknown` if there are none, unless `allow_unknown`."""
    kind = provider_class(config.name)
    if config.price:
        return _recipe_prices(config.price)
    if kind.is_free:
        return Prices(lambda usage: 0.0, f"{kind.title} is free")
    if kind.price_list and (listed := _list_prices(config, kind.price_list, batch)):
        return listed
    if allow_unknown:
        return Prices(lambda usage: None, f"no price is known for {config.model}", known=False)
    raise PriceUnknown(
        f"no price is known for the model {config.model!r}{like_a_sold_one(config.name, config.model)}",
        hint="Set it in the recipe (provider: price: {input: ..., output: ...}, dollars per million tokens; 0 for a model of your own), "
        "or set budget: {allow_unknown_price: true}.",
    )


def price_sources(prices: Mapping[str, Prices]) -> str:
    """Where the prices of these models come from, by id; just the source if there is one model."""
    if len(prices) == 1:
        return next(iter(prices.values())).source
    return "; ".join(f"{id_}: {each.source}" for id_, each in prices.items())


def _recipe_prices(price: PriceConfig) -> Prices:
    cached = price.input if price.cached is None else price.cached
    written = price.input if price.cache_write is None else price.cache_write
    linear = _linear(price.input / 1e6, price.output / 1e6, cached / 1e6, written / 1e6)
    return Prices(linear, "the recipe's own price")


def _linear(
    input_price: float, output_price: float, cached_price: float, write_price: float
) -> Callable[[Usage], float]:
    """A linear price, from dollars per token of plain input, output, cached input and input written to the cache."""

    def price(usage: Usage) -> float:
        plain = usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens
        return (
            plain * input_price
            + usage.output_tokens * output_price
            + usage.cached_tokens * cached_price
            + usage.cache_write_tokens * write_price
        )

    return price


# -- the price table --------------------------------------------------------------------------------------------------


def _list_prices(config: ProviderConfig, price_list: str, batch: bool) -> Prices | None:
    base_url = next((each.base_url for each in config.places if each.base_url), None)
    # The table knows some sellers by their address. At any other, a model's usual list price is the best guess, and the plan says whose it is.
    sellers = [{"provider_api_url": base_url}, {}] if base_url else [{"provider_id": price_list}]
    found = next((found for seller in sellers if (found := _find(config.model, seller, batch))), None)
    if found is None:
        return None
    look_up, entry = found
    at_seller = base_url is None or re.match(entry.provider.api_pattern, base_url)
    slow = _dollars(look_up)
    fast, limit = _fast_path(slow, entry)

    def price(usage: Usage) -> float:
        return fast(usage) if usage.input_tokens < limit else slow(usage)

    caveat = "" if at_seller else f" (if {public_url(base_url or '')} charges other prices, set provider: price)"
    name = f"{entry.provider.name}'s list price of {entry.model.id}"
    kind = " (batch)" if batch else ""
    return Prices(price, f"genai-prices {version('genai-prices')}, {name}{kind}{caveat}")


def _find(model: str, seller: dict[str, Any], batch: bool) -> tuple[Callable[[Usage], Any], Any] | None:
    """How the table's prices of a model are looked up, and its entry; None if it has none of this seller."""
    from genai_prices import calc_price
    from genai_prices.types import Usage as ListUsage

    context = {"processing": "batch"} if batch else None

    def look_up(usage: Usage) -> Any:
        list_usage = ListUsage(
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cache_read_tokens=usage.cached_tokens,
            cache_write_tokens=usage.cache_write_tokens,
        )
        return calc_price(list_usage, model, price_context=context, **seller)

    try:
        return look_up, look_up(Usage(1, 1))
    except LookupError:
        return None


def _dollars(look_up: Callable[[Usage], Any]) -> Callable[[Usage], float]:
    return lambda usage: float(look_up(usage).total_price)


def _fast_path(slow: Callable[[Usage], float], entry: Any) -> tuple[Callable[[Usage], float], float]:
    """The same prices as a sum of four products, and the number of input tokens from which that is wrong (long-context prices).

    A table look-up takes a tenth of a millisecond or more, which shows at hundreds of calls a second.
    """
    from genai_prices.types import ModelPrice, TieredPrices

    if not isinstance(entry.model.prices, ModelPrice):
        return slow, 0.0  # a price that depends on the time of day
    tiers = [price for price in vars(entry.model_price).values() if isinstance(price, TieredPrices)]
    limit = min((tier.start for price in tiers for tier in price.tiers), default=math.inf)
    if limit <= _PROBE:
        return slow, 0.0
    probes = (
        Usage(input_tokens=_PROBE),
        Usage(output_tokens=_PROBE),
        Usage(input_tokens=_PROBE, cached_tokens=_PROBE),
        Usage(input_tokens=_PROBE, cache_write_tokens=_PROBE),
    )
    input_price, output_price, cached_price, write_price = (slow(usage) / _PROBE for usage in probes)
    return _linear(input_price, output_price, cached_price, write_price), float(limit)
