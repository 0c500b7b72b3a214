"""The discretised beta: opinions on an ordinal scale as a beta distribution cut into equal bins.

A latent opinion x in [0, 1] is Beta(mu s, (1 - mu) s), with mean mu and concentration s; an annotator with opinion x picks the level whose
bin [l/L, (l+1)/L) holds it. Level l has the probability F((l+1)/L) - F(l/L), F the beta's distribution function. s < 2 allows U-shapes: a
population that is divided.

*Level weights* omega_l, shared by all items, multiply the cells before they are normalised: people do not use all levels of a scale
equally. All ones give the plain discretised beta.

A *lapse rate*, also shared by all items, is the share of votes that have nothing to do with the item: with it, one careless vote in a hundred
does not bend the beta towards the far end of the scale. (The device is that of psychometric functions: Wichmann & Hill 2001.)
"""

from __future__ import annotations

import numpy as np

from dprm_data.core.arrays import Floats

SMALLEST, LARGEST = 0.35, 200.0  # concentrations: nearly all mass at the two ends ... narrower than one of ten bins
FLOOR = 1e-9  # no level is impossible: a vote for it must not make the likelihood 0
# Means x concentrations, by the number of votes of an item: the grid is as fine as the votes can resolve.
GRIDS = ((25, 13, 25.0), (49, 21, 300.0), (97, 25, np.inf))


def mean_grid(points: int) -> Floats:
    """Means in (0, 1), evenly spaced on the arcsine scale: denser towards the ends, at which the cells change fastest."""
    return np.asarray(np.sin(0.5 * np.pi * (np.arange(points) + 0.5) / points) ** 2)


def concentration_grid(points: int) -> Floats:
    """Concentrations, evenly spaced in their logarithm."""
    return np.geomspace(SMALLEST, LARGEST, points)


def grids(votes: float) -> tuple[Floats, Floats]:
    """The grids of means and concentrations for items with a typical number of votes."""
    means, concentrations = next((m, s) for m, s, most in GRIDS if votes <= most)
    return mean_grid(means), concentration_grid(concentrations)


def cells(mu: Floats, s: Floats, levels: int) -> Floats:
    """Probabilities of the levels under Beta(mu s, (1 - mu) s): mu and s of shape (G,) -> (G, levels)."""
    from scipy.special import betainc  # here, not above: it takes 0.2 s, and a run that is not fitted needs none of it

    edges = np.linspace(0.0, 1.0, levels + 1)
    cdf = betainc((mu * s)[:, None], ((1.0 - mu) * s)[:, None], edges[None, :])
    probabilities = np.maximum(np.diff(cdf, axis=1), FLOOR)
    return np.asarray(probabilities / probabilities.sum(axis=1, keepdims=True))


def weighted(probabilities: Floats, level_weights: Floats, lapse: float = 0.0) -> Floats:
    """The cells (G, L) times the level weights, normalised, with the share `lapse` of annotators who pick any level."""
    tilted = np.maximum(probabilities * level_weights, FLOOR)
    tilted *= (1.0 - lapse) / tilted.sum(axis=1, keepdims=True)
    return np.asarray(tilted + lapse / probabilities.shape[1])


def from_moments(mean: Floats, variance: Floats) -> tuple[Floats, Floats]:
    """The parameters (alpha, beta) of the beta with this mean and variance (0 < variance < mean (1 - mean))."""
    mean = np.clip(mean, 1e-9, 1.0 - 1e-9)
    spread = mean * (1.0 - mean)
    concentration = spread / np.clip(variance, spread * 1e-9, spread * (1.0 - 1e-9)) - 1.0
    return mean * concentration, (1.0 - mean) * concentration
