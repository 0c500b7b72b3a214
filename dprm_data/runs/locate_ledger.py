"""Which ledger a command line names: a ledger's address, a run folder, or a recipe."""

from __future__ import annotations

from dprm_data.core.ledger_address import FILE, LedgerAddress


def locate(text: str) -> LedgerAddress:
    """The ledger's address. Raises `InputError` where a folder is no run folder, `RecipeError` where a recipe cannot be read."""
    address = LedgerAddress.parse(text)
    if address.scheme != FILE:
        return address
    from dprm_data.recipe.recipe import Recipe
    from dprm_data.runs.folder import RunFolder

    if address.path.is_dir():
        folder = RunFolder.existing(address.path)
        return folder.ledger_at(folder.recipe())
    if address.path.suffix in (".yaml", ".yml"):
        recipe = Recipe.load(address.path, frozen=True)
        return RunFolder(recipe.output_folder).ledger_at(recipe)
    return address
