"""How many people a panel is worth on these items: as many as make the same error.

The mean reward of n random people is off by s² / n in the mean square, s² the variance between people. The panel's mean is off by e². So the panel is worth

    n = mean s² / mean e²          people for the mean,

and with the distribution function F, whose estimate by n people has the squared error F (1 - F) / n at every cut,

    n = mean F (1 - F) / mean D²   people for the whole distribution.

Both errors are estimated without bias: what chance in people's few votes adds is subtracted (s² / n_i from the squared gap of item i, see `distance.squared_error`). They are ratios of
means over items, with the bootstrap over items. Where the interval of the error holds 0, there is no upper end: the panel cannot be told from the crowd with these votes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dprm_data.core.arrays import Floats
from dprm_data.labels.space import LabelSpace
from dprm_data.labels.statistics import Resamples, ratio, reward_variance
from dprm_data.validation.distance import spread_between_people, squared_error


@dataclass(frozen=True)
class Worth:
    """In people. people: None, or high None, where no number is too large. per_dollar: people's answers that one dollar replaces; per_call: that one call replaces."""

    people: float | None
    low: float | None
    high: float | None
    per_dollar: float | None
    per_call: float | None


def between_people(counts: Floats, space: LabelSpace) -> Floats:
    """The variance of the reward between people on every item, from counts (N, K) of two votes or more, without bias (N,)."""
    n = counts.sum(axis=1)
    return np.asarray(reward_variance(counts / n[:, None], space.rewards) * n / (n - 1.0))


def squared_gap(prediction: Floats, counts: Floats, space: LabelSpace) -> Floats:
    """The squared difference between a prediction's mean reward and the crowd's, estimated without bias (N,)."""
    n = counts.sum(axis=1)
    gap = (prediction - counts / n[:, None]) @ space.rewards
    return np.asarray(gap**2 - between_people(counts, space) / n)


def worth_of_mean(
    prediction: Floats, counts: Floats, space: LabelSpace, draw: Resamples, *, dollars: float | None, calls: float
) -> Worth:
    """For the mean reward. dollars, calls: what the prediction took per item."""
    return _worth(between_people(counts, space), squared_gap(prediction, counts, space), draw, dollars, calls)


def worth_of_distribution(
    prediction: Floats, counts: Floats, space: LabelSpace, draw: Resamples, *, dollars: float | None, calls: float
) -> Worth:
    """For the whole distribution."""
    spread, error = spread_between_people(counts, space), squared_error(prediction, counts, space)
    return _worth(spread, error, draw, dollars, calls)


def _worth(spread: Floats, error: Floats, draw: Resamples, dollars: float | None, calls: float) -> Worth:
    there = np.isfinite(error)
    weights = draw.weights[:, there]
    relative = draw.interval(ratio(weights @ error[there], weights @ spread[there]))
    people = _inverse(relative.value)
    return Worth(
        people,
        _inverse(relative.high),
        _inverse(relative.low),
        people / dollars if people is not None and dollars else None,
        people / calls if people is not None and calls else None,
    )


def _inverse(error: float | None) -> float | None:
    return None if error is None or error <= 0 else 1.0 / error
