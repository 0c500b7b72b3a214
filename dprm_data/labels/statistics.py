"""Statistics on labelled items: bootstrap intervals by resampling groups, and Krippendorff's alpha.

*The bootstrap.* Responses to one prompt are judged alike, so they are drawn together. A resample draws as many groups as there are, with replacement; an item's
weight in it is the number of times its group was drawn, times the number of items it represents. A figure is computed from the weights of all resamples at once, as a
ratio of sums. Its interval is the central part of the resampled values (the percentile bootstrap, Efron 1979). It covers the choice of items and, as every item
brings its raters, the choice of raters; it does not cover a selection that represents only itself.

*Krippendorff's alpha* of counts n_uc (votes for label c on item u, m_u of them) under a squared difference d_ck is 1 - Do / De with

    Do = sum_u w_u sum_ck n_uc n_uk d_ck / (m_u - 1)  /  sum_u w_u m_u            (items with m_u > 1)
    De = sum_ck N_c N_k d_ck / (N (N - 1)),   N_c = sum_u w_u n_uc,  N = sum_c N_c

*Between two groups* that judge the same items with shares p_u and q_u, only pairs across the groups count:

    alpha_between = 1 - [sum_u w_u p_u' d q_u / sum_u w_u]  /  [pbar' d qbar]

with the groups' mean shares. It is 1 if every cross pair agrees, 0 if they agree as two groups that answer at random would, and below 0 for less.

Source: Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), for the first; the tests hold it to the `krippendorff` library.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dprm_data.core.arrays import Floats, Ints

_MOST_CELLS = 25_000_000  # of the weights: 200 MB; beyond it there are fewer resamples, but at least 100
_MOST_REPEATS = 200  # resamples of a statistic that has to be computed for each of them

# -- intervals ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Interval:
    """An estimate with the ends of its interval; None where it cannot be estimated."""

    value: float | None
    low: float | None
    high: float | None

    def __str__(self) -> str:
        if self.value is None:
            return "–"
        return f"{self.value:.3f}" + ("" if self.low is None else f" [{self.low:.3f}, {self.high:.3f}]")

    def excludes_zero(self) -> bool:
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


NOTHING = Interval(None, None, None)


@dataclass(frozen=True)
class Resamples:
    """Item weights, `weights` (1 + B, N): the sample itself in the first row, then B resamples. `level`: of the intervals.

    Figures from the same resamples are paired: the interval of a difference is that of the differences.
    """

    weights: Floats
    level: float

    @classmethod
    def of(
        cls,
        groups: Sequence[str] | NDArray[Any],
        represents: Floats | None = None,
        *,
        resamples: int = 500,
        level: float = 0.95,
        seed: int = 0,
    ) -> Resamples:
        """groups (N,): items of one group are drawn together. represents (N,): each item's own weight, of which only the proportions matter; equal by default."""
        names = np.asarray(groups)
        _, group = np.unique(names.astype(str) if names.dtype == object else names, return_inverse=True)
        G, N = int(group.max(initial=-1)) + 1, len(group)
        own = np.ones(N) if represents is None or not N else represents / represents.mean()
        resamples = min(resamples, max(100, _MOST_CELLS // max(N, 1)))
        return cls(
            np.vstack([np.ones((1, N)), _drawn(G, resamples, np.random.default_rng(seed))[:, group]]) * own, level
        )

    def with_people(self, item: Ints, person: Ints, *, seed: int) -> Resamples:
        """Weights of R answers with these items and people (R,): every resample draws people too, and an item's weight is shared among its answers."""
        P = int(person.max(initial=-1)) + 1
        drawn = _drawn(P, len(self.weights) - 1, np.random.default_rng([seed, 1]))
        of_person = np.vstack([np.ones((1, P)), drawn])[:, person]
        answers = np.maximum(np.bincount(item, minlength=self.weights.shape[1]), 1)
        return Resamples(self.weights[:, item] * of_person / answers[item], self.level)

    def interval(self, estimates: Floats) -> Interval:
        """The interval of a figure from its value in the sample and in every resample (1 + B,); NaN where a resample has none."""
        if not len(estimates) or not np.isfinite(estimates[0]):
            return NOTHING
        known = estimates[1:][np.isfinite(estimates[1:])]
        if not len(known):
            return Interval(float(estimates[0]), None, None)
        low, high = np.quantile(known, [0.5 * (1.0 - self.level), 0.5 * (1.0 + self.level)])
        return Interval(float(estimates[0]), float(low), float(high))

    def mean(self, values: Floats, rows: Ints | None = None) -> Interval:
        """The weighted mean of values (N,), or of values (M,) that belong to these rows (M,). NaN values are left out."""
        return self.interval(self.means(values, rows))

    def means(self, values: Floats, rows: Ints | None = None) -> Floats:
        """What `mean` is in the sample and in every resample, (1 + B,); NaN where none of the rows was drawn."""
        known = np.isfinite(values)
        rows = np.flatnonzero(known) if rows is None else rows[known]
        weights = self.weights[:, rows]
        return ratio(weights @ values[known], weights.sum(axis=1))

    def statistic(self, function: Callable[[Ints], float]) -> Interval:
        """Any statistic of row numbers (with repetitions), in at most 200 resamples of three rows or more. For items that all represent the same number only."""
        N = self.weights.shape[1]
        drawn = [np.repeat(np.arange(N), row.astype(np.int64)) for row in self.weights[1 : 1 + _MOST_REPEATS]]
        estimates = [function(np.arange(N)), *(function(rows) for rows in drawn if len(rows) > 2)]
        return self.interval(np.array(estimates))

    def alpha(self, counts: Floats, squared: Floats) -> Interval:
        """Krippendorff's alpha of vote counts (N, K) under a squared difference (K, K)."""
        return self.interval(_alphas(counts, squared, self.weights))

    def alpha_between(self, p: Floats, q: Floats, squared: Floats) -> Interval:
        """Agreement beyond chance across two groups with shares p, q (N, K)."""
        total = self.weights.sum(axis=1)
        observed = ratio(self.weights @ np.einsum("uc,ck,uk->u", p, squared, q), total)
        expected = ratio(np.einsum("bc,ck,bk->b", self.weights @ p, squared, self.weights @ q), total**2)
        return self.interval(_beyond_chance(observed, expected))


def _drawn(count: int, resamples: int, rng: np.random.Generator) -> Floats:
    """How often each of `count` was drawn in each resample (B, count)."""
    if not count:
        return np.zeros((resamples, 0))
    return rng.multinomial(count, np.full(count, 1.0 / count), size=resamples).astype(np.float64)


# -- distributions ------------------------------------------------------------------------------------------------------


def reward_variance(p: Floats, rewards: Floats) -> Floats:
    """The variance of the reward over the population: distributions (N, K) and rewards (K,) to (N,)."""
    return np.asarray(np.maximum(p @ rewards**2 - (p @ rewards) ** 2, 0.0))


# -- Krippendorff's alpha -----------------------------------------------------------------------------------------------


def alpha(counts: Floats, squared: Floats) -> float | None:
    """Krippendorff's alpha of vote counts (N, K) under a squared difference (K, K); None if no item has two votes, 1 if all votes are alike."""
    (value,) = _alphas(counts, squared, np.ones((1, len(counts)))).tolist()
    return value if np.isfinite(value) else None


def alpha_of_values(item: Ints, values: Floats) -> float | None:
    """Krippendorff's alpha at the interval level of values (R,) of these items (R,) that need not be labels; None if no item has two, 1 if all are alike."""
    number = np.bincount(item)
    several = number[item] > 1
    if not several.any():
        return None
    item, values = item[several], values[several]
    mean = np.bincount(item, values) / np.maximum(np.bincount(item), 1)
    observed = (((values - mean[item]) ** 2) / (1.0 - 1.0 / number[item])).mean()
    expected = values.var(ddof=1)
    return float(1.0 - observed / expected) if expected > 0 else 1.0


def nominal(K: int) -> Floats:
    """The squared difference of labels that are equal or not."""
    return 1.0 - np.eye(K)


def by_reward(rewards: Floats) -> Floats:
    """The squared difference of labels by their rewards (alpha's interval level)."""
    return np.asarray((rewards[:, None] - rewards[None, :]) ** 2)


def by_rank(counts: Floats, rewards: Floats) -> Floats:
    """The squared difference of labels by the order of their rewards (alpha's ordinal level), labels of equal reward being one rank.

    The distance of two ranks is the number of votes (N, K) between their middles; votes of items with one vote do not count.
    """
    votes = counts[counts.sum(axis=1) > 1].sum(axis=0)
    _, rank = np.unique(rewards, return_inverse=True)
    of_rank = np.bincount(rank, weights=votes)
    middle = np.cumsum(of_rank) - 0.5 * of_rank
    return by_reward(middle[rank])


def _alphas(counts: Floats, squared: Floats, weights: Floats) -> Floats:
    """Alpha under every row of the weights (B, N), shape (B,); NaN where no item has two votes."""
    m = counts.sum(axis=1)
    several = m > 1
    n, m, w = counts[several], m[several], weights[:, several]
    within = np.einsum("uk,uk->u", n @ squared, n) / (m - 1.0)
    N_c = w @ n
    N = N_c.sum(axis=1)
    observed = ratio(w @ within, N)
    expected = ratio(np.einsum("bc,ck,bk->b", N_c, squared, N_c), N * (N - 1.0))
    return _beyond_chance(observed, expected)


def _beyond_chance(observed: Floats, expected: Floats) -> Floats:
    """1 - observed / expected; 1 where all labels are alike and there is nothing to differ about."""
    known = expected > 0
    alpha = 1.0 - np.divide(observed, expected, out=np.zeros_like(observed), where=known)
    return np.where(np.isfinite(observed), alpha, np.nan)


def ratio(numerator: Floats, denominator: Floats) -> Floats:
    """The quotients; NaN where there is nothing to divide by."""
    return np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=denominator > 0)
