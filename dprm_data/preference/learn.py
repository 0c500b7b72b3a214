"""Learning a prior over the grid of betas from the votes of many items (empirical Bayes).

The weights over the grid are found by EM, the nonparametric maximum likelihood estimate of a mixing distribution (Laird 1978), smoothed by
a few pseudo-items spread evenly over the grid: with 20 items their votes alone would put all weight on a handful of grid points.

    R_ig = w_g p(n_i | g) / sum_h w_h p(n_i | h),      w_g = (sum_i R_ig + c / G) / (I + c)

The level weights omega are found beside it by (generalised) iterative scaling (Darroch & Ratcliff 1972): at the maximum, every level is expected
as often as it was observed,

    sum_i n_il = O_l = E_l = sum_i N_i sum_g R_ig P_gl,    step: log omega_l += (O_l - E_l - lambda log omega_l) / (E_l + lambda)

where lambda is the precision of a normal prior around omega = 1, in votes: it keeps a scale of few items or few votes near the plain beta.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dprm_data.labels import Floats
from dprm_data.preference import beta as discretised
from dprm_data.preference.components import dirichlet_multinomial, distinct
from dprm_data.preference.prior import BetaPart

PSEUDO_ITEMS = 5.0
LEVEL_PRECISION = 10.0
ROUNDS = 12  # of level weights; each is followed by EM steps on the grid
STEPS = 8  # EM steps per round: few are enough, and fewer generalise better than convergence


@dataclass(frozen=True)
class Sample:
    """Distinct vote vectors (U, L) and how many items have each (U,)."""

    votes: Floats
    items: Floats

    @classmethod
    def of(cls, votes: Floats) -> Sample:
        """Items without votes on this scale say nothing about it."""
        votes = votes[votes.sum(axis=1) > 0]
        rows, where = distinct(votes)
        return cls(rows, np.bincount(where, minlength=len(rows)).astype(np.float64))


def learn_beta(
    votes: Floats, *, level_weights: bool = True, pseudo_items: float = PSEUDO_ITEMS, precision: float = LEVEL_PRECISION
) -> BetaPart:
    """The prior of a scale of L levels from the votes (I, L) of the items on it."""
    sample = Sample.of(votes)
    L = votes.shape[1]
    means, concentrations = discretised.mean_grid(), discretised.concentration_grid()
    part = BetaPart(
        means,
        concentrations,
        np.full(len(means) * len(concentrations), 1.0 / (len(means) * len(concentrations))),
        np.ones(L),
    )
    plain = discretised.cells(*part.grid(), L)
    weights, omega = part.weights, np.ones(L)
    N = sample.votes.sum(axis=1)
    observed = sample.items @ sample.votes
    # Two levels have no shape that a weight could correct: any prior over the mean absorbs it.
    for _ in range(ROUNDS):
        P = discretised.weighted(plain, omega)
        likelihood = _relative(sample.votes @ np.log(P).T)
        weights = em(likelihood, sample.items, weights, pseudo_items, STEPS)
        if not level_weights or L == 2:
            continue
        share = sample.items * N / (likelihood @ weights)
        expected = (weights * (likelihood.T @ share)) @ P
        log_omega = np.log(omega)
        log_omega += (observed - expected - precision * log_omega) / (expected + precision)
        log_omega -= log_omega.mean()
        omega = np.exp(np.clip(log_omega, -5.0, 5.0))
    return BetaPart(means, concentrations, weights, omega)


def em(likelihood: Floats, items: Floats, weights: Floats, pseudo_items: float, steps: int) -> Floats:
    """EM for the weights of fixed components: `likelihood` (U, G) up to a factor per row, `items` (U,) rows' multiplicities."""
    total = items.sum() + pseudo_items
    if total == 0:
        return weights
    floor = pseudo_items / len(weights)
    for _ in range(steps):
        weights = (weights * (likelihood.T @ (items / (likelihood @ weights))) + floor) / total
    return np.asarray(weights / weights.sum())


def _relative(log_likelihood: Floats) -> Floats:
    """exp of the log-likelihoods, each row relative to its largest: what EM needs, with one exp for all its steps."""
    log_likelihood -= log_likelihood.max(axis=1, keepdims=True)
    return np.asarray(np.exp(log_likelihood))


KAPPAS = np.geomspace(4.0, 4000.0, 13)


def learn_kappa(votes: Floats, part: BetaPart) -> BetaPart:
    """How closely the items keep to their betas: the part with the kappa and weights that make p ~ Dirichlet(kappa x cells) most likely.

    The largest marginal likelihood over a geometric grid, each kappa with some EM steps of its own; None where exact betas are likelier.
    """
    sample = Sample.of(votes)
    if len(sample.votes) == 0 or votes.shape[1] == 2:
        return part
    P = part.components().means
    best, best_score = part, -np.inf
    for kappa in [None, *KAPPAS]:
        log_likelihood = sample.votes @ np.log(P).T if kappa is None else dirichlet_multinomial(sample.votes, kappa * P)
        top = log_likelihood.max(axis=1)
        likelihood = _relative(log_likelihood)
        weights = em(likelihood, sample.items, part.weights, PSEUDO_ITEMS, 20)
        score = float(sample.items @ (np.log(likelihood @ weights) + top))
        if score > best_score:
            best_score, best = score, replace(part, weights=weights, kappa=None if kappa is None else float(kappa))
    return best
