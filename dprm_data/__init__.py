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
    from dprm_data.errors import DprmError
    from dprm_data.items import Item
    from dprm_data.labels import LabelSpace
    from dprm_data.personas import Panel, Persona, load_panel
    from dprm_data.pipeline import RunResult, run
    from dprm_data.preference import Fit, Votes, fit, read_votes, update
    from dprm_data.recipe import Recipe
    from dprm_data.runs import Progress, Run

_HOMES = {
    "DprmError": "errors",
    "Fit": "preference",
    "Item": "items",
    "LabelSpace": "labels",
    "Panel": "personas",
    "Persona": "personas",
    "Progress": "runs",
    "Recipe": "recipe",
    "Run": "runs",
    "RunResult": "pipeline",
    "Votes": "preference",
    "fit": "preference",
    "load_panel": "personas",
    "read_votes": "preference",
    "run": "pipeline",
    "update": "preference",
}

__all__ = [
    "DprmError",
    "Fit",
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
