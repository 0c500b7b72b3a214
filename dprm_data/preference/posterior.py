"""Posterior moments from a prior and votes, down the chain of scales, in chunks of distinct vote vectors.

For a linear functional t = sum_k p_k v_k and a node with level probabilities p_l and children's functionals T_l (independent of p_l: each
node has its own beta), the moments go up the tree by

    E t   = sum_l E p_l E T_l
    Var t = sum_lm Cov(p_l, p_m) E T_l E T_m + sum_l E p_l^2 Var T_l
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Protocol

import numpy as np

from dprm_data.core.arrays import Floats, Ints
from dprm_data.labels.space import LabelSpace
from dprm_data.preference import beta as discretised
from dprm_data.preference.axes import Node
from dprm_data.preference.components import Posterior, distinct
from dprm_data.preference.prior import BetaPart, Part, Prior

CHUNK = 2048  # vote vectors at once: the matrix of components stays in the processor's cache
THREADED = 20  # chunks from which on threads are worth their start


@dataclass(frozen=True)
class Moments:
    """Posterior moments of items' distributions. `mean`, `variance` (U, M): of the functionals asked for. `alpha`, `beta` (U, B): one beta per
    node (beta families) or per label (categorical ones). `log_evidence` (U,): log p(votes) under the prior, without the multinomial
    coefficient. `divided` (U,): posterior probability that the first scale's beta is U-shaped (0 for the categorical families)."""

    mean: Floats
    variance: Floats
    alpha: Floats
    beta: Floats
    log_evidence: Floats
    divided: Floats

    def take(self, rows: Ints) -> Moments:
        return Moments(
            self.mean[rows],
            self.variance[rows],
            self.alpha[rows],
            self.beta[rows],
            self.log_evidence[rows],
            self.divided[rows],
        )


def evaluate(prior: Prior, space: LabelSpace, counts: Floats, values: Floats) -> Moments:
    """Posterior moments of the functionals p . v, v the columns of `values` (K, M), for every row of `counts` (N, K).

    Identical rows are computed once.
    """
    rows, where = distinct(counts)
    root = prior.tree(space)
    models = [NodeModel(part.components(), latent_of(part)) for part in prior.parts]
    whole = evaluate_each(root, lambda start, stop: models, rows, values)
    return whole if len(rows) == len(counts) else whole.take(where)


def evaluate_each(
    root: Node, models: Callable[[int, int], Sequence[NodeModel]], counts: Floats, values: Floats
) -> Moments:
    """The same for every row of `counts` by itself, where a row's posterior may depend on more than its counts.

    models: the models of all nodes, parents first, for the rows from the first number to before the second.
    """

    def chunk(start: int) -> Moments:
        stop = min(start + CHUNK, len(counts))
        return _chunk(root, models(start, stop), counts[start:stop], values)

    starts = range(0, max(len(counts), 1), CHUNK)
    if len(starts) < THREADED:
        return _joined(map(chunk, starts), len(counts))
    # NumPy lets go of the interpreter's lock in all that is long here
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        return _joined(pool.map(chunk, starts), len(counts))


def _joined(chunks: Iterable[Moments], rows: int) -> Moments:
    """Concatenate the chunks, each written to its place as it arrives."""
    whole: dict[str, Floats] = {}
    start = 0
    for chunk in chunks:
        stop = start + len(chunk.log_evidence)
        for field in fields(Moments):
            piece = getattr(chunk, field.name)
            whole.setdefault(field.name, np.empty((rows, *piece.shape[1:])))[start:stop] = piece
        start = stop
    return Moments(**whole)


class Judge(Protocol):
    """Gives the posterior of votes (U, L) on a node: components do."""

    def posterior(self, votes: Floats) -> Posterior: ...


@dataclass(frozen=True)
class NodeModel:
    """A node's judge and the moments of its betas, as `BetaPart.latent` gives them; None for a categorical one."""

    judge: Judge
    latent: Floats | None


def latent_of(part: Part) -> Floats | None:
    return part.latent() if isinstance(part, BetaPart) else None


@dataclass
class _Found:
    """Collected on the way down besides the functionals, one piece per node."""

    alpha: list[Floats]
    beta: list[Floats]
    divided: list[Floats]
    log_evidence: Floats


def _chunk(root: Node, models: Sequence[NodeModel], counts: Floats, values: Floats) -> Moments:
    K = counts.shape[1]
    found = _Found([], [], [], np.zeros(len(counts)))
    categorical = all(model.latent is None for model in models)
    asked = np.hstack([np.eye(K), values]) if categorical else values
    mean, variance = _walk(root, iter(models), counts, asked, found)
    if not categorical:
        alpha, beta = np.concatenate(found.alpha, axis=1), np.concatenate(found.beta, axis=1)
        return Moments(mean, variance, alpha, beta, found.log_evidence, found.divided[0])
    alpha, beta = discretised.from_moments(mean[:, :K], variance[:, :K])
    return Moments(mean[:, K:], variance[:, K:], alpha, beta, found.log_evidence, np.zeros(len(counts)))


def _walk(
    node: Node, models: Iterator[NodeModel], counts: Floats, values: Floats, found: _Found
) -> tuple[Floats, Floats]:
    model = next(models)
    posterior = model.judge.posterior(node.votes(counts))
    found.log_evidence += posterior.log_evidence
    if model.latent is not None:
        _latent(posterior, model.latent, found)
    if all(child is None for child in node.children):
        return posterior.moments(values[[branch[0] for branch in node.branches]])
    U, M = len(counts), values.shape[1]
    below = np.empty((U, node.levels, M))
    spread = np.zeros((U, node.levels, M))
    for level, (branch, child) in enumerate(zip(node.branches, node.children, strict=True)):
        if child is None:
            below[:, level] = values[branch[0]]
        else:
            below[:, level], spread[:, level] = _walk(child, models, counts, values, found)
    p, pp = posterior.second_moments()
    covariance = pp - p[:, :, None] * p[:, None, :]
    mean = np.einsum("ul,ulm->um", p, below)
    between = np.einsum("ulm,ulk,umk->uk", covariance, below, below, optimize=True)
    within = np.einsum("ul,ulm->um", np.einsum("ull->ul", pp), spread)
    return mean, np.maximum(between, 0.0) + within


def _latent(posterior: Posterior, latent: Floats, found: _Found) -> None:
    """The beta that has the mean and variance of the next annotator's opinion."""
    expected = posterior.expect(latent)
    alpha, beta = discretised.from_moments(expected[:, 0], expected[:, 1] - expected[:, 0] ** 2)
    found.alpha.append(alpha[:, None])
    found.beta.append(beta[:, None])
    found.divided.append(expected[:, 2])
