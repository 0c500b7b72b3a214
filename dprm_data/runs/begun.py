"""What a run began with, where a later version words a bundled text anew.

A recipe names bundled panels and prompts, or takes them by default, and its run folder keeps their words. The run goes on with those: with other words
it would ask, and pay for, everything again.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from dprm_data.core.errors import DprmError
from dprm_data.panel.panel_sources import load_panel
from dprm_data.panel.personas import Panel
from dprm_data.recipe.recipe import Recipe
from dprm_data.runs.folder import RunFolder

_REWORDED = {"demographic": "demographic-1"}  # a bundled panel: the name that its earlier wording has now


def begun_panel(folder: RunFolder, use: Any, base: Path) -> Panel | None:
    """The panel that `use` names in its earlier wording, where the folder's run began with that; else None."""
    name = use.get("panel") if isinstance(use, dict) else use
    earlier = _REWORDED.get(name) if isinstance(name, str) else None
    if earlier is None or (frozen := _frozen(folder)) is None:
        return None
    asked = {persona.description for persona in load_panel(frozen.panel.use).personas}
    if not asked <= {persona.description for persona in load_panel(earlier).personas}:
        return None
    panel = load_panel(use | {"panel": earlier} if isinstance(use, dict) else earlier, base=base)
    return panel.model_copy(update={"name": name})


def began_with_prompt(folder: RunFolder, name: str, *, rationale: bool) -> bool:
    """Whether the folder's run asks by the bundled prompt of this name, with or without a rationale."""
    asked = folder.path / "prompts" / f"{name}.jinja"
    return asked.is_file() and (frozen := _frozen(folder)) is not None and frozen.rationale == rationale


def _frozen(folder: RunFolder) -> Recipe | None:
    """The recipe as the folder has it; None where it has none, or one that nobody can read."""
    with suppress(DprmError):
        return folder.recipe() if folder.recipe_file.is_file() else None
    return None
