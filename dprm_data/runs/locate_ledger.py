"""Which ledger is meant: a file, a database's address, a run folder, or a recipe."""

from __future__ import annotations

from dprm_data.core.ledger_address import Reference, parse


def locate(text: str) -> Reference:
    """The ledger's reference. Raises `InputError` where a run folder is none, `RecipeError` where a recipe cannot be read."""
    place = parse(text)
    if isinstance(place, str):
        return place
    from dprm_data.recipe.recipe import Recipe
    from dprm_data.runs.folder import RunFolder

    if place.is_dir():
        folder = RunFolder.existing(place)
        return folder.ledger_at(folder.recipe())
    if place.suffix in (".yaml", ".yml"):
        recipe = Recipe.load(place)
        return RunFolder(recipe.output_folder).ledger_at(recipe)
    return place
