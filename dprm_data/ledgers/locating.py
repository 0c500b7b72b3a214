"""Which ledger is meant: a file, a database's address, a run folder, or a recipe."""

from __future__ import annotations

from pathlib import Path

from dprm_data.ledgers.reference import Reference, is_postgres, parse


def locate(text: str) -> Reference:
    """The ledger's reference. Raises `InputError` where a run folder is none, `RecipeError` where a recipe cannot be read."""
    if is_postgres(text):
        return parse(text)
    from dprm_data.folder import RunFolder
    from dprm_data.recipe import Recipe

    path = Path(text)
    if path.is_dir():
        folder = RunFolder.existing(path)
        return folder.ledger_at(folder.recipe())
    if path.suffix in (".yaml", ".yml"):
        recipe = Recipe.load(path)
        return RunFolder(recipe.output_folder).ledger_at(recipe)
    return path
