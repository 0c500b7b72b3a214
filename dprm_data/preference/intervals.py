"""Credible intervals and expected distances from posterior means and variances.

A bounded quantity (a probability, an expected reward) is given the beta distribution, stretched to its range, that has its posterior mean and
variance. For a Dirichlet posterior's probabilities that is exact; for the mixtures here it is an approximation whose coverage is measured
(`benchmarks/estimators.py`).
"""

from __future__ import annotations

import numpy as np
from scipy.special import betaincinv, betaln, xlogy

from dprm_data.labels import Floats, LabelSpace
from dprm_data.preference.beta import from_moments
from dprm_data.preference.components import distinct


def interval(
    mean: Floats, variance: Floats, level: float, low: float = 0.0, high: float = 1.0
) -> tuple[Floats, Floats]:
    """The central interval that holds `level` of the posterior, of a quantity in [low, high]: (lower ends, upper ends).

    `mean` and `variance` have any one shape; the units are those of the quantity.
    """
    width = high - low
    if width <= 0:
        return mean.copy(), mean.copy()
    pairs, where = distinct(np.stack([((mean - low) / width).ravel(), (variance / width**2).ravel()], axis=1))
    alpha, beta = from_moments(pairs[:, 0], pairs[:, 1])
    ends = []
    for tail in (0.5 * (1.0 - level), 0.5 * (1.0 + level)):
        # A huge parameter is a spike: its quantile is its mean, which the inverse would take long to find.
        quantile = np.where(alpha + beta > 1e9, pairs[:, 0], betaincinv(alpha, beta, tail))
        ends.append(low + width * quantile[where].reshape(mean.shape))
    return ends[0], ends[1]


def mean_absolute_deviation(mean: Floats, variance: Floats) -> Floats:
    """E|X - E X| of the beta on [0, 1] with this mean and variance.

    Closed form: 2 a^a b^b / (B(a, b) (a + b)^(a + b + 1)).  Source: Johnson, Kotz & Balakrishnan, Continuous Univariate Distributions 2, ch. 25.
    """
    a, b = from_moments(mean, variance)
    huge = a + b > 1e9
    log = np.log(2.0) + xlogy(a, a) + xlogy(b, b) - betaln(a, b) - (a + b + 1.0) * np.log(a + b)
    return np.where(huge, np.sqrt(2.0 * np.maximum(variance, 0.0) / np.pi), np.exp(np.where(huge, 0.0, log)))


def reward_steps(space: LabelSpace) -> tuple[Floats, Floats]:
    """The reward line: indicator functionals 1[r_k <= t] for every gap (K, T) and the gaps' widths (T,)."""
    points = np.unique(space.rewards)
    return (space.rewards[:, None] <= points[None, :-1]).astype(np.float64), np.diff(points)


def expected_wasserstein(mean: Floats, variance: Floats, widths: Floats) -> Floats:
    """Expected Wasserstein-1 distance, in units of reward, between the posterior mean and the true distribution, shape (N,).

    On a line W1 is the sum of the gaps' widths times |F(t) - G(t)|; `mean` and `variance` (N, T) are those of F at every gap.
    """
    return np.asarray(mean_absolute_deviation(mean, variance) @ widths)
