"""Intervals by resampling groups of items, and agreement that can be resampled.

Responses to one prompt are judged alike: they are drawn together. A resample draws as many groups as there are, with replacement; an item's weight in it is
how often its group was drawn, times for how many items of the run it stands. A figure is computed from the weights of all resamples at once, as a ratio of sums;
its interval is the central part of what the resamples give (the percentile bootstrap, Efron 1979). It covers what choosing other items would change, and,
as each item brings its raters, what other raters would; it does not cover a choice of items that stands for nothing but itself.

*Krippendorff's alpha* of counts n_uc (votes for label c on item u, m_u of them) under a squared difference d_ck is 1 - Do / De with

    Do = sum_u w_u sum_ck n_uc n_uk d_ck / (m_u - 1)  /  sum_u w_u m_u            (items with m_u > 1)
    De = sum_ck N_c N_k d_ck / (N (N - 1)),   N_c = sum_u w_u n_uc,  N = sum_c N_c

*Between two groups* that judge the same items with shares p_u and q_u, only pairs across the groups count:

    alpha_between = 1 - [sum_u w_u p_u' d q_u / sum_u w_u]  /  [pbar' d qbar]

with the groups' mean shares. It is 1 where every cross pair agrees, 0 where they agree as two groups that judge without looking, and below 0 for less.

Source: Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), for the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dprm_data.core.arrays import Floats, Ints


@dataclass(frozen=True)
class Interval:
    """An estimate with the ends of its interval; None where there is nothing to estimate."""

    value: float | None
    low: float | None
    high: float | None

    def excludes_zero(self) -> bool:
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


NOTHING = Interval(None, None, None)


@dataclass(frozen=True)
class Resamples:
    """Item weights: the first row is the sample itself, then the resamples; `weights` (1 + B, N). `level`: of the intervals."""

    weights: Floats
    level: float

    @classmethod
    def of(cls, groups: Sequence[str], stands_for: Floats, *, resamples: int, level: float, seed: int) -> Resamples:
        """groups (N,): which items are drawn together; stands_for (N,): the items' own weights, of which only the proportions count."""
        stands_for = stands_for / stands_for.mean() if len(stands_for) else stands_for
        _, group = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
        G = int(group.max(initial=-1)) + 1
        rng = np.random.default_rng(seed)
        drawn = rng.multinomial(G, np.full(G, 1.0 / max(G, 1)), size=resamples) if G else np.zeros((resamples, 0))
        weights = np.vstack([np.ones((1, len(group))), drawn[:, group]]) * stands_for
        return cls(weights.astype(np.float64), level)

    def with_people(self, item: Ints, person: Ints, *, seed: int) -> Resamples:
        """Weights of R answers, of which these are the items and people (R,): every resample draws people too, and an item's weight is shared among its answers."""
        P = int(person.max(initial=-1)) + 1
        drawn = np.random.default_rng([seed, 1]).multinomial(P, np.full(P, 1.0 / max(P, 1)), size=len(self.weights) - 1)
        of_person = np.vstack([np.ones((1, P)), drawn])[:, person]
        answers = np.maximum(np.bincount(item, minlength=self.weights.shape[1]), 1)
        return Resamples(self.weights[:, item] * of_person / answers[item], self.level)

    def interval(self, estimates: Floats) -> Interval:
        """The interval of a figure, from its value on every row of the weights (1 + B,); NaN where a resample does not give it."""
        if not len(estimates) or not np.isfinite(estimates[0]):
            return NOTHING
        known = estimates[1:][np.isfinite(estimates[1:])]
        if not len(known):
            return Interval(float(estimates[0]), None, None)
        low, high = np.quantile(known, [0.5 * (1.0 - self.level), 0.5 * (1.0 + self.level)])
        return Interval(float(estimates[0]), float(low), float(high))

    def mean(self, values: Floats, rows: Ints | None = None) -> Interval:
        """The weighted mean of values (N,), or of values of these rows only; values that are NaN are left out."""
        weights = self.weights if rows is None else self.weights[:, rows]
        known = np.isfinite(values)
        total = weights[:, known].sum(axis=1)
        sums = weights[:, known] @ values[known]
        return self.interval(np.divide(sums, total, out=np.full(len(sums), np.nan), where=total > 0))

    def alpha(self, counts: Floats, squared: Floats) -> Interval:
        """Krippendorff's alpha of votes counts (N, K) under a squared difference (K, K)."""
        m = counts.sum(axis=1)
        several = m > 1
        n, m, w = counts[several], m[several], self.weights[:, several]
        within = np.einsum("uc,ck,uk->u", n, squared, n) / (m - 1.0)
        N_c = w @ n
        N = N_c.sum(axis=1)
        observed = _ratio(w @ within, N)
        expected = _ratio(np.einsum("bc,ck,bk->b", N_c, squared, N_c), N * (N - 1.0))
        return self.interval(_alpha(observed, expected))

    def alpha_between(self, p: Floats, q: Floats, squared: Floats) -> Interval:
        """Agreement across two groups of shares p, q (N, K) beyond chance."""
        total = self.weights.sum(axis=1)
        observed = _ratio(self.weights @ np.einsum("uc,ck,uk->u", p, squared, q), total)
        expected = _ratio(np.einsum("bc,ck,bk->b", self.weights @ p, squared, self.weights @ q), total**2)
        return self.interval(_alpha(observed, expected))


def _alpha(observed: Floats, expected: Floats) -> Floats:
    """1 - observed / expected; 1 where all is one label and there is nothing to differ about."""
    known = expected > 0
    alpha = 1.0 - np.divide(observed, expected, out=np.zeros_like(observed), where=known)
    return np.where(np.isfinite(observed), alpha, np.nan)


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    return np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=denominator > 0)


def nominal(K: int) -> Floats:
    """The squared difference of labels that are equal or not."""
    return 1.0 - np.eye(K)


def by_reward(rewards: Floats) -> Floats:
    """The squared difference of labels by their rewards."""
    return np.asarray((rewards[:, None] - rewards[None, :]) ** 2)
