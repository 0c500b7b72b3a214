"""Learning a prior over the grid of betas from the votes of many items (empirical Bayes).

The weights over the grid are found by EM, the nonparametric maximum likelihood estimate of a mixing distribution (Laird 1978), regularised
by a base measure: with few items or few votes, likelihood alone would put all weight on a handful of grid points, or leave it at its
initial value. The base G is a bivariate normal of (logit mu, log s), fitted to the items' own posterior weights in every step (a start's moments
count as HYPER_ITEMS items in it), and enters as BASE_ITEMS pseudo-items; EVEN_ITEMS more are spread evenly over the grid, so that no shape is impossible:

    R_ig = w_g p(n_i | g) / sum_h w_h p(n_i | h),     w_g  ~  sum_i t_i R_ig + BASE_ITEMS G_g(R) + EVEN_ITEMS / size of the grid

With thousands of items the base is negligible and the weights follow the data, whatever their form.

One vote says where the population is, not how far items differ: any split of the variance into between and within items explains single votes equally well. So an
item counts by its share t_i = N_i - 1, from 0 for one vote to 1 for two and more, in w and in the covariance of G. In the mean of G and in the level
weights it counts in full. Without items of two votes the prior is the start's, moved to the votes: STATED says that about a third of the
variance is between items.

The level weights omega are estimated at the same time by iterative scaling (Darroch & Ratcliff 1972): at the maximum, every level is expected as often as
it was observed,

    sum_i n_il = O_l = E_l = sum_i N_i sum_g R_ig P_gl,    step: log omega_l += (O_l - E_l - lambda log omega_l) / (E_l + lambda)

where lambda is the precision of a normal prior around omega = 1, in votes: it keeps a scale with few votes near the plain beta.

The constants were chosen on real votes; how little they matter is in `docs/statistics.md`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dprm_data.core.arrays import Floats
from dprm_data.preference import beta as discretised
from dprm_data.preference.components import Components, dirichlet_multinomial, distinct
from dprm_data.preference.prior import FEW_SEVERAL, BetaPart

BASE_ITEMS = 50.0
EVEN_ITEMS = 0.2
HYPER_ITEMS = 5.0
LEAST_VARIANCE = 0.02  # finer than the grid
LEVEL_PRECISION = 20.0
LAPSE, LAPSE_VOTES, LAPSE_STEPS = 0.01, 100.0, 10
MOST_ROWS = 5_000  # distinct vote vectors from which a prior is learned
ROUNDS = 12  # of level weights; each is followed by EM steps on the grid
STEPS = 8
KAPPAS = np.geomspace(4.0, 4000.0, 10)
# No real population is exactly a beta. The two real scales of five levels and more at hand, with all their raters, have a kappa
# of 86 and of 860; few votes cannot determine it, and then it is this.
KAPPA_MEDIAN, KAPPA_SPREAD = 200.0, 1.0


@dataclass(frozen=True)
class Start:
    """What is believed about items before there are votes: their median concentration s, and the variances of logit mu and log s."""

    concentration: float
    variances: tuple[float, float]

    @classmethod
    def of(cls, told: float) -> Start:
        """Between `STATED` and `BROAD`: told is the share of the items that tell how far items differ."""
        first, second = ((1.0 - told) * a + told * b for a, b in zip(STATED.variances, BROAD.variances, strict=True))
        return cls(STATED.concentration ** (1.0 - told) * BROAD.concentration**told, (first, second))


# Believed of items with one vote: they differ as little as they may without single votes being predicted worse than by a Dirichlet with one vote per label, and as
# much as they may without being predicted worse than by one distribution for all items, on all real votes at hand.
STATED = Start(3.5, (0.6, 0.7))
BROAD = Start(3.0, (1.5, 0.5))  # broad, with a soft peak: where items have several votes, these soon decide


@dataclass(frozen=True)
class Sample:
    """Distinct vote vectors (U, L) and how many items have each (U,)."""

    votes: Floats
    items: Floats

    @classmethod
    def of(cls, votes: Floats) -> Sample:
        """The sample of these votes, without the items that have none on this scale."""
        votes = votes[votes.sum(axis=1) > 0]
        rows, where = distinct(votes)
        return cls(rows, np.bincount(where, minlength=len(rows)).astype(np.float64))

    @property
    def single(self) -> bool:
        """Whether hardly any item has two votes: the few that have are too few to learn from."""
        return bool(self.telling.sum() < FEW_SEVERAL * self.items.sum())

    @property
    def telling(self) -> Floats:
        """The items (U,) that tell how far items differ."""
        return self.items * telling(self.votes)

    def thinned(self, most: int) -> Sample:
        """A random subset of the items with at most `most` distinct rows, or all of them. The choice is deterministic."""
        if len(self.votes) <= most:
            return self
        owner = np.random.default_rng(0).permutation(np.repeat(np.arange(len(self.votes)), self.items.astype(np.int64)))
        _, first = np.unique(owner, return_index=True)
        owner = owner[: np.sort(first)[most]]
        rows, items = np.unique(owner, return_counts=True)
        return Sample(self.votes[rows], items.astype(np.float64))


def telling(votes: Floats) -> Floats:
    """How much items (U,) with these votes (U, L) tell how far items differ: 0 with one vote, 1 with two, and with one that is split over labels."""
    split = (votes > 0).sum(axis=1) > 1
    return np.where(split, 1.0, np.clip(votes.sum(axis=1) - 1.0, 0.0, 1.0))


class Base:
    """The normal base measure of (logit mu, log s) on the points of a grid."""

    def __init__(self, mu: Floats, s: Floats, start: Start = BROAD) -> None:
        self.points = np.stack([np.log(mu / (1.0 - mu)), np.log(s)], axis=1)
        # The points are even in arcsin(sqrt(mu)): a point covers d logit mu = d arcsine / sqrt(mu (1 - mu)).
        self.width = 1.0 / np.sqrt(mu * (1.0 - mu))
        self._start, self._variances = np.array([0.0, np.log(start.concentration)]), np.diag(start.variances)

    def at(self, mean: Floats, covariance: Floats) -> Floats:
        away = self.points - mean
        distance = np.einsum("gi,ij,gj->g", away, np.linalg.inv(covariance), away)
        density = self.width * np.exp(-0.5 * (distance - distance.min()))
        return np.asarray(density / density.sum())

    def fitted(self, items: Floats, telling: Floats | None = None) -> Floats:
        """The base with the moments of the weights that items have on the grid, and of HYPER_ITEMS at the start.

        Without these, a single unanimous item would draw the base towards an end, the base the item, and so on to certainty. The covariance is that
        of `telling`, the weights of those items that tell how far items differ (by default all).
        """
        mean, _, share = self._moments(items)
        _, covariance, told = self._moments(items if telling is None else telling)
        spread = told * covariance + (1.0 - told) * self._variances + LEAST_VARIANCE * np.eye(2)
        return self.at(share * mean + (1.0 - share) * self._start, spread)

    def _moments(self, items: Floats) -> tuple[Floats, Floats, float]:
        """Mean and covariance of the items, and their share beside HYPER_ITEMS."""
        total = float(items.sum())
        weights = items / max(total, 1e-300)
        mean = weights @ self.points
        away = self.points - mean
        return mean, away.T @ (away * weights[:, None]), total / (total + HYPER_ITEMS)

    def start(self, mean: float) -> Floats:
        self._start[0] = np.log(mean / (1.0 - mean))
        return self.at(self._start, self._variances)


def learn_beta(votes: Floats, *, level_weights: bool = True, lapses: bool = True, free: bool = False) -> BetaPart:
    """The prior of a scale of L levels from the votes (I, L) of the items on it.

    free: single votes shape it, and not the level weights: one of many priors that explain them, for which there must be other reasons (`rater_effects`).
    """
    sample = Sample.of(votes).thinned(MOST_ROWS)
    L = votes.shape[1]
    omega = np.ones(L)
    part = BetaPart(*discretised.grids(_typical(sample)), np.ones(1), omega)
    mu, s = part.grid()
    plain = discretised.cells(mu, s, L)
    observed = sample.items @ sample.votes
    N = sample.votes.sum(axis=1)
    several = sample.items * (N > 1.0)
    shaping = sample.items if free else sample.telling
    levelling = several if free else np.maximum(several, sample.items - sample.telling)
    base = Base(mu, s, Start.of(_share(shaping, sample.items)))
    # The start's mean is that of all votes, shrunk a little towards the middle.
    weights = base.start(float((observed + 1.0) @ (np.arange(L) + 0.5) / L / (observed.sum() + L)))
    lapse = LAPSE if lapses and L > 2 else 0.0
    for _ in range(ROUNDS):
        P = discretised.weighted(plain, omega, lapse)
        likelihood = _relative(sample.votes @ np.log(P).T)
        weights = em(likelihood, sample.items, shaping, weights, base, STEPS)
        if lapse:
            found = weights[:, None] * (likelihood.T @ (sample.votes * (several / (likelihood @ weights))[:, None]))
            lapse = _lapse_rate(found, discretised.weighted(plain, omega), lapse)
        # On two levels there is no shape that a weight could correct: the prior over the mean absorbs it.
        if level_weights and L > 2:
            P = discretised.weighted(plain, omega, lapse)
            expected = (weights * (likelihood.T @ (levelling * N / (likelihood @ weights)))) @ P
            log_omega = np.log(omega)
            log_omega += (levelling @ sample.votes - expected - LEVEL_PRECISION * log_omega) / (
                expected + LEVEL_PRECISION
            )
            omega = np.exp(np.clip(log_omega - log_omega.mean(), -5.0, 5.0))
    return replace(part, weights=weights, level_weights=omega, lapse=lapse)


def em(likelihood: Floats, items: Floats, shaping: Floats, weights: Floats, base: Base, steps: int) -> Floats:
    """EM steps for the weights of the grid: `likelihood` (U, G) up to a factor per row, `items` (U,) the rows' multiplicities, `shaping` (U,) how many of
    them tell how far items differ."""
    both = np.stack([items, shaping], axis=1)
    for _ in range(steps):
        found, told = (weights[:, None] * (likelihood.T @ (both / (likelihood @ weights)[:, None]))).T
        weights = told + BASE_ITEMS * base.fitted(found, told) + EVEN_ITEMS / len(weights)
        weights /= weights.sum()
    return weights


def learn_kappa(votes: Floats, part: BetaPart) -> BetaPart:
    """How closely the items keep to their betas: the part with the likeliest kappa, p ~ Dirichlet(kappa x cells), and its weights.

    The largest posterior probability over a geometric grid, each kappa with EM steps of its own, under a lognormal prior: what few votes
    cannot determine comes from other datasets.
    """
    sample = Sample.of(votes).thinned(MOST_ROWS // 4)
    if votes.shape[1] == 2 or len(sample.votes) == 0:  # any distribution on two levels is a beta's
        return part
    P = part.components().means
    base = Base(*part.grid(), Start.of(_share(sample.telling, sample.items)))
    best, best_score = part, -np.inf
    for kappa in KAPPAS:
        log_likelihood = dirichlet_multinomial(sample.votes, kappa * P)
        top = log_likelihood.max(axis=1)
        likelihood = _relative(log_likelihood)
        weights = em(likelihood, sample.items, sample.telling, part.weights, base, STEPS)
        score = float(sample.items @ (np.log(likelihood @ weights) + top))
        score -= 0.5 * (np.log(kappa / KAPPA_MEDIAN) / KAPPA_SPREAD) ** 2
        if score > best_score:
            best_score, best = score, replace(part, weights=weights, kappa=float(kappa), exact=False)
    return best


def learn_dispersion(votes: Floats, components: Components, *, ordered: bool) -> float:
    """The factor, 1 to 4, for the posterior variances, from the distances between raw and posterior means (see `Components`).

    The functional is the mean level of an ordered scale, else each label's probability. With few items it is shrunk towards 1.
    """
    sample = Sample.of(votes).thinned(MOST_ROWS // 4)
    N = sample.votes.sum(axis=1)
    several = N > 1.0
    if not several.any():
        return 1.0
    n, items, N = sample.votes[several], sample.items[several], N[several]
    L = votes.shape[1]
    values = np.arange(L, dtype=np.float64)[:, None] if ordered else np.eye(L)
    moments, variances = components.posterior(n).moments(np.hstack([values, values**2]))
    m = values.shape[1]
    mean, claimed = moments[:, :m], variances[:, :m]
    sampling = np.maximum(moments[:, m:] - claimed - mean**2, 0.0) / N[:, None]
    found = sampling - (n @ values / N[:, None] - mean) ** 2
    # Items are weighted by their votes: variances decrease with them.
    weight = items * N
    ratio = (weight @ found).sum() / max((weight @ claimed).sum(), 1e-300)
    share = items.sum() / (items.sum() + HYPER_ITEMS)
    return float(1.0 + share * (np.clip(ratio, 1.0, 4.0) - 1.0))


def _lapse_rate(found: Floats, cells: Floats, lapse: float) -> float:
    """EM for the share of lapses given the expected votes (G, L) of every component's levels and its cells without them.

    Its steps are short, so it takes several; LAPSE_VOTES votes with a share LAPSE of lapses are its prior.
    """
    L, votes = cells.shape[1], found.sum() + LAPSE_VOTES
    for _ in range(LAPSE_STEPS):
        lapsed = (found * (lapse / L) / ((1.0 - lapse) * cells + lapse / L)).sum()
        lapse = float((lapsed + LAPSE * LAPSE_VOTES) / votes)
    return lapse


def _share(part: Floats, whole: Floats) -> float:
    return float(part.sum() / max(whole.sum(), 1e-300))


def _typical(sample: Sample) -> float:
    """The 90 % quantile of the items' number of votes."""
    order = np.argsort(sample.votes.sum(axis=1))
    share = np.cumsum(sample.items[order])
    return float(sample.votes[order[np.searchsorted(share, 0.9 * share[-1])]].sum()) if len(order) else 0.0


def _relative(log_likelihood: Floats) -> Floats:
    """exp of the log-likelihoods, each row relative to its largest: what EM needs, with one exp for all its steps."""
    log_likelihood -= log_likelihood.max(axis=1, keepdims=True)
    return np.asarray(np.exp(log_likelihood))
