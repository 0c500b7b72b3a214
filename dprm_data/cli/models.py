"""The command that shows providers and models: models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dprm_data.cli.shared import Json, answer, app
from dprm_data.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dprm_data.recipe.provider_config import ProviderConfig


@app.command()
def models(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="PROVIDER|RECIPE",
            help="A provider's name; with --check also a recipe. Omit it to list the providers.",
        ),
    ] = None,
    model: Annotated[str | None, typer.Argument(metavar="MODEL", help="With --check: the provider's model.")] = None,
    search: Annotated[str, typer.Option("--search", help="Only models whose names contain this.")] = "",
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Ask the model a question in a few ways and report what works. Costs a few tokens."
        ),
    ] = False,
    max_cost: Annotated[
        float, typer.Option("--max-cost", min=0, help="With --check: the most that the questions may cost, in dollars.")
    ] = 0.5,
    as_json: Json = False,
) -> None:
    """List providers, or a provider's models with prices; or check what a model supports (--check)."""
    from dprm_data.engine.model_list import model_entries, needs_models, provider_entries
    from dprm_data.terminal.models_view import check_view, models_view, providers_view

    if check:
        from dprm_data.engine.model_check import check_model

        for config in _configs(target, model):
            found = check_model(config, max_cost=max_cost)
            answer(found.as_dict(), lambda found=found: check_view(found), as_json)
    elif target is None:
        providers = provider_entries()
        answer({"providers": [entry.as_dict() for entry in providers]}, lambda: providers_view(providers), as_json)
    else:
        needs_models(target)
        entries = model_entries(target, search or model or "")
        if not entries:
            raise InputError(
                f"{target} has no model with {search or model!r} in its name",
                hint=f"To list all: dprm models {target}.",
            )
        answer({"models": [entry.as_dict() for entry in entries]}, lambda: models_view(target, entries), as_json)


def _configs(target: str | None, model: str | None) -> Sequence[ProviderConfig]:
    """The models to be asked: a recipe's, or the one named with its provider. Raises `InputError`."""
    from dprm_data.recipe.recipe import Recipe
    from dprm_data.recipe.trust import check

    if target is None:
        raise InputError(
            "--check needs a recipe, or a provider and a model",
            hint="dprm models RECIPE --check, or dprm models PROVIDER MODEL --check.",
        )
    path = Path(target)
    if model is None and (path.suffix in (".yaml", ".yml") or path.exists()):
        recipe = Recipe.load(path / "recipe.yaml" if path.is_dir() else path)
        check(recipe, calls=True)
        return recipe.entries
    return Recipe.of({"provider": {"name": target} | ({"model": model} if model else {})}).entries
