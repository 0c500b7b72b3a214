"""Finding a ledger: from its file or database address, a run folder, or a recipe."""

from __future__ import annotations

from dprm_data.core.ledger_address import FILE, LedgerAddress
from dprm_data.recipe.recipe import Recipe
from dprm_data.recipe.trust import check
from dprm_data.runs.folder import RunFolder


def locate(text: str) -> LedgerAddress:
    """The ledger's address. Raises `InputError` for a folder that is not a run's, `RecipeError` for a recipe that cannot be read."""
    address = LedgerAddress.parse(text)
    if address.scheme != FILE:
        return address
    folder = RunFolder.at(address.path)
    if folder:
        recipe = folder.recipe()
        check(recipe)
        return folder.ledger_at(recipe)
    if address.path.suffix in (".yaml", ".yml"):
        recipe = Recipe.load(address.path, frozen=True)
        check(recipe)
        return RunFolder(recipe.output_folder).ledger_at(recipe)
    return address
