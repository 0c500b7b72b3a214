"""dprm-data: from prompts and responses to the preference distributions of a whole population.

    from dprm_data import plan, run
    plan("recipe.yaml").cost                                # dollars; no paid call
    result = run("recipe.yaml")
    result.distributions.to_pandas()                        # in a notebook: result = await arun("recipe.yaml")
    rate("How?", "So.", provider=...).expected_reward       # one response, without a file

    from dprm_data import LabelSpace, fit, read_votes       # people's ratings, no LLM at all
    space = LabelSpace.ordinal(7)
    fitted = fit(read_votes("ratings.csv", space), space)

The names below are the public API, documented in docs/api.md; each is imported when it is first used. `dprm_data.extend` has the decorators
by which another package adds a provider, an elicitation and the like.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from dprm_data.core.version import __version__ as __version__

if TYPE_CHECKING:
    from dprm_data.api.crowd_validation import validate
    from dprm_data.api.preference_distribution import PreferenceDistribution
    from dprm_data.api.rating import arate, rate
    from dprm_data.api.recipes import arun, pilot, plan, run
    from dprm_data.api.run_result import RunResult, open_run
    from dprm_data.core.errors import DprmError
    from dprm_data.engine.plan import Plan
    from dprm_data.ingest.items import Item
    from dprm_data.ingest.ratings import Ratings
    from dprm_data.ingest.vote_tables import read_ratings, read_votes
    from dprm_data.ingest.votes import Votes
    from dprm_data.labels.space import LabelSpace
    from dprm_data.panel.panel_sources import load_panel
    from dprm_data.panel.personas import Panel, Persona
    from dprm_data.panel.raking import rake
    from dprm_data.pipeline.pilot import Pilot
    from dprm_data.preference.agreement import krippendorff_alpha
    from dprm_data.preference.drift_detection import drift
    from dprm_data.preference.fitting import Fit, fit
    from dprm_data.preference.groups import by_group
    from dprm_data.preference.model_selection import learn_prior
    from dprm_data.preference.posterior_checks import quality
    from dprm_data.preference.prior import Prior
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
    "Pilot": "pipeline.pilot",
    "Plan": "engine.plan",
    "PreferenceDistribution": "api.preference_distribution",
    "Prior": "preference.prior",
    "Progress": "runs.run",
    "Ratings": "ingest.ratings",
    "Recipe": "recipe.recipe",
    "Run": "runs.run",
    "RunResult": "api.run_result",
    "Votes": "ingest.votes",
    "arate": "api.rating",
    "arun": "api.recipes",
    "by_group": "preference.groups",
    "drift": "preference.drift_detection",
    "fit": "preference.fitting",
    "krippendorff_alpha": "preference.agreement",
    "learn_prior": "preference.model_selection",
    "load_panel": "panel.panel_sources",
    "open_run": "api.run_result",
    "pilot": "api.recipes",
    "plan": "api.recipes",
    "quality": "preference.posterior_checks",
    "rake": "panel.raking",
    "rate": "api.rating",
    "read_ratings": "ingest.vote_tables",
    "read_votes": "ingest.vote_tables",
    "run": "api.recipes",
    "update": "preference.updater",
    "validate": "api.crowd_validation",
}

__all__ = [
    "DprmError",
    "Fit",
    "FunctionProvider",
    "Item",
    "LabelSpace",
    "Panel",
    "Persona",
    "Pilot",
    "Plan",
    "PreferenceDistribution",
    "Prior",
    "Progress",
    "Ratings",
    "Recipe",
    "Run",
    "RunResult",
    "Votes",
    "arate",
    "arun",
    "by_group",
    "drift",
    "fit",
    "krippendorff_alpha",
    "learn_prior",
    "load_panel",
    "open_run",
    "pilot",
    "plan",
    "quality",
    "rake",
    "rate",
    "read_ratings",
    "read_votes",
    "run",
    "update",
    "validate",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
