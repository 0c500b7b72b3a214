"""Dirichlet priors for categorical votes: one (base rate and strength) or a mixture of a few, by marginal likelihood.

The votes n of an item with p ~ Dirichlet(alpha) are Dirichlet-multinomial. Its log-likelihood is maximised by Minka's fixed point

    alpha_k <- alpha_k * sum_i [psi(alpha_k + n_ik) - psi(alpha_k)] / sum_i [psi(A + N_i) - psi(A)],   A = sum alpha

(each step raises the likelihood). A mixture weights every item by its responsibility (EM).

If no item has two votes, the strength A is not identified: it keeps its initial value, one vote per label.

Source: Minka, "Estimating a Dirichlet distribution" (2000), section 3.
"""

from __future__ import annotations

import numpy as np

from dprm_data.core.arrays import Floats
from dprm_data.preference.em import Sample
from dprm_data.preference.prior import DirichletPart

COMPONENTS = 4
STRONGEST = 1e4  # beyond this a Dirichlet is a point, for our purposes
WEAKEST = 1e-2
RATE_PSEUDO_VOTES = 1.0  # spread over the labels when a base rate is counted: no label is impossible


def base_rate(counts: Floats) -> Floats:
    """The share of every label among all votes (N, K), no share exactly 0."""
    total = counts.sum(axis=0) + RATE_PSEUDO_VOTES / counts.shape[1]
    return np.asarray(total / total.sum())


def learn_empirical(counts: Floats) -> DirichletPart:
    """Raw frequencies, as a Dirichlet with almost no strength; an item without votes gets the base rate."""
    return DirichletPart(base_rate(counts)[None, :] * 1e-9, np.ones(1))


def learn_dirichlet(counts: Floats) -> DirichletPart:
    """Base rate and strength from the votes (N, K) of all items."""
    sample = Sample.of(counts)
    alpha = base_rate(counts) * counts.shape[1]
    return DirichletPart(_maximise(alpha, sample.votes, sample.items, 60)[None, :], np.ones(1))


def learn_mixture(counts: Floats, components: int = COMPONENTS) -> DirichletPart:
    """A mixture of Dirichlets. It starts from groups of items that are adjacent along the first principal axis of their shares."""
    sample = Sample.of(counts)
    single = learn_dirichlet(counts)
    components = min(components, len(sample.votes))
    if components < 2 or sample.single:  # single votes fall into groups by their label alone
        return single
    groups = _split(sample, components)
    strength = max(float(single.alphas.sum()), 1.0)
    rates = np.stack(
        [base_rate(sample.votes[groups == c] * sample.items[groups == c, None]) for c in range(components)]
    )
    part = DirichletPart(rates * strength, np.full(components, 1.0 / components))
    for _ in range(25):
        posterior = part.components().posterior(sample.votes)
        shares = sample.items[:, None] * posterior.unnormalised / posterior.total
        weights = (shares.sum(axis=0) + 1.0) / (shares.sum() + components)
        alphas = np.stack([_maximise(part.alphas[c], sample.votes, shares[:, c], 4) for c in range(components)])
        part = DirichletPart(alphas, weights)
    return part


def _split(sample: Sample, components: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    shares = (sample.votes + 0.5) / (sample.votes.sum(axis=1, keepdims=True) + 0.5 * sample.votes.shape[1])
    centred = shares - np.average(shares, axis=0, weights=sample.items)
    _, _, axes = np.linalg.svd(centred.T @ (centred * sample.items[:, None]))
    order = np.argsort(centred @ axes[0], kind="stable")
    position = np.empty(len(order))
    position[order] = np.cumsum(sample.items[order]) / sample.items.sum()
    return np.minimum((position * components).astype(np.int64), components - 1)


def _maximise(alpha: Floats, votes: Floats, items: Floats, steps: int) -> Floats:
    from scipy.special import digamma

    N = votes.sum(axis=1)
    if not (items[N > 1] > 0).any():
        return alpha
    for _ in range(steps):
        A = alpha.sum()
        below = items @ (digamma(A + N) - digamma(A))
        above = items @ (digamma(alpha + votes) - digamma(alpha))
        # A pseudo-item with one vote per label of the current mean keeps every parameter above 0.
        alpha = np.maximum(alpha * above / max(below, 1e-300), 1e-6 * A)
        alpha *= np.clip(alpha.sum(), WEAKEST, STRONGEST) / alpha.sum()
    return alpha
