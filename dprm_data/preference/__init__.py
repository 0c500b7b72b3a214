"""From votes to preference distributions: families of priors, updates, smoothing, intervals, agreement.

The names below are the public face; they are loaded when they are first used. (No module has the name of a function of this face: importing it
would put the module in the function's place.)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dprm_data.preference.agreement import (
        Annotators,
        agreement_summary,
        annotators,
        krippendorff_alpha,
        polarisation,
        position_bias,
    )
    from dprm_data.preference.checking import Quality, quality
    from dprm_data.preference.drifting import Drift, drift
    from dprm_data.preference.fitting import Fit, fit
    from dprm_data.preference.groups import Group, by_group
    from dprm_data.preference.learning import learn_prior
    from dprm_data.preference.prior import Prior
    from dprm_data.preference.ratings import Ratings, ratings_from_annotations
    from dprm_data.preference.reading import read_ratings, read_votes
    from dprm_data.preference.sampling import predictive_interval
    from dprm_data.preference.smoothing import smooth
    from dprm_data.preference.updater import merge, update
    from dprm_data.preference.votes import Votes, stated_from_annotations, votes_from_annotations

_HOMES = {
    "Annotators": "agreement",
    "Drift": "drifting",
    "Fit": "fitting",
    "Group": "groups",
    "Prior": "prior",
    "Quality": "checking",
    "Ratings": "ratings",
    "Votes": "votes",
    "agreement_summary": "agreement",
    "annotators": "agreement",
    "by_group": "groups",
    "drift": "drifting",
    "fit": "fitting",
    "krippendorff_alpha": "agreement",
    "learn_prior": "learning",
    "merge": "updater",
    "polarisation": "agreement",
    "position_bias": "agreement",
    "predictive_interval": "sampling",
    "quality": "checking",
    "ratings_from_annotations": "ratings",
    "read_ratings": "reading",
    "read_votes": "reading",
    "smooth": "smoothing",
    "stated_from_annotations": "votes",
    "update": "updater",
    "votes_from_annotations": "votes",
}

__all__ = [
    "Annotators",
    "Drift",
    "Fit",
    "Group",
    "Prior",
    "Quality",
    "Ratings",
    "Votes",
    "agreement_summary",
    "annotators",
    "by_group",
    "drift",
    "fit",
    "krippendorff_alpha",
    "learn_prior",
    "merge",
    "polarisation",
    "position_bias",
    "predictive_interval",
    "quality",
    "ratings_from_annotations",
    "read_ratings",
    "read_votes",
    "smooth",
    "stated_from_annotations",
    "update",
    "votes_from_annotations",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
