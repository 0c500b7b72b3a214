"""Commands on providers and models: models list, check."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dprm_data.cli.shared import Json, answer, group
from dprm_data.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dprm_data.recipe.provider_config import ProviderConfig


models = group("models", "List providers, models and prices; check a model.")


@models.command("list")
def list_models(
    provider: Annotated[
        str | None, typer.Argument(metavar="PROVIDER", help="A provider's name; omit it to list the providers.")
    ] = None,
    model: Annotated[str | None, typer.Argument(hidden=True)] = None,  # the former way to search
    search: Annotated[str, typer.Option("--search", help="Only models whose names contain this.")] = "",
    as_json: Json = False,
) -> None:
    """List providers, or a provider's models with prices."""
    from dprm_data.engine.model_list import model_entries, needs_models, provider_entries
    from dprm_data.terminal.models_view import models_view, providers_view

    if provider is None:
        providers = provider_entries()
        answer({"providers": [entry.as_dict() for entry in providers]}, lambda: providers_view(providers), as_json)
        return
    needs_models(provider)
    entries = model_entries(provider, search or model or "")
    if not entries:
        raise InputError(
            f"{provider} has no model with {search or model!r} in its name",
            hint=f"To list all: dprm models list {provider}.",
        )
    answer({"models": [entry.as_dict() for entry in entries]}, lambda: models_view(provider, entries), as_json)


@models.command("check")
def check_models(
    target: Annotated[
        str | None, typer.Argument(metavar="RECIPE|PROVIDER", help="A recipe, or a provider's name.")
    ] = None,
    model: Annotated[str | None, typer.Argument(metavar="MODEL", help="The provider's model.")] = None,
    max_cost: Annotated[
        float, typer.Option("--max-cost", min=0, help="The most that the questions may cost, in dollars.")
    ] = 0.5,
    as_json: Json = False,
) -> None:
    """Ask a model a question in a few ways and report what works. Costs a few tokens."""
    from dprm_data.engine.model_check import check_model
    from dprm_data.terminal.models_view import check_view

    for config in _configs(target, model):
        found = check_model(config, max_cost=max_cost)
        answer(found.as_dict(), lambda found=found: check_view(found), as_json)


def _configs(target: str | None, model: str | None) -> Sequence[ProviderConfig]:
    """The models to be asked: a recipe's, or the one named with its provider. Raises `InputError`."""
    from dprm_data.recipe.recipe import Recipe
    from dprm_data.recipe.trust import check

    if target is None:
        raise InputError(
            "check needs a recipe, or a provider and a model",
            hint="dprm models check RECIPE, or dprm models check PROVIDER MODEL.",
        )
    path = Path(target)
    if model is None and (path.suffix in (".yaml", ".yml") or path.exists()):
        recipe = Recipe.load(path / "recipe.yaml" if path.is_dir() else path)
        check(recipe, calls=True)
        return recipe.entries
    return Recipe.of({"provider": {"name": target} | ({"model": model} if model else {})}).entries
