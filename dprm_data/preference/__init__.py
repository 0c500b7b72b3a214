"""From votes to preference distributions: families of priors, updates, smoothing, intervals, agreement.

The names below are the public face; they are loaded when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dprm_data.preference.fitting import Fit, fit
    from dprm_data.preference.learning import learn_prior
    from dprm_data.preference.prior import Prior
    from dprm_data.preference.reading import read_votes
    from dprm_data.preference.smoothing import smooth
    from dprm_data.preference.updater import merge, update
    from dprm_data.preference.votes import Votes, stated_from_annotations, votes_from_annotations

_HOMES = {
    "Fit": "fitting",
    "fit": "fitting",
    "learn_prior": "learning",
    "Prior": "prior",
    "read_votes": "reading",
    "smooth": "smoothing",
    "update": "updater",
    "merge": "updater",
    "Votes": "votes",
    "stated_from_annotations": "votes",
    "votes_from_annotations": "votes",
}

__all__ = [
    "Fit",
    "Prior",
    "Votes",
    "fit",
    "learn_prior",
    "merge",
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
