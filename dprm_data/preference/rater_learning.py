"""Learning raters and items together: messages between them along the votes. `rater_model.py` derives it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from dprm_data.core.arrays import Floats
from dprm_data.preference.em import BASE_ITEMS, EVEN_ITEMS, LEVEL_PRECISION, Base, Start, telling
from dprm_data.preference.prior import BetaPart
from dprm_data.preference.rated_scale import RatedScale
from dprm_data.preference.rater_model import (
    SEVERITY,
    SHIFTS,
    RaterModel,
    Singles,
    plain_cells,
    population,
    start,
    weighted_cells,
)
from dprm_data.preference.vote_pieces import Piece, crossed, cuts, product

ROUNDS = 5
SWEEPS = 2  # without learning, after that
LEARNED_CELLS = 12_000_000  # votes x components that the weights are learned from
COMPLETED = 2_000_000  # votes from which raters are known, where they have hundreds each
TABLE_CELLS = 50_000_000
THREADED = 20  # pieces from which on threads are worth their start


def few_of(scale: RatedScale, part: BetaPart) -> RatedScale:
    """As much of a scale as the weights are learned from: itself, or the votes on a random choice of its items."""
    return scale.thinned(LEARNED_CELLS // len(part.weights))[0]


def learn(
    scale: RatedScale,
    part: BetaPart,
    shifts: Floats = SHIFTS,
    stretches: Floats = SEVERITY,
    *,
    rounds: int = ROUNDS,
    free: bool = False,
) -> RaterModel:
    """Learn items and raters of a scale from its votes. free: how far items differ is learned from single votes, too, and not only from several (see `em.py`)."""
    model = start(part, scale.raters, shifts, stretches)
    shaping = np.ones(scale.items) if free else telling(scale.votes())
    base = Base(*part.grid(), Start.of(float(shaping[scale.votes().any(axis=1)].mean())))
    plain = plain_cells(part, model.shifts, model.stretches)
    observed = scale.votes().sum(axis=0)
    levels = (np.arange(scale.levels) + 0.5) / scale.levels
    base.start(float((observed + 1.0) @ levels / (observed.sum() + scale.levels)))
    messages = _first_messages(scale, model)
    for _ in range(rounds):
        _, model = pass_over(scale, model, messages)
        found, model = pass_over(scale, model, messages, shaping=shaping)
        model = _weights_learned(model, base, found, scale, plain)
    for _ in range(SWEEPS):
        _, model = pass_over(scale, model, messages)
    return replace(model, messages=messages, shared=_shared(scale, model))


def complete(scale: RatedScale, model: RaterModel) -> RaterModel:
    """A model that was learned from some of a scale's items, with all items' votes.

    The raters' posteriors are those of all their votes; of so many of them that hundreds are known of every rater, where there are millions. One vote more or
    less is nothing to such a rater, and one table of what every rater's votes say takes the place of the messages.
    """
    rows = scale.raters * scale.levels
    if len(scale) > COMPLETED and 100 * scale.raters <= COMPLETED and rows * len(model.part.weights) <= TABLE_CELLS:
        some = complete(scale.thinned(COMPLETED)[0], model)
        says = np.empty((scale.raters, scale.levels, len(model.part.weights)), np.float32)
        for k, cells in enumerate(model.cells):
            says[:, k] = np.log(some.beliefs.astype(np.float32) @ cells)
        none = np.zeros((0, len(model.shifts)), np.float32)
        return replace(some, messages=none, says=says.reshape(rows, -1), shared=_shared(scale, some))
    messages = _first_messages(scale, model)
    _, model = pass_over(scale, model, messages)
    return replace(model, messages=messages, shared=_shared(scale, model))


def pass_over(
    scale: RatedScale, model: RaterModel, messages: Singles, *, shaping: Floats | None = None
) -> tuple[Found, RaterModel]:
    """One pass over items and raters."""
    found = sweep(scale, model, messages, shaping=shaping)
    beliefs, evidence = _rater_update(scale, model, messages)
    return found, replace(model, beliefs=beliefs, evidence=found.evidence + evidence)


@dataclass
class Found:
    """What one pass over the items adds up: posterior weights of the grid (G,), those of the items that tell how far items differ (G,), expected votes of
    every level (L,), and the items' and votes' part of the log evidence."""

    grid: Floats
    shape: Floats
    expected: Floats
    evidence: float


def sweep(scale: RatedScale, model: RaterModel, messages: Singles, *, shaping: Floats | None = None) -> Found:
    """One pass over all items: `messages`, from raters (V, B), are replaced by the log messages to raters.

    `shaping` (items,): how much each tells how far items differ; without it, neither this nor the expected levels are added up.
    """
    L, B, G = model.cells.shape
    weights, log_P = model.part.weights, np.log(model.components().means)

    def work(piece: Piece) -> Found:
        said = piece.said(model, messages)
        scores = piece.scores(scale, weights, log_P, said)
        top = scores.max(axis=1, keepdims=True)
        scores -= top
        posterior = np.exp(scores, out=scores)
        total = posterior.sum(axis=1, keepdims=True)
        posterior /= total
        evidence = float((np.log(total, dtype=np.float64) + top).sum())
        found = Found(posterior.sum(axis=0, dtype=np.float64), np.zeros(G), np.zeros(L), evidence)
        without = posterior[piece.item]
        if shaping is not None:
            tell = shaping[piece.items]
            found.shape = found.grid if (tell == 1.0).all() else tell @ posterior
            weight = piece.weight.astype(np.float32)
            pairs = crossed(model.beliefs[piece.rater].astype(np.float32) * weight[:, None], without)
            found.expected = np.einsum("bg,lbg->l", pairs, model.cells).astype(np.float64)
        without /= said if piece.whole else said ** piece.weight[:, None]
        scale_of = without.sum(axis=1, keepdims=True)  # the reciprocal of the vote's probability, given all others
        without /= scale_of
        found.evidence += float(piece.weight @ np.log(scale_of[:, 0], dtype=np.float64))
        out = np.empty((len(without), B), np.float32)
        for k, level in enumerate(piece.levels):
            product(without[level], model.cells[k].T, out[level])
        np.log(out, out=out)
        messages[piece.rows] = out * piece.weight[:, None]
        return found

    total = Found(np.zeros(G), np.zeros(G), np.zeros(L), 0.0)
    for found in _each(scale, G, work):
        total.grid += found.grid
        total.shape += found.shape
        total.expected += found.expected
        total.evidence += found.evidence
    return total


def item_posteriors(scale: RatedScale, model: RaterModel, first: int, last: int) -> tuple[Floats, Floats]:
    """R (items, G) of the items from `first` to before `last`, and the logarithm of their votes' probability (items,)."""
    weights, log_P = model.part.weights, np.log(model.components().means)
    scores = np.empty((last - first, len(weights)), np.float32)
    if model.says is not None:
        scores[:] = _table_scores(scale, model.says, weights, log_P, first, last)
    for items in cuts(scale, len(weights), first, last) if model.says is None else []:
        piece = Piece.of(scale, items)
        said = piece.said(model, model.messages)
        scores[items.start - first : items.stop - first] = piece.scores(scale, weights, log_P, said)
    top = scores.max(axis=1, keepdims=True)
    R = np.exp((scores - top).astype(np.float64))
    total = R.sum(axis=1, keepdims=True)
    return R / total, np.log(total[:, 0]) + top[:, 0]


