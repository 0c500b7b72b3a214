"""Stated distributions as pseudo-votes: the LLM's own estimate of the population, before anyone has voted.

A stated distribution q enters as m q votes: it is worth m annotators. m can be estimated as the value under which
the actual votes are most probable after q has been counted,

    m* = argmax_m sum_i [log p(n_i + m q_i) - log p(m q_i)]

where p is the marginal likelihood under the learned prior: the prequential likelihood of the votes after the statement.
"""

from __future__ import annotations

import numpy as np

from dprm_data.core.arrays import Floats
from dprm_data.core.errors import VotesError
from dprm_data.ingest.votes import Votes
from dprm_data.labels.space import LabelSpace
from dprm_data.preference.posterior import evaluate
from dprm_data.preference.prior import Prior

STRENGTHS = np.array([0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0, 64.0])
ENOUGH = 5_000  # items from which the strength is estimated


def pseudo_votes(stated: Floats, votes: Votes, strength: float) -> Floats:
    """`strength` votes per stated distribution (N, K); rows are normalised, rows of zeros stay zeros."""
    stated = np.asarray(stated, dtype=np.float64)
    if stated.shape != votes.counts.shape:
        raise VotesError(f"stated distributions of shape {stated.shape} for votes of shape {votes.counts.shape}")
    wrong = ~np.isfinite(stated).all(axis=1) | (stated < 0).any(axis=1)
    if wrong.any():
        i = int(np.argmax(wrong))
        raise VotesError(f"item {votes.item_ids[i]!r}: the stated distribution {stated[i].tolist()} is none")
    total = stated.sum(axis=1, keepdims=True)
    return np.asarray(np.divide(strength * stated, total, out=np.zeros_like(stated), where=total > 0))


def estimate_strength(prior: Prior, space: LabelSpace, counts: Floats, stated: Floats) -> float:
    """The number of votes that a stated distribution is worth, from items that have both; 0 where none has.

    `counts` (N, K) are votes, `stated` (N, K) the distributions (rows sum to 1 or 0).
    """
    both = np.flatnonzero((counts.sum(axis=1) > 0) & (stated.sum(axis=1) > 0))
    if len(both) == 0:
        return 0.0
    if len(both) > ENOUGH:
        both = np.random.default_rng(0).choice(both, ENOUGH, replace=False)
    nothing = np.zeros((space.K, 0))

    def evidence(votes: Floats) -> float:
        return float(evaluate(prior, space, votes, nothing).log_evidence.sum())

    scores = [evidence(counts[both] + m * stated[both]) - evidence(m * stated[both]) for m in STRENGTHS]
    return float(STRENGTHS[int(np.argmax(scores))])
