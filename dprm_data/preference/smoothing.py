"""Label smoothing: absolute certainty is tempered to near certainty.

*Targeted* smoothing touches only distributions whose top probability exceeds `threshold`: what it has above 1 - epsilon goes to the **next most
likely** label. Ties are broken by the ground cost (the nearer label), then by the labels' order; where all other labels have probability 0, the
nearest one takes it. With e = max(0, p_top - (1 - epsilon)) moved from label i to j,

    the result sums to 1, the order of the probabilities stays (epsilon <= 1/2), and the expected reward moves by e (r_j - r_i):
    by at most epsilon max_j |r_j - r_i|. `SmoothingConfig` refuses a larger epsilon.

*Uniform* smoothing mixes every distribution with the uniform one, p <- (1 - epsilon) p + epsilon / K (Szegedy et al. 2016). *Cost*
smoothing mixes it with the same distribution blurred by exp(-cost / mean cost): mass goes to near labels first. Both are there for comparison.

Source of the targeted form: arXiv 2402.09764, section 3.1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np

from dprm_data.core.arrays import Floats
from dprm_data.core.registry import SMOOTHINGS
from dprm_data.labels.space import LabelSpace
from dprm_data.recipe.fit_config import SmoothingConfig

Kind = Callable[[Floats, LabelSpace, SmoothingConfig], Floats]
Registered = TypeVar("Registered", bound=Kind)


def smoothing(name: str) -> Callable[[Registered], Registered]:
    """Registers a kind of smoothing: a function of distributions (N, K), label space and settings that returns smoothed copies."""
    return SMOOTHINGS.register(name)


def smooth(distribution: Floats, space: LabelSpace, config: SmoothingConfig) -> Floats:
    """Smoothed copies of the distributions (N, K), each row summing to 1."""
    if config.epsilon == 0.0:
        return distribution.copy()
    kind: Kind = SMOOTHINGS.get(config.kind)
    return kind(distribution, space, config)


@smoothing("none")
def unsmoothed(distribution: Floats, space: LabelSpace, config: SmoothingConfig) -> Floats:
    """As they are."""
    return distribution.copy()


@smoothing("uniform")
def uniform(distribution: Floats, space: LabelSpace, config: SmoothingConfig) -> Floats:
    """Mixed with the uniform distribution."""
    return np.asarray((1.0 - config.epsilon) * distribution + config.epsilon / space.K)


@smoothing("cost")
def by_cost(distribution: Floats, space: LabelSpace, config: SmoothingConfig) -> Floats:
    """Mixed with the same distribution, blurred towards near labels."""
    blurred = distribution @ _blur(space.ground_cost)
    return np.asarray((1.0 - config.epsilon) * distribution + config.epsilon * blurred)


@smoothing("targeted")
def targeted(distribution: Floats, space: LabelSpace, config: SmoothingConfig) -> Floats:
    """What exceeds 1 - epsilon goes to the next most likely label, where the top probability exceeds the threshold."""
    cost, threshold, epsilon = space.ground_cost, config.threshold, config.epsilon
    out = distribution.copy()
    top = distribution.argmax(axis=1)
    peak = distribution[np.arange(len(out)), top]
    excess = peak - (1.0 - epsilon)
    rows = np.flatnonzero((peak > threshold) & (excess > 0))
    rest = distribution[rows]
    rest[np.arange(len(rows)), top[rows]] = -1.0
    likeliest = rest.max(axis=1, keepdims=True)
    # Among equally likely labels the nearest one; argmin takes the first of equally near ones.
    distance = np.where(rest == likeliest, cost[top[rows]], np.inf)
    after = distance.argmin(axis=1)
    out[rows, top[rows]] -= excess[rows]
    out[rows, after] += excess[rows]
    return out


def _blur(cost: Floats) -> Floats:
    """A stochastic matrix (K, K): from label i to all labels, likelier the nearer."""
    away = cost[cost > 0]
    kernel = np.exp(-cost / away.mean()) if len(away) else np.ones_like(cost)
    return np.asarray(kernel / kernel.sum(axis=1, keepdims=True))
