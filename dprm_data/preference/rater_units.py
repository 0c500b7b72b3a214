"""Figures over many items with the rater as the unit: standard errors of means and differences if the same people judge many items.

A figure over items is a weighted sum of rewards, t = sum_v a_v y_v. Votes by one rater are not independent: with item effects mu_i, rater effects b_r of variance tau² and
votes' own noise e_v of variance sigma²,

    y_v = mu_i + theta x_v + b_r + e_v,       Var t = tau² sum_r A_r² + sigma² sum_v a_v²,       A_r = the sum of a_v over r's votes

for figures in which the items cancel or are taken as given. A rater on both sides of a difference cancels, too (A_r is then small). The components come from the
method of moments on rewards less their items' means (Henderson's third method), whose expectations are exact for any design:

    Q1 = sum of squares                    E Q1 = (V - N) sigma² + sum_r C_rr tau²
    Q2 = sum_r (r's sum)² / C_rr           E Q2 = R sigma² + sum_rs C_rs² / C_rr tau²,        C = Z' M Z, M taking out items, Z the raters

Intervals use Student's t with Satterthwaite's degrees of freedom: R - 1 if raters dominate the variance. If no item has two votes, item effects are part of the noise.

Sources: Searle, Casella & McCulloch, Variance Components (1992), ch. 5; Satterthwaite (1946); Hutchinson (1990) for the trace with many raters.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dprm_data.core.arrays import Floats, Ints
from dprm_data.ingest.ratings import Ratings
from dprm_data.labels.space import LabelSpace

LEVEL, NORMAL = 0.95, 1.959964
EXACT = 1_500  # up to so many raters the trace is exact
PROBES = 64
MOST = 1_000_000  # votes from which the components are estimated


@dataclass(frozen=True)
class Figure:
    """An estimate with its standard error and degrees of freedom."""

    value: float
    error: float
    freedom: float
    recurring: float = 0.0  # how much larger its variance is than if every vote were another person's

    @property
    def wide_error(self) -> float:
        """The standard error, widened so that ± 1.96 of it is the 95 % interval, however few raters there are."""
        from scipy.special import stdtrit

        return float(stdtrit(self.freedom, 0.5 * (1.0 + LEVEL))) * self.error / NORMAL

    @property
    def p_value(self) -> float:
        """The p-value of the null hypothesis that the value is 0."""
        from scipy.special import stdtr

        return float(2.0 * stdtr(self.freedom, -abs(self.value) / self.error)) if self.error > 0 else 1.0


@dataclass(frozen=True)
class Components:
    """Variance components in reward²: `between` raters (tau²) and `within` (sigma²). They were estimated from this many `raters` and `votes`, with the effects of `items` removed."""

    between: float
    within: float
    raters: int
    votes: int
    items: int

    def figure(self, value: float, raters: float, votes: float) -> Figure:
        """A figure with sum A_r² = `raters` and sum a_v² = `votes`."""
        parts = np.array([self.between * raters, self.within * votes])
        freedom = np.array([max(self.raters - 1, 1), max(self.votes - self.items - self.raters, 1)])
        total = float(parts.sum())
        degrees = float(total**2 / (parts**2 / freedom).sum()) if total > 0 else 1.0
        return Figure(value, float(np.sqrt(total)), degrees, self.between * (raters - votes))


@dataclass(frozen=True)
class RaterUnits:
    """The raters behind the mean reward over all items: the number of `annotators`, their `effective` number (of equal weight), and the variance components of their rewards.

    `votes`: as how many independent votes.
    """

    annotators: int
    effective: float
    votes: float
    between: float
    within: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> RaterUnits:
        return cls(
            int(content["annotators"]), *(float(content[name]) for name in ("effective", "votes", "between", "within"))
        )


def rater_units(ratings: Ratings, space: LabelSpace) -> RaterUnits | None:
    """The raters behind the mean over these items; None if it is not known who gave the votes."""
    if not ratings.annotator_ids or not len(ratings):
        return None
    item, rater, weight = ratings.item, ratings.annotator, ratings.weight
    total = np.bincount(item, weights=weight)
    if not total.any():
        return None
    share = np.divide(weight, total[item] * (total > 0).sum(), out=np.zeros(len(weight)), where=total[item] > 0)
    found = components(ratings.rewards(space), item, rater)
    squares = float((np.bincount(rater, weights=share) ** 2).sum()), float((share**2).sum())
    people = int((np.bincount(rater) > 0).sum())
    return RaterUnits(people, 1.0 / squares[0], 1.0 / squares[1], found.between, found.within)


def mean_figure(mean: float, units: RaterUnits) -> Figure:
    """The mean reward over the items."""
    found = Components(units.between, units.within, units.annotators, 10**9, 0)
    return found.figure(mean, 1.0 / units.effective, 1.0 / units.votes)


def difference(reward: Floats, item: Ints, rater: Ints, kind: Floats, weight: Floats | None = None) -> Figure:
    """How much more reward votes of kind 1 give than votes of kind 0 (V,) on the same items; the kind may differ between raters or between a rater's votes.

    Raters with many votes are weighted down as far as raters differ, by 1 / (sigma² + n_r tau²) a vote.
    """
    item, rater = _dense(item), _dense(rater)
    weight = np.ones(len(item)) if weight is None else weight
    number = np.bincount(rater, weights=weight)[rater] if len(rater) else np.zeros(0)
    value, a = _within(reward, item, kind, weight)
    found = components(reward - value * kind, item, rater, fitted=1)
    if found.between > 0:
        value, a = _within(reward, item, kind, weight / (found.within + number * found.between))
        found = components(reward - value * kind, item, rater, fitted=1)
    return found.figure(value, float((np.bincount(rater, weights=a) ** 2).sum()), float((a**2).sum()))


def change(reward: Floats, item: Ints, rater: Ints, later: Floats) -> Figure:
    """The mean over items of the later votes' mean minus the earlier votes' mean. Every item has votes of both kinds; `later` (V,) is 1 or 0."""
    item, rater = _dense(item), _dense(rater)
    cell = item * 2 + later.astype(np.int64)
    number = np.bincount(cell)
    a = np.where(later > 0, 1.0, -1.0) / (number[cell] * (int(item.max()) + 1))
    value = float(a @ reward)
    found = components(reward - value * later, item, rater, fitted=1)
    return found.figure(value, float((np.bincount(rater, weights=a) ** 2).sum()), float((a**2).sum()))


def _within(reward: Floats, item: Ints, kind: Floats, weight: Floats) -> tuple[float, Floats]:
    """The regression on the kind with items taken out: (theta, a)."""
    total = np.maximum(np.bincount(item, weights=weight), 1e-300)
    centred = kind - (np.bincount(item, weights=weight * kind) / total)[item]
    square = float(weight @ centred**2)
    if square <= 1e-12 * float(weight.sum()):
        return 0.0, np.zeros(len(item))
    a = weight * centred / square
    return float(a @ reward), a


def components(reward: Floats, item: Ints, rater: Ints, *, fitted: int = 0) -> Components:
    """tau² and sigma² of rewards (V,); raters and items are given by number. `fitted`: how many contrasts between raters were removed from the rewards before."""
    if len(item) > MOST:  # whole items: the first so many, as items are in no order that matters
        kept = np.flatnonzero(np.cumsum(np.bincount(item))[item] <= MOST)
        reward, item, rater = reward[kept], item[kept], rater[kept]
    item, rater = _dense(item), _dense(rater)
    V, N, R = len(item), int(item.max(initial=-1)) + 1, int(rater.max(initial=-1)) + 1
    if V - N < 2 * R:  # hardly an item has two votes
        item, N = np.zeros(V, dtype=np.int64), 1
    if V - N < 2 or R < 2:
        spread = float(reward.var(ddof=1)) if V > 1 else 0.0
        return Components(0.0, spread, max(R, 1), V, 1)
    n = np.bincount(item).astype(np.float64)
    centred = reward - (np.bincount(item, weights=reward) / n)[item]
    pair, times = np.unique(item * R + rater, return_counts=True)
    own = times.astype(np.float64)
    at, who = pair // R, pair % R
    diagonal = np.bincount(who, weights=own - own**2 / n[at], minlength=R).astype(np.float64)
    informed = diagonal > 1e-9
    sums = np.bincount(rater, weights=centred, minlength=R)
    q1 = float(centred @ centred)
    q2 = float((sums[informed] ** 2 / diagonal[informed]).sum())
    known = int(informed.sum())
    q2 *= max(known - 1, 1) / max(known - 1 - fitted, 1)
    e1, e2 = float(diagonal.sum()), _squares(at, who, own, n, diagonal, informed)
    # [V - N, e1; R', e2] (sigma², tau²) = (q1, q2)
    determinant = (V - N) * e2 - known * e1
    between = max(((V - N) * q2 - known * q1) / determinant, 0.0) if determinant > 0 else 0.0
    within = max((q1 - e1 * between) / (V - N), 0.0)
    # Severities are not quite normal: with one degree of freedom less than normal theory has, six raters of the face ratings who are divided at
    # random do not differ more often than they should.
    return Components(float(between), float(within), max(known - 2 * fitted, 2), V, N)


def _squares(at: Ints, who: Ints, own: Floats, n: Floats, diagonal: Floats, informed: NDArray[np.bool_]) -> float:
    """sum_rs C_rs² / C_rr."""
    from scipy.sparse import csr_array

    R = len(diagonal)
    Z = csr_array((own, (at, who)), shape=(len(n), R))
    number = np.bincount(who, weights=own, minlength=R)
    if R <= EXACT:
        scaled = csr_array((own / np.sqrt(n[at]), (at, who)), shape=(len(n), R))
        C = np.diag(number) - (scaled.T @ scaled).toarray()
        return float((C[informed] ** 2).sum(axis=1) @ (1.0 / diagonal[informed]))
    z = np.random.default_rng(0).choice([-1.0, 1.0], (R, PROBES))
    Cz = number[:, None] * z - Z.T @ ((Z @ z) / n[:, None])
    return float(((Cz[informed] ** 2).mean(axis=1) / diagonal[informed]).sum())


def _dense(codes: Ints) -> Ints:
    """The same codes, numbered from 0 without gaps."""
    return np.unique(codes, return_inverse=True)[1].astype(np.int64)
