"""Draws from the posterior, for quantities without a formula (predictive checks, the mean of the next few raters, drift)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dprm_data.core.arrays import Floats
from dprm_data.labels.space import LabelSpace
from dprm_data.preference.axes import Node
from dprm_data.preference.components import Components
from dprm_data.preference.prior import Prior


def draw(
    prior: Prior, space: LabelSpace, counts: Floats, draws: int, rng: np.random.Generator, *, misfit: bool = True
) -> Floats:
    """`draws` distributions from every item's posterior given its votes (N, K): shape (draws, N, K).

    `misfit`: exact betas are drawn with the kappa by which items deviate from them.
    """
    out = np.ones((draws, len(counts), space.K))
    root = prior.tree(space)
    _descend(root, iter([part.components() for part in prior.parts]), counts, out, rng, misfit)
    return out


def _descend(
    node: Node, parts: Iterator[Components], counts: Floats, out: Floats, rng: np.random.Generator, misfit: bool
) -> None:
    p = _levels(next(parts), node.votes(counts), len(out), rng, misfit)
    for level, (branch, child) in enumerate(zip(node.branches, node.children, strict=True)):
        out[:, :, list(branch)] *= p[:, :, level, None]
        if child is not None:
            _descend(child, parts, counts, out, rng, misfit)


def _levels(components: Components, votes: Floats, draws: int, rng: np.random.Generator, misfit: bool) -> Floats:
    posterior = components.posterior(votes)
    cumulative = np.cumsum(posterior.unnormalised, axis=1)
    N = len(votes)
    p = np.empty((draws, N, votes.shape[1]))
    for i in range(N):
        chosen = np.searchsorted(cumulative[i], rng.random(draws) * cumulative[i, -1], side="right")
        chosen = np.minimum(chosen, len(components.weights) - 1)
        c = components.concentrations[chosen]
        p[:, i] = components.means[chosen]
        near = np.full(draws, components.misfit) if misfit and components.misfit is not None else c
        loose = np.isfinite(near)
        if loose.any():
            gamma = rng.standard_gamma(
                np.maximum(near[loose, None] * components.means[chosen[loose]] + votes[i], 1e-12)
            )
            total = gamma.sum(axis=1, keepdims=True)
            p[loose, i] = np.where(total > 0, gamma / np.where(total > 0, total, 1.0), components.means[chosen[loose]])
    return p


def predictive_interval(
    prior: Prior,
    space: LabelSpace,
    counts: Floats,
    raters: Floats | float,
    level: float = 0.9,
    *,
    draws: int = 400,
    rng: np.random.Generator | None = None,
) -> tuple[Floats, Floats]:
    """The central interval of the mean reward of the next `raters` people (a number, or one per item (N,)): (lower, upper), each (N,).

    The mean of few raters has few possible values; the interval is then closed and contains at least `level`.
    """
    means = predictive_means(prior, space, counts, raters, draws, rng or np.random.default_rng(0))
    low = np.quantile(means, 0.5 * (1 - level), axis=0, method="inverted_cdf")
    high = np.quantile(means, 0.5 * (1 + level), axis=0, method="inverted_cdf")
    return low, high


def predictive_means(
    prior: Prior, space: LabelSpace, counts: Floats, raters: Floats | float, draws: int, rng: np.random.Generator
) -> Floats:
    """Simulated mean rewards of the next `raters` people, shape (draws, N)."""
    number = np.broadcast_to(np.maximum(np.rint(raters), 1).astype(np.int64), (len(counts),))
    p = draw(prior, space, counts, draws, rng)
    votes = rng.multinomial(number[None, :], p / p.sum(axis=2, keepdims=True))
    return np.asarray(votes @ space.rewards / number)