def _table_scores(scale: RatedScale, says: Singles, weights: Floats, log_P: Floats, first: int, last: int) -> Floats:
    """Log posterior weights (items, G), up to a constant, of the items from `first` to before `last`, from what each rater's votes say."""
    from scipy.sparse import csr_array

    a, b = np.searchsorted(scale.item, [first, last])
    starts = np.searchsorted(scale.item[a:b], np.arange(first, last + 1))
    said = scale.rater[a:b] * scale.levels + scale.level[a:b]
    votes = csr_array((scale.weight[a:b].astype(np.float32), said, starts), shape=(last - first, len(says)))
    return np.asarray(votes @ says + scale.log_weights(weights, slice(first, last)) + scale.rest[first:last] @ log_P.T)


def _each(scale: RatedScale, G: int, work: Callable[[Piece], Found]) -> Iterator[Found]:
    """The work on all items."""
    pieces = cuts(scale, G, 0, scale.items)
    if len(pieces) < THREADED:
        yield from (work(Piece.of(scale, piece)) for piece in pieces)
        return
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        yield from pool.map(lambda piece: work(Piece.of(scale, piece)), pieces)


def _rater_update(scale: RatedScale, model: RaterModel, messages: Singles) -> tuple[Floats, float]:
    """The raters' posteriors (raters, B) from the log messages to them, which are replaced by the posterior without each vote."""
    log_h = _log(model.population)
    beliefs = np.empty((scale.raters, len(log_h)))
    for b in range(len(log_h)):
        beliefs[:, b] = log_h[b] + np.bincount(scale.rater, weights=messages[:, b], minlength=scale.raters)
    for start_ in range(0, len(scale), 200_000):
        rows = slice(start_, start_ + 200_000)
        without = beliefs[scale.rater[rows]] - messages[rows]
        without -= without.max(axis=1, keepdims=True)
        np.exp(without, out=without)
        messages[rows] = without / without.sum(axis=1, keepdims=True)
    top = beliefs.max(axis=1, keepdims=True)
    beliefs -= top
    np.exp(beliefs, out=beliefs)
    total = beliefs.sum(axis=1, keepdims=True)
    return np.asarray(beliefs / total), float((np.log(total) + top).sum())


