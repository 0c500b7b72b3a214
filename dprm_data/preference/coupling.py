"""How one person's ratings of two responses go together, learned from people who rated several.

    correlation    with it, rewards that one person gives have the covariance that was observed: the variance between raters, beyond the items' means (`rater_units.components`)
    indifference   with it, as many pairs of ratings by one person have the same reward as were observed

If fewer than 200 pairs of ratings were given by one person, nothing is learned, and `TYPICAL` is used: values between those that three sets of people's votes give
(`benchmarks/preferences.py` prints them as r and v).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dprm_data.core.arrays import Floats, Ints
from dprm_data.ingest.ratings import Ratings
from dprm_data.labels.space import LabelSpace
from dprm_data.preference.pair_shares import Coupling, Side, pair_covariances, pair_shares
from dprm_data.preference.rater_units import components

TYPICAL = Coupling(0.25, 0.15)
_FEWEST, _MOST = 200, 2_000  # pairs of ratings by one person
_HIGHEST = 0.95  # correlation: where everybody only has a severity, it is not 1


def learn_coupling(ratings: Ratings, distribution: Floats, error: Floats, space: LabelSpace) -> Coupling | None:
    """The coupling of these ratings; None if hardly anybody rated two items.

    distribution (N, K), error (N,): the items' fitted distributions and the posterior standard deviations of their expected rewards, in the order of the ratings' items.
    """
    labels = ratings.labelled()
    first, second = _pairs_by_one_person(labels)
    if len(first) < _FEWEST:
        return None
    one, other = (Side(distribution[labels.item[rows]], error[labels.item[rows]]) for rows in (first, second))
    rewards = labels.rewards(space)
    between = components(rewards, labels.item, labels.annotator).between
    correlation = _rising(
        lambda r: float(pair_covariances(one, other, space.rewards, r).mean()), between, 0.0, _HIGHEST
    )
    same = float((rewards[first] == rewards[second]).mean())
    indifference = _rising(
        lambda v: float(pair_shares(one, other, space.rewards, Coupling(correlation, v)).tie.mean()), same, 0.0, 1.0
    )
    return Coupling(correlation, indifference)


def _rising(function: Callable[[float], float], goal: float, low: float, high: float) -> float:
    """Where a rising function has a value, within [low, high]."""
    from scipy.optimize import brentq

    if function(low) >= goal:
        return low
    if function(high) <= goal:
        return high
    return float(brentq(lambda x: function(x) - goal, low, high, xtol=1e-3))


def _pairs_by_one_person(ratings: Ratings) -> tuple[Ints, Ints]:
    """Rows of two ratings of different items by one person: neighbours in a random order of each person's ratings, at most `_MOST` pairs."""
    if not len(ratings) or not len(ratings.annotator):
        return (np.zeros(0, dtype=np.int64),) * 2
    order = np.lexsort((np.random.default_rng(0).random(len(ratings)), ratings.annotator))
    first, second = order[:-1], order[1:]
    kept = (ratings.annotator[first] == ratings.annotator[second]) & (ratings.item[first] != ratings.item[second])
    rows = np.flatnonzero(kept)
    rows = np.sort(np.random.default_rng(1).permutation(rows)[:_MOST])
    return first[rows], second[rows]
