"""The models that the documents, the examples and `dprm init` name are sold today: the price table has them, and none is called deprecated."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from dprm_data.recipe.recipe import Recipe
from dprm_data.recipe.scaffold import recipe_text

ROOT = Path(__file__).resolve().parents[2]
NAME = re.compile(
    r"(?<![\w/.-])(?:(?:global|us|eu)\.anthropic\.)?(?:gpt-\d|o\d-|claude-|gemini-\d|mistral-\w|grok-\d|deepseek-)[\w.:@-]*\w"
)
FILES = [
    ROOT / "README.md",
    *(path for path in sorted((ROOT / "docs").glob("*.md")) if path.name != "mistakes.md"),  # misspelt on purpose
    *(path for path in sorted((ROOT / "examples").rglob("*")) if path.suffix in (".md", ".yaml", ".py")),
]


def named() -> Iterator[tuple[str, str]]:
    for path in FILES:
        yield from ((str(path.relative_to(ROOT)), name) for name in sorted(set(NAME.findall(path.read_text()))))
    yield from (("dprm init", name) for name in sorted(set(NAME.findall(recipe_text("x")))))


def known(name: str) -> bool:
    """Whether some provider sells a model of this name, and does not call it deprecated."""
    from genai_prices.data import providers

    found = [model for seller in providers for model in seller.models if model.is_match(name)]
    return bool(found) and not all(model.deprecated for model in found)


@pytest.mark.parametrize(("where", "name"), list(named()))
def test_a_named_model_is_sold(where: str, name: str) -> None:
    assert known(name), f"{where} names {name}"


def test_that_can_fail() -> None:
    assert not known("gpt-4o-tiny") and not known("gemini-2.0-flash")
    assert {where for where, _ in named()} >= {"dprm init", "README.md", "examples/paper/full/judge.yaml"}


def test_the_first_recipe_names_a_small_model_of_the_newest_kind() -> None:
    """Among the models of its provider there is no cheaper one with a higher number in its name."""
    from genai_prices.data import providers
    from genai_prices.types import ModelPrice

    model = Recipe.of(yaml.safe_load(recipe_text("x"))).provider.model
    openai = next(seller for seller in providers if seller.id == "openai")
    priced = {
        m.id: m.prices
        for m in openai.models
        if isinstance(m.prices, ModelPrice) and m.id.startswith("gpt-") and m.prices.output_mtok
    }
    number = {
        name: float(re.match(r"gpt-([\d.]+)", name)[1].rstrip(".")) for name in priced if re.match(r"gpt-\d", name)
    }  # type: ignore[index]
    cost = {name: float(getattr(price.output_mtok, "base", price.output_mtok)) for name, price in priced.items()}
    assert not [name for name in number if number[name] > number[model] and cost[name] < cost[model]]
    assert cost[model] <= 2
