"""The discretised beta: opinions on an ordinal scale as a beta distribution cut into equal bins.

A latent opinion x in [0, 1] is Beta(mu s, (1 - mu) s), with mean mu and concentration s; an annotator with opinion x picks the level whose
bin [l/L, (l+1)/L) holds it. Level l has the probability F((l+1)/L) - F(l/L), F the beta's distribution function. s < 2 allows U-shapes: a
population that is divided.

*Level weights* omega_l, shared by all items, multiply the cells before they are normalised: people do not use the levels of a scale
evenly. All ones give the plain discretised beta.
"""

from __future__ import annotations

import numpy as np
from scipy.special import betainc

from dprm_data.labels import Floats

MEANS = 25
CONCENTRATIONS = 13
SMALLEST, LARGEST = 0.35, 200.0  # concentrations: nearly all mass at the two ends ... narrower than one of ten bins
FLOOR = 1e-9  # no level is impossible: a vote for it must not make the likelihood 0


def mean_grid(points: int = MEANS) -> Floats:
    """Means in (0, 1), evenly spaced on the arcsine scale: denser towards the ends, where the cells change fastest."""
    return np.asarray(np.sin(0.5 * np.pi * (np.arange(points) + 0.5) / points) ** 2)


def concentration_grid(points: int = CONCENTRATIONS) -> Floats:
    """Concentrations, evenly spaced in their logarithm."""
    return np.geomspace(SMALLEST, LARGEST, points)


def cells(mu: Floats, s: Floats, levels: int) -> Floats:
    """Probabilities of the levels under Beta(mu s, (1 - mu) s): mu and s of shape (G,) -> (G, levels)."""
    edges = np.linspace(0.0, 1.0, levels + 1)
    cdf = betainc((mu * s)[:, None], ((1.0 - mu) * s)[:, None], edges[None, :])
    probabilities = np.maximum(np.diff(cdf, axis=1), FLOOR)
    return np.asarray(probabilities / probabilities.sum(axis=1, keepdims=True))


def weighted(probabilities: Floats, level_weights: Floats) -> Floats:
    """The cells times the level weights, normalised."""
    tilted = np.maximum(probabilities * level_weights, FLOOR)
    return np.asarray(tilted / tilted.sum(axis=1, keepdims=True))


def from_moments(mean: Floats, variance: Floats) -> tuple[Floats, Floats]:
    """The parameters (alpha, beta) of the beta with this mean and variance (0 < variance < mean (1 - mean))."""
    mean = np.clip(mean, 1e-9, 1.0 - 1e-9)
    spread = mean * (1.0 - mean)
    concentration = spread / np.clip(variance, spread * 1e-9, spread * (1.0 - 1e-9)) - 1.0
    return mean * concentration, (1.0 - mean) * concentration
