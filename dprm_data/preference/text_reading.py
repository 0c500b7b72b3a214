"""A reading of every item's text as one more noisy annotator: a normal measurement of the component that the item is.

A regression on texts (`text_ridge`) says something about the item before anyone votes: its mean level, and perhaps its spread, each from a regression that has not seen the
item. The readings t_i (d numbers, standardised) are a measurement of the item's component g, a beta with mean level m_g and spread s_g:

    t_i | g  ~  N(B' f_g, Sigma),        f_g = (1, m_g, s_g),  m and s standardised over the grid

They change the prior weights of the item, and nothing else. With p(n_i | g) the probability of its votes,

    w_ig = p(g | t_i) = w_g N(t_i; B' f_g, Sigma) / sum_h w_h N(t_i; B' f_h, Sigma),        R_ig ~ w_ig p(n_i | g)

so that text and votes (and raters, whose messages take the place of p(n_i | g)) are counted once each. B, Sigma and w are learned together by EM: B by a regression of the readings
on the components, weighted by the items' posteriors, Sigma from what is left,

    B = (F' D F + P)^-1 F' sum_i R_i t_i',        Sigma = [sum_ig R_ig (t_i - B' f_g) (t_i - B' f_g)' + c I] / (n + c)

with D = diag(sum_i R_i), a weak penalty P for slopes and c items of variance 1. A reading that has nothing to do with the votes gets slopes near 0, and says nothing.

Source: EM with a hidden component (Dempster, Laird & Rubin 1977); measurement error as in `instrument`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dprm_data.core.arrays import Floats, Ints
from dprm_data.preference.components import Components, Posterior
from dprm_data.preference.em import BASE_ITEMS, EVEN_ITEMS, Base
from dprm_data.preference.prior import BetaPart

SLOPE_PRECISION = 2.0  # of a slope, in items
NOISE_ITEMS = 5.0  # c
STEPS = 25


@dataclass(frozen=True)
class TextReading:
    """The readings of N items on one scale, and what they mean. values (N, d): t, standardised, rows of NaN for items that have none; expected (G, d): B' f_g; noise (d, d): Sigma."""

    values: Floats
    expected: Floats
    noise: Floats

    def take(self, items: Ints) -> TextReading:
        """The readings of these items."""
        return replace(self, values=self.values[items])

    def log_weights(self, items: slice | Ints, log_weights: Floats) -> Floats:
        """log p(g | t_i), shape (n, G), of some items, from the log weights (G,) of the components."""
        found = self._log_density(self.values[items]) + log_weights
        top = found.max(axis=1, keepdims=True)
        return np.asarray(found - top - np.log(np.exp(found - top).sum(axis=1, keepdims=True)))

    def _log_density(self, t: Floats) -> Floats:
        """log N(t_i; B' f_g, Sigma), up to a number for each item; 0 where there is no reading."""
        precision = np.linalg.inv(self.noise)
        known = np.nan_to_num(t) * np.isfinite(t).all(axis=1, keepdims=True)
        square = np.einsum("gi,ij,gj->g", self.expected, precision, self.expected)
        return np.asarray(known @ precision @ self.expected.T - 0.5 * square * np.isfinite(t).all(axis=1)[:, None])


@dataclass(frozen=True)
class ReadingJudge:
    """The posterior of some items' votes where their texts have been read."""

    components: Components
    reading: TextReading
    items: slice | Ints

    def posterior(self, votes: Floats) -> Posterior:
        scores = self.components.log_likelihood(votes)
        scores += self.reading.log_weights(self.items, self.components.log_weights)
        return Posterior.of(self.components, votes, scores)


def judge_of(components: Components, reading: TextReading | None, items: slice | Ints) -> Components | ReadingJudge:
    """What gives the posterior of these items' votes, with their texts or, where these have not been read, without."""
    return components if reading is None else ReadingJudge(components, reading, items)


def functionals(part: BetaPart, spread: bool) -> Floats:
    """F (G, 2 or 3): 1, the mean level of every component and, if asked for, the standard deviation within it."""
    P = part.components().means
    levels = np.arange(P.shape[1])
    mean = P @ levels
    found = [mean, np.sqrt(np.maximum(P @ levels**2 - mean**2, 0.0))][: 1 + spread]
    columns = [(column - column.mean()) / max(float(column.std()), 1e-12) for column in found]
    return np.stack([np.ones(len(P)), *columns], axis=1)


def learn_reading(votes: Floats, readings: Floats, part: BetaPart) -> tuple[BetaPart, TextReading]:
    """The meaning of the readings (n, d), rows of NaN where there is none, and the part with the weights that go with it, from the votes (n, L) of the same items on its scale."""
    d = readings.shape[1]
    F, base = functionals(part, d > 1), Base(*part.grid())
    likelihood = part.components().log_likelihood(votes)
    reading = TextReading(readings, np.zeros((len(F), d)), np.eye(d))
    weights = part.weights
    known = np.isfinite(readings).all(axis=1)
    for _ in range(STEPS):
        scores = likelihood + reading.log_weights(slice(None), np.log(np.maximum(weights, 1e-300)))
        R = np.exp(scores - scores.max(axis=1, keepdims=True))
        R /= R.sum(axis=1, keepdims=True)
        reading = replace(reading, **_measured(R[known], readings[known], F))
        grid = R.sum(axis=0)
        weights = grid + BASE_ITEMS * base.fitted(grid) + EVEN_ITEMS / len(grid)
        weights = weights / weights.sum()
    return replace(part, weights=weights), reading


def _measured(R: Floats, t: Floats, F: Floats) -> dict[str, Floats]:
    """B' f_g and Sigma from the items' posteriors (n, G) and readings (n, d)."""
    d, items = t.shape[1], R.sum(axis=0)
    penalty = np.diag([1e-6] + [SLOPE_PRECISION] * (F.shape[1] - 1))
    B = np.linalg.solve(F.T @ (F * items[:, None]) + penalty, F.T @ (R.T @ t))
    expected = F @ B
    cross = t.T @ (R @ expected)
    noise = t.T @ t - cross - cross.T + expected.T @ (expected * items[:, None])
    return {"expected": expected, "noise": (noise + NOISE_ITEMS * np.eye(d)) / (len(t) + NOISE_ITEMS)}
