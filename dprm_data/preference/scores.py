"""Scores of predicted distributions against the votes of people who were held out.

A *proper* score is best, in expectation, for the true distribution: the ranked probability score and the log-likelihood are. The Wasserstein
distance (`labels.geometry`) to a handful of votes is not: raw frequencies can beat an estimate that is exactly true. Use it only against a nearly known truth.
"""

from __future__ import annotations

import numpy as np

from dprm_data.core.arrays import Floats, Ints
from dprm_data.labels.geometry import cdf_difference

LEAST = 1e-3  # a probability below this counts as this in the log-likelihood: raw frequencies are often 0


def hold_out(counts: Floats, n: int, rng: np.random.Generator) -> tuple[Ints, Floats, Floats]:
    """Splits every item's whole votes (N, K) in two random halves: (rows kept, n votes of the first half, all of the second).

    Items whose first half (the larger one) has fewer than n votes are left out; both results have shape (rows, K).
    """
    total = counts.sum(axis=1).astype(np.int64)
    rows = np.flatnonzero(((total + 1) // 2 >= n) & (total >= 2))
    whole = counts[rows].astype(np.int64)
    train = np.array([rng.multivariate_hypergeometric(votes, n) for votes in whole]).reshape(-1, counts.shape[1])
    left = whole - train
    held = np.array(
        [rng.multivariate_hypergeometric(votes, size // 2) for votes, size in zip(left, total[rows], strict=True)]
    )
    return rows, train.astype(np.float64), held.reshape(-1, counts.shape[1]).astype(np.float64)


def ranked_probability_score(p: Floats, held: Floats) -> Floats:
    """Mean squared difference of the distribution functions at the K - 1 cuts between labels in ordinal order, per item (N,)."""
    return np.asarray((cdf_difference(p, held / held.sum(axis=1, keepdims=True)) ** 2).mean(axis=1))


def log_likelihood(p: Floats, held: Floats) -> Floats:
    """Mean log-probability, in nats, of the held-out votes, per item (N,)."""
    return np.asarray((held * np.log(np.maximum(p, LEAST))).sum(axis=1) / held.sum(axis=1))
