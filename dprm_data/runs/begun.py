"""What a run began with, where a later version words a bundled text anew.

A recipe names bundled panels and prompts, or takes them by default, and its run folder keeps their words. The run goes on with those: with other words
it would ask, and pay for, everything again.
"""

from __future__ import annotations

from contextlib import suppress

from dprm_data.core.errors import DprmError
from dprm_data.recipe.recipe import Recipe
from dprm_data.runs.folder import RunFolder


def began_with_prompt(folder: RunFolder, name: str, *, rationale: bool) -> bool:
    """Whether the folder's run asks by the bundled prompt of this name, with or without a rationale."""
    asked = folder.path / "prompts" / f"{name}.jinja"
    return asked.is_file() and (frozen := _frozen(folder)) is not None and frozen.rationale == rationale


def _frozen(folder: RunFolder) -> Recipe | None:
    """The recipe as the folder has it; None where it has none, or one that nobody can read."""
    with suppress(DprmError):
        return folder.recipe() if folder.recipe_file.is_file() else None
    return None
