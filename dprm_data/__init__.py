"""dprm-data: from prompts and responses to the preference distributions of a whole population.

    from dprm_data import run
    result = run("recipe.yaml")
    result.distributions().to_pandas()

    from dprm_data import LabelSpace, fit, read_votes       # people's ratings, no LLM at all
    space = LabelSpace.ordinal(7)
    fitted = fit(read_votes("ratings.csv", space), space)

The names below are the public face; they are loaded when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dprm_data.core.errors import DprmError
    from dprm_data.ingest.items import Item
    from dprm_data.ingest.vote_tables import read_votes
    from dprm_data.ingest.votes import Votes
    from dprm_data.labels.space import LabelSpace
    from dprm_data.panel.panel_sources import load_panel
    from dprm_data.panel.personas import Panel, Persona
    from dprm_data.pipeline.stages import RunResult, run
    from dprm_data.preference.fitting import Fit, fit
    from dprm_data.preference.updater import update
    from dprm_data.providers.function_provider import FunctionProvider
    from dprm_data.recipe.recipe import Recipe
    from dprm_data.runs.run import Progress, Run

_HOMES = {
    "DprmError": "core.errors",
    "Fit": "preference.fitting",
    "FunctionProvider": "providers.function_provider",
    "Item": "ingest.items",
    "LabelSpace": "labels.space",
    "Panel": "panel.personas",
    "Persona": "panel.personas",
    "Progress": "runs.run",
    "Recipe": "recipe.recipe",
    "Run": "runs.run",
    "RunResult": "pipeline.stages",
    "Votes": "ingest.votes",
    "fit": "preference.fitting",
    "load_panel": "panel.panel_sources",
    "read_votes": "ingest.vote_tables",
    "run": "pipeline.stages",
    "update": "preference.updater",
}

__all__ = [
    "DprmError",
    "Fit",
    "FunctionProvider",
    "Item",
    "LabelSpace",
    "Panel",
    "Persona",
    "Progress",
    "Recipe",
    "Run",
    "RunResult",
    "Votes",
    "fit",
    "load_panel",
    "read_votes",
    "run",
    "update",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
