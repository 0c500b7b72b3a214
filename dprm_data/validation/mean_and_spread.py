"""Is a panel too harsh, too narrow, too sure? Its means and spreads beside the crowd's.

    bias             mean reward of the panel minus the crowd's; also by label (difference of shares) and on divided and undivided items
    width            the panel's spread within items over the crowd's, as a ratio of standard deviations: below 1, simulated people differ less than people do
    contrast         the spread of the panel's means over items over that of the crowd's: below 1, the panel tells items apart less than people do
    held             how often the published 90 % interval of the expected reward, widened by the sampling error of people's mean, holds that mean: below .9, the panel is too sure
    means            correlation over items of the panel's mean and the crowd's; `means_of_people`: between two halves of the people
    disagreement     correlation over items of the variance within the item; `disagreement_of_people` likewise

People's own figures are free of the chance in few votes where that can be had: variances within an item are multiplied by n / (n - 1); from the variance of the items' means the mean of s² / n is subtracted.
Correlations are not corrected: compare them with people's own.

*Divided items* are those above the median chance that two people disagree. With few raters an item's place is partly chance, and its votes then look more divided than they would again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dprm_data.core.arrays import Floats
from dprm_data.labels.space import LabelSpace
from dprm_data.labels.statistics import NOTHING, Interval, Resamples, ratio, reward_variance
from dprm_data.validation.crowd import dividedness
from dprm_data.validation.distance import Halves
from dprm_data.validation.worth import between_people

_Z = 1.6448536269514722  # of a 90 % interval
LEVEL = 0.9


@dataclass(frozen=True)
class MeanAndSpread:
    """See the module. by_label: in the space's order. held: None where there is no interval."""

    bias: Interval
    bias_divided: Interval
    bias_undivided: Interval
    by_label: tuple[Interval, ...]
    width: Interval
    contrast: Interval
    held: Interval
    means: Interval
    means_of_people: Interval
    disagreement: Interval
    disagreement_of_people: Interval


def mean_and_spread(
    prediction: Floats,
    counts: Floats,
    space: LabelSpace,
    draw: Resamples,
    *,
    low: Floats | None = None,
    high: Floats | None = None,
    seed: int = 0,
) -> MeanAndSpread:
    """Of a prediction (N, K), NaN for items that it leaves out, beside people's counts (N, K). low, high: the ends of its 90 % intervals of the expected reward (N,)."""
    n = counts.sum(axis=1)
    shares, variance = counts / n[:, None], between_people(counts, space)
    means, predicted = shares @ space.rewards, prediction @ space.rewards
    gap, own = predicted - means, reward_variance(prediction, space.rewards)
    own = np.where(np.isfinite(predicted), own, np.nan)
    divided = dividedness(counts) > np.median(dividedness(counts))
    first, second = (half / half.sum(axis=1, keepdims=True) for half in Halves.of(counts, seed=seed).once)
    rewards = space.rewards
    return MeanAndSpread(
        bias=draw.mean(gap),
        bias_divided=draw.mean(np.where(divided, gap, np.nan)),
        bias_undivided=draw.mean(np.where(divided, np.nan, gap)),
        by_label=tuple(draw.mean(prediction[:, k] - shares[:, k]) for k in range(space.K)),
        width=_ratio_of_means(own, variance, draw),
        contrast=_contrast(predicted, means, variance / n, draw),
        held=draw.mean(_held(low, high, gap, predicted, variance, n))
        if low is not None and high is not None
        else NOTHING,
        means=correlation(predicted, means, draw),
        means_of_people=correlation(first @ rewards, second @ rewards, draw),
        disagreement=correlation(own, variance, draw),
        disagreement_of_people=_disagreement_of_people(counts, space, draw, seed),
    )


def correlation(x: Floats, y: Floats, draw: Resamples) -> Interval:
    """Pearson's correlation over the items where both are known, with its interval."""
    there = np.isfinite(x) & np.isfinite(y)
    if there.sum() < 3:
        return NOTHING
    w = draw.weights[:, there] / draw.weights[:, there].sum(axis=1, keepdims=True)
    a, b = x[there], y[there]
    covariance = w @ (a * b) - (w @ a) * (w @ b)
    squares = (w @ a**2 - (w @ a) ** 2) * (w @ b**2 - (w @ b) ** 2)
    return draw.interval(np.where(squares > 1e-18, covariance / np.sqrt(np.maximum(squares, 1e-18)), np.nan))


def _ratio_of_means(own: Floats, theirs: Floats, draw: Resamples) -> Interval:
    """The square root of the ratio of two mean variances."""
    there = np.isfinite(own)
    weights = draw.weights[:, there]
    relative = ratio(weights @ own[there], weights @ theirs[there])
    return draw.interval(np.sqrt(np.maximum(relative, 0.0)))


def _contrast(predicted: Floats, means: Floats, chance: Floats, draw: Resamples) -> Interval:
    """The standard deviation of the panel's means over that of the crowd's, chance in few votes taken out; NaN where the crowd's means differ by chance alone."""
    there = np.isfinite(predicted)
    w = draw.weights[:, there] / draw.weights[:, there].sum(axis=1, keepdims=True)

    def over_items(x: Floats) -> Floats:
        return np.asarray(w @ x**2 - (w @ x) ** 2)

    theirs = over_items(means[there]) - w @ chance[there]
    with np.errstate(invalid="ignore", divide="ignore"):
        return draw.interval(np.sqrt(np.where(theirs > 1e-9, over_items(predicted[there]) / theirs, np.nan)))


def _held(low: Floats, high: Floats, gap: Floats, predicted: Floats, variance: Floats, n: Floats) -> Floats:
    """1 where the crowd's mean lies in the interval, widened by the sampling error of that mean; the variance between people is that of the average item, since one item's few votes do not tell it."""
    pooled = float(variance.mean())
    chance = pooled / n
    below, above = np.maximum(predicted - low, 0.0) / _Z, np.maximum(high - predicted, 0.0) / _Z
    own = np.where(gap < 0, above, below)  # where people's mean is above the panel's, the upper half counts
    inside = np.abs(gap) <= _Z * np.sqrt(own**2 + chance)
    return np.where(np.isfinite(gap) & np.isfinite(low), inside, np.nan)


def _disagreement_of_people(counts: Floats, space: LabelSpace, draw: Resamples, seed: int) -> Interval:
    """Between two halves of the people, on items with two votes in each."""
    rows = np.flatnonzero(counts.sum(axis=1) >= 4)
    if len(rows) < 3:
        return NOTHING
    found = np.full((2, len(counts)), np.nan)
    found[0, rows], found[1, rows] = (between_people(half, space) for half in Halves.of(counts[rows], seed=seed).once)
    return correlation(found[0], found[1], draw)