def _first_messages(scale: RatedScale, model: RaterModel) -> Singles:
    return np.ascontiguousarray(model.beliefs.astype(np.float32)[scale.rater])


def _weights_learned(model: RaterModel, base: Base, found: Found, scale: RatedScale, plain: Floats) -> RaterModel:
    """The model with weights of items, raters and levels from one pass."""
    part = model.part
    weights = found.shape + BASE_ITEMS * base.fitted(found.grid, found.shape) + EVEN_ITEMS / len(found.grid)
    voted = np.bincount(scale.rater, minlength=scale.raters) > 0
    h = population(model, model.beliefs[voted])
    omega = part.level_weights
    if scale.levels > 2:
        observed = np.bincount(scale.level, weights=scale.weight, minlength=scale.levels)
        log_omega = np.log(omega)
        log_omega += (observed - found.expected - LEVEL_PRECISION * log_omega) / (found.expected + LEVEL_PRECISION)
        omega = np.exp(np.clip(log_omega - log_omega.mean(), -5.0, 5.0))
    part = replace(part, weights=weights / weights.sum(), level_weights=omega)
    return replace(model, part=part, population=h, cells=weighted_cells(plain, part))


def _shared(scale: RatedScale, model: RaterModel) -> Floats:
    """tau² / R of every item: R is the effective number of the raters that common items connect with its own."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    N, A = scale.items, scale.raters
    edges = coo_array((np.ones(len(scale), np.int8), (scale.item, N + scale.rater)), shape=(N + A, N + A))
    _, part_of = connected_components(edges, directed=False)
    votes = np.bincount(scale.rater, weights=scale.weight, minlength=A)
    own = part_of[N:]
    total = np.bincount(own, weights=votes, minlength=part_of.max(initial=0) + 1)
    square = np.bincount(own, weights=votes**2, minlength=len(total))
    share = np.divide(square, total**2, out=np.zeros_like(total), where=total > 0)
    # A variance that few raters tell is itself uncertain: about as much as Student's quantiles exceed the normal ones.
    R = np.maximum(np.divide(1.0, share, out=np.full_like(share, np.inf), where=share > 0), 2.0)
    wider = 1.0 + 2.0 / (R - 1.0)
    return np.asarray((model.spread**2 * share * wider)[part_of[:N]])


def _log(weights: Floats) -> Floats:
    return np.log(np.maximum(weights, 1e-30))
