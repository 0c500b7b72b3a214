"""Finding a ledger: from its file or database address, a run folder, or a recipe."""

from __future__ import annotations

from dprm_data.core.ledger_address import Reference, parse
from dprm_data.recipe.recipe import Recipe
from dprm_data.runs.folder import RunFolder


def locate(text: str) -> Reference:
    """The ledger's file or address. Raises `InputError` for a folder that is not a run's, `RecipeError` for a recipe that cannot be read."""
    place = parse(text)
    if isinstance(place, str):
        return place
    folder = RunFolder.at(place)
    if folder:
        return folder.ledger_at(folder.recipe())
    if place.suffix in (".yaml", ".yml"):
        recipe = Recipe.load(place)
        return RunFolder(recipe.output_folder).ledger_at(recipe)
    return place
