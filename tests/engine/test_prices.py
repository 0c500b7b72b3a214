"""Prices: the table's, the recipe's, the batch's, and what is not known."""

from __future__ import annotations

import random

import pytest
from genai_prices import calc_price
from genai_prices.types import Usage as ListUsage

from dprm_data.core.errors import PriceUnknown
from dprm_data.engine.prices import Prices, prices_for
from dprm_data.providers.request import Request, Usage
from dprm_data.recipe.provider_config import ProviderConfig

MODELS = [
    ("openai", "gpt-4o-mini"),
    ("openai", "gpt-4.1"),
    ("anthropic", "claude-haiku-4-5"),
    ("anthropic", "claude-sonnet-4-5"),  # dearer from 200,000 tokens on
]


@pytest.mark.parametrize(("provider", "model"), MODELS)
@pytest.mark.parametrize("batch", [False, True])
def test_the_short_cut_says_what_the_table_says(provider: str, model: str, batch: bool) -> None:
    prices = prices_for(ProviderConfig(name=provider, model=model), batch=batch)  # type: ignore[arg-type]
    dice = random.Random(1)
    for _ in range(60):
        given = dice.choice([0, 7, 1_234, 150_000, 250_000])
        cached = dice.randint(0, given)
        written = dice.randint(0, given - cached) if provider == "anthropic" else 0
        said = dice.randint(0, 500)
        listed = ListUsage(input_tokens=given, output_tokens=said, cache_read_tokens=cached, cache_write_tokens=written)
        context = {"processing": "batch"} if batch else None
        truth = float(calc_price(listed, model, provider_id=provider, price_context=context).total_price)
        assert prices.cost(Usage(given, said, cached, written)) == pytest.approx(truth, rel=1e-9, abs=1e-15)


@pytest.mark.parametrize(("provider", "model"), MODELS)
def test_a_batch_is_half_the_price(provider: str, model: str) -> None:
    config = ProviderConfig(name=provider, model=model)  # type: ignore[arg-type]
    usage = Usage(10_000, 300)
    batch, direct = prices_for(config, batch=True).cost(usage), prices_for(config).cost(usage)
    assert batch is not None and direct is not None
    assert batch == pytest.approx(direct / 2)


def test_the_worst_case_covers_writing_to_the_cache() -> None:
    prices = prices_for(ProviderConfig(name="anthropic", model="claude-haiku-4-5"))
    request = Request("claude-haiku-4-5", ({"role": "user", "content": "x" * 1000},), {"max_tokens": 10})
    worst, written = prices.worst(request), prices.cost(Usage(1000, 10, cache_write_tokens=1000))
    assert worst is not None and written is not None
    assert worst >= written > (prices.cost(Usage(1000, 10)) or 0)


def test_the_worst_case_counts_bytes_not_characters() -> None:
    prices = Prices(lambda usage: float(usage.input_tokens), "a dollar a token")
    ascii_ = Request("m", ({"role": "user", "content": "a" * 100},), {"max_tokens": 10})
    greek = Request("m", ({"role": "user", "content": "α" * 100},), {"max_tokens": 10})
    assert (prices.worst(greek) or 0) == (prices.worst(ascii_) or 0) + 100


def test_the_recipe_s_own_price() -> None:
    price = {"input": 1.0, "output": 10.0, "cached": 0.1, "cache_write": 1.25}
    prices = prices_for(ProviderConfig(name="openai", model="mine", price=price))  # type: ignore[arg-type]
    assert prices.cost(Usage(1_000_000, 0)) == 1.0
    assert prices.cost(Usage(1_000_000, 100_000, 400_000, 200_000)) == pytest.approx(0.4 + 0.04 + 0.25 + 1.0)


def test_an_unknown_price_is_unknown_and_never_nothing() -> None:
    config = ProviderConfig(name="openai", model="no-such-model-at-all")
    with pytest.raises(PriceUnknown, match="no-such-model"):
        prices_for(config)
    allowed = prices_for(config, allow_unknown=True)
    assert not allowed.known and allowed.cost(Usage(1, 1)) is None


def test_the_source_names_the_table_and_its_version() -> None:
    assert "genai-prices 0." in prices_for(ProviderConfig(name="openai", model="gpt-4o-mini")).source
