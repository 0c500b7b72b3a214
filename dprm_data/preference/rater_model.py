"""Raters in the model of a scale: every annotator's severity and slope, learned together with the items.

An item is a beta of mean mu and concentration s, as without raters; rater r sees it at

    logit mu_r = a_r logit mu + b_r                    b: severity (above 0: higher levels than others give), a: slope

and picks a level of the beta's cells there (`beta.py`, with level weights and lapses). Items have a prior over their grid, raters one over a grid of (b, a):
normal in b around 0 with a learned variance. What is published is the population's distribution, the mean over raters,

    p_ik = sum_g R_ig sum_b h_b T_bgk,        T_bgk = P(level k | component g, rater b)

*Inference.* Items and raters form a graph with an edge for every vote. Sum-product messages along it (loopy belief propagation, Kschischang, Frey & Loeliger
2001), in `rater_learning.py`, give the posterior of every item, R, and of every rater, Q:

    vote -> item:  log sum_b d_vb T_bgk           d: the rater's posterior without this vote
    vote -> rater: log sum_g c_vg T_bgk           c: the item's posterior without this vote

where a tree is exact, and the error on a loop falls with the number of votes of an item or of a rater. The prior weights of items and raters, and the level weights, are
learned in rounds in between (EM). All sums are matrix products; only the messages to raters are kept, B numbers a vote. The weights are learned from at most
as many votes as fill LEARNED_CELLS; the raters then meet all their votes.

*Shared error.* R raters are a sample: their mean severity differs from the population's, and all items share this error. Its variance is tau² / R (times (R + 1) / (R - 1), as
few raters determine tau only roughly); R is the effective number of the raters that are connected by common items. The error moves an item's functional t by its derivative
dt/db, so the variance is Var t + (dt/db)² tau² / R.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dprm_data.core.arrays import Floats
from dprm_data.preference import beta as discretised
from dprm_data.preference.components import Components
from dprm_data.preference.prior import BetaPart

Singles = NDArray[np.float32]

SHIFTS = np.linspace(-2.5, 2.5, 13)
SEVERITY, STRETCHES = np.array([1.0]), np.array([0.6, 1.0, 1.6])
NO_SHIFT = np.array([0.0])
STRETCH_SPREAD = 0.25  # standard deviation of log a; a is around 1
START_VARIANCE, START_RATERS = 0.25, 5.0  # of severities, and how many raters it counts as
LEAST_VARIANCE = 0.02
NORMAL_RATERS = 20.0  # the normal distribution counts as so many raters against the raters' own distribution


@dataclass(frozen=True)
class RaterModel:
    """What was learned about a scale and its raters.

    `part`: the items' prior, with level weights and lapses; `shifts`, `stretches`, `population` (B,): the raters' grid and its weights h; `cells` (L, B, G): T.
    `beliefs` (raters, B): every rater's posterior Q; `messages` (V, B): the raters' posterior without each vote. `shared` (items,): tau² / R. `evidence`: the logarithm of the
    probability of all votes (Bethe's approximation, exact on a tree). `says` (raters * L, G): the log message of each rater's vote for each level, in
    place of `messages` where raters have hundreds of votes.
    """

    part: BetaPart
    shifts: Floats
    stretches: Floats
    population: Floats
    cells: Singles
    beliefs: Floats
    messages: Singles
    shared: Floats
    evidence: float = -np.inf
    says: Singles | None = None

    @property
    def spread(self) -> float:
        """tau: the standard deviation of severities in the population, in logits of the mean opinion."""
        mean = self.population @ self.shifts
        return float(np.sqrt(self.population @ (self.shifts - mean) ** 2))

    def components(self) -> Components:
        """The population's view of every component."""
        P = np.einsum("b,lbg->gl", self.population, self.cells)
        misfit = self.part.kappa if self.part.exact else None
        return Components(
            P / P.sum(axis=1, keepdims=True),
            np.full(len(P), np.inf),
            self.part.weights,
            misfit,
            self.part.items,
            self.part.dispersion,
        )

    def latent(self) -> Floats:
        """As `BetaPart.latent`, of the next annotator, whoever that is; (G, 3)."""
        mu, s = self.part.grid()
        x = _opinions(mu, self.shifts, self.stretches)
        u_shaped = (x * s < 1.0) & ((1.0 - x) * s < 1.0)
        return np.stack([self.population @ each for each in (x, x**2 + x * (1.0 - x) / (s + 1.0), u_shaped)], axis=1)

    def slopes(self) -> Floats:
        """What the population's cells (G, L) change by if all raters are one logit less severe."""
        own = np.unique(self.shifts)
        if len(own) < 2:
            return np.zeros((self.cells.shape[2], len(self.cells)))
        step = own[1] - own[0]
        up, down = (_moved(self.population, self.shifts, self.stretches, sign * step) for sign in (1, -1))
        return np.asarray(np.einsum("b,lbg->gl", (up - down) / (2 * step), self.cells), dtype=np.float64)


def start(part: BetaPart, raters: int, shifts: Floats = SHIFTS, stretches: Floats = SEVERITY) -> RaterModel:
    """A model that knows nothing of its raters yet; `part`: the items' prior as it was learned without raters."""
    b, a = (grid.ravel() for grid in np.meshgrid(shifts, stretches, indexing="ij"))
    h = _normal(b, a, START_VARIANCE)
    T = _cells(part, b, a)
    return RaterModel(part, b, a, h, T, np.tile(h, (raters, 1)), np.zeros((0, len(b)), np.float32), np.zeros(0))


def population(model: RaterModel, beliefs: Floats) -> Floats:
    """h: the raters' own distribution, held by the normal one of its variance."""
    total = beliefs.sum(axis=0)
    n = total.sum()
    variance = (total @ model.shifts**2 + START_RATERS * START_VARIANCE) / (n + START_RATERS)
    normal = _normal(model.shifts, model.stretches, max(float(variance), LEAST_VARIANCE))
    return np.asarray((total + NORMAL_RATERS * normal) / (n + NORMAL_RATERS))


def _normal(b: Floats, a: Floats, variance: float) -> Floats:
    """The normal distribution of severities on the grid; log stretches are normal too, with a fixed spread."""
    h = np.exp(-0.5 * b**2 / variance - 0.5 * (np.log(a) / STRETCH_SPREAD) ** 2)
    return np.asarray(h / h.sum())


def _moved(h: Floats, b: Floats, a: Floats, by: float) -> Floats:
    """The weights h moved along b by one step of its grid; what leaves the grid stays at its end."""
    B = h.reshape(len(np.unique(b)), -1)
    moved = np.zeros_like(B)
    if by > 0:
        moved[1:] = B[:-1]
        moved[-1] += B[-1]
    else:
        moved[:-1] = B[1:]
        moved[0] += B[0]
    return moved.ravel()


def _opinions(mu: Floats, b: Floats, a: Floats) -> Floats:
    """The mean opinions (B, G) that raters have of the components."""
    x = 1.0 / (1.0 + np.exp(-(a[:, None] * np.log(mu / (1.0 - mu)) + b[:, None])))
    return np.asarray(np.clip(x, 1e-6, 1.0 - 1e-6))


def plain_cells(part: BetaPart, b: Floats, a: Floats) -> Floats:
    mu, s = part.grid()
    x = _opinions(mu, b, a)
    cells = discretised.cells(x.ravel(), np.broadcast_to(s, x.shape).ravel(), len(part.level_weights))
    return np.asarray(cells.reshape(*x.shape, -1))


def weighted_cells(plain: Floats, part: BetaPart) -> Singles:
    B, G, L = plain.shape
    cells = discretised.weighted(plain.reshape(B * G, L), part.level_weights, part.lapse)
    return np.ascontiguousarray(cells.reshape(B, G, L).transpose(2, 0, 1).astype(np.float32))


def _cells(part: BetaPart, b: Floats, a: Floats) -> Singles:
    return weighted_cells(plain_cells(part, b, a), part)
