"""Raters in the model of a scale: every annotator's severity and stretch, learned together with the items.

An item is a beta of mean mu and concentration s, as without raters; rater r sees it at

    logit mu_r = a_r logit mu + b_r                    b: severity (above 0: higher levels than others give), a: stretch

and picks a level of the beta's cells there (`beta.py`, with level weights and lapses). Items have a prior over their grid, raters one over a grid of (b, a):
normal in b around 0 with a learned variance. What is published is the population's distribution, the mean over raters,

    p_ik = sum_g R_ig sum_b h_b T_bgk,        T_bgk = P(level k | component g, rater b)

*Inference.* Items and raters form a graph with an edge for every vote. Sum-product messages along it (loopy belief propagation, Kschischang, Frey & Loeliger
2001) give the posterior of every item, R, and of every rater, Q:

    vote -> item:  log sum_b d_vb T_bgk           d: the rater's posterior without this vote
    vote -> rater: log sum_g c_vg T_bgk           c: the item's posterior without this vote

where a tree is exact, and the error on a loop falls with the number of votes of an item or of a rater. The prior weights of items and raters, and the level weights, are
learned in rounds in between (EM). All sums are matrix products; only the messages to raters are kept, B numbers a vote. The weights are learned from at most
as many votes as fill LEARNED_CELLS; the raters then meet all their votes.

*Shared error.* That raters are on average as severe as the population is known only as well as there are raters: the mean severity of R raters, which all
items share, has variance tau² / R, where R is their effective number among the raters that are connected by common items. It moves an item's functional t by
its slope dt/db, so Var t + (dt/db)² tau² / R.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from dprm_data.core.arrays import Floats, Ints
from dprm_data.preference import beta as discretised
from dprm_data.preference.components import Components
from dprm_data.preference.em import BASE_ITEMS, EVEN_ITEMS, LEVEL_PRECISION, Base
from dprm_data.preference.prior import BetaPart
from dprm_data.preference.rated_scale import RatedScale

Singles = NDArray[np.float32]

SHIFTS = np.linspace(-2.5, 2.5, 13)
SEVERITY, STRETCHES = np.array([1.0]), np.array([0.6, 1.0, 1.6])
NO_SHIFT = np.array([0.0])
STRETCH_SPREAD = 0.25  # of log a, about 1
START_VARIANCE, START_RATERS = 0.25, 5.0  # of severities, and as how many raters it counts
LEAST_VARIANCE = 0.02
NORMAL_RATERS = 20.0  # raters' own distribution counts against so many of the normal one
ROUNDS = 5
LEARNED_CELLS = 12_000_000  # votes x components that the weights are learned from
SWEEPS = 2  # without learning, after that
COMPLETED = 2_000_000  # votes from which raters are known, where they have hundreds each
TABLE_CELLS = 50_000_000
THREADED = 20  # pieces from which on threads are worth their start
CHUNK = 400_000  # cells (votes x components) at once: they stay in the processor's cache


@dataclass(frozen=True)
class RaterModel:
    """What was learned about a scale and its raters.

    `part`: the items' prior, with level weights and lapses; `shifts`, `stretches`, `population` (B,): the raters' grid and its weights h; `cells` (L, B, G): T.
    `beliefs` (raters, B): every rater's posterior Q; `messages` (V, B): the raters' posterior without each vote. `shared` (items,): tau² / R. `evidence`: the logarithm of the
    probability of all votes (Bethe's approximation, exact on a tree).
    """

    part: BetaPart
    shifts: Floats
    stretches: Floats
    population: Floats
    cells: Singles
    beliefs: Floats
    messages: Singles
    shared: Floats
    evidence: float = -np.inf
    says: Singles | None = None

    @property
    def spread(self) -> float:
        """tau: the standard deviation of severities in the population, in logits of the mean opinion."""
        mean = self.population @ self.shifts
        return float(np.sqrt(self.population @ (self.shifts - mean) ** 2))

    def components(self) -> Components:
        """The population's view of every component."""
        P = np.einsum("b,lbg->gl", self.population, self.cells)
        misfit = self.part.kappa if self.part.exact else None
        return Components(
            P / P.sum(axis=1, keepdims=True),
            np.full(len(P), np.inf),
            self.part.weights,
            misfit,
            self.part.items,
            self.part.dispersion,
        )

    def latent(self) -> Floats:
        """As `BetaPart.latent`, of the next annotator, whoever that is; (G, 3)."""
        mu, s = self.part.grid()
        x = _opinions(mu, self.shifts, self.stretches)
        u_shaped = (x * s < 1.0) & ((1.0 - x) * s < 1.0)
        return np.stack([self.population @ each for each in (x, x**2 + x * (1.0 - x) / (s + 1.0), u_shaped)], axis=1)

    def slopes(self) -> Floats:
        """What the population's cells (G, L) change by if all raters are one logit less severe."""
        own = np.unique(self.shifts)
        if len(own) < 2:
            return np.zeros((self.cells.shape[2], len(self.cells)))
        step = own[1] - own[0]
        up, down = (_moved(self.population, self.shifts, self.stretches, sign * step) for sign in (1, -1))
        return np.asarray(np.einsum("b,lbg->gl", (up - down) / (2 * step), self.cells), dtype=np.float64)


def start(part: BetaPart, raters: int, shifts: Floats = SHIFTS, stretches: Floats = SEVERITY) -> RaterModel:
    """A model that knows nothing of its raters yet; `part`: the items' prior as it was learned without raters."""
    b, a = (grid.ravel() for grid in np.meshgrid(shifts, stretches, indexing="ij"))
    h = _normal(b, a, START_VARIANCE, np.zeros(len(b)))
    T = _cells(part, b, a)
    return RaterModel(part, b, a, h, T, np.tile(h, (raters, 1)), np.zeros((0, len(b)), np.float32), np.zeros(0))


def learn(
    scale: RatedScale, part: BetaPart, shifts: Floats = SHIFTS, stretches: Floats = SEVERITY, *, rounds: int = ROUNDS
) -> RaterModel:
    """Learn items and raters of a scale from its votes."""
    model = start(part, scale.raters, shifts, stretches)
    base, plain = Base(*part.grid()), _plain(part, model.shifts, model.stretches)
    observed = scale.votes().sum(axis=0)
    levels = (np.arange(scale.levels) + 0.5) / scale.levels
    base.start(float((observed + 1.0) @ levels / (observed.sum() + scale.levels)))
    shaped = scale.votes().sum(axis=1) > 1.0
    messages = _first_messages(scale, model)
    for _ in range(rounds):
        _, model = _pass(scale, model, messages)
        found, model = _pass(scale, model, messages, count=shaped)
        model = _weights_learned(model, base, found, scale, shaped, plain)
    for _ in range(SWEEPS):
        _, model = _pass(scale, model, messages)
    return replace(model, messages=messages, shared=_shared(scale, model))


def complete(scale: RatedScale, model: RaterModel) -> RaterModel:
    """A model that was learned from some of a scale's items, with all items' votes.

    The raters' posteriors are those of all their votes; of so many of them that hundreds are known of every rater, where there are millions. One vote more or
    less is nothing to such a rater, and one table of what every rater's votes say takes the place of the messages.
    """
    rows = scale.raters * scale.levels
    if len(scale) > COMPLETED and COMPLETED >= 100 * scale.raters and rows * len(model.part.weights) <= TABLE_CELLS:
        some = complete(scale.thinned(COMPLETED)[0], model)
        says = np.empty((scale.raters, scale.levels, len(model.part.weights)), np.float32)
        for k, cells in enumerate(model.cells):
            says[:, k] = np.log(some.beliefs.astype(np.float32) @ cells)
        none = np.zeros((0, len(model.shifts)), np.float32)
        return replace(some, messages=none, says=says.reshape(rows, -1), shared=_shared(scale, some))
    messages = _first_messages(scale, model)
    _, model = _pass(scale, model, messages)
    return replace(model, messages=messages, shared=_shared(scale, model))


def few_of(scale: RatedScale, part: BetaPart) -> RatedScale:
    """As much of a scale as the weights are learned from: itself, or the votes on a random choice of its items."""
    return scale.thinned(LEARNED_CELLS // len(part.weights))[0]


def _pass(
    scale: RatedScale, model: RaterModel, messages: Singles, *, count: NDArray[np.bool_] | None = None
) -> tuple[Found, RaterModel]:
    """One pass over items and raters."""
    found = sweep(scale, model, messages, count=count)
    beliefs, evidence = _rater_update(scale, model, messages)
    return found, replace(model, beliefs=beliefs, evidence=found.evidence + evidence)


@dataclass
class Found:
    """What one pass over the items adds up: posterior weights of the grid (G,), expected votes of every level (L,), and the items' and votes'
    part of the log evidence."""

    grid: Floats
    expected: Floats
    evidence: float


def sweep(scale: RatedScale, model: RaterModel, messages: Singles, *, count: NDArray[np.bool_] | None = None) -> Found:
    """One pass over all items: `messages`, from raters (V, B), are replaced by the log messages to raters.

    `count`: the items whose expected levels are added up.
    """
    L, B, G = model.cells.shape
    log_w, log_P = _log(model.part.weights), np.log(model.components().means)

    def work(piece: Piece) -> Found:
        said = piece.said(model, messages)
        scores = piece.scores(scale, log_w, log_P, said)
        top = scores.max(axis=1, keepdims=True)
        scores -= top
        posterior = np.exp(scores, out=scores)
        total = posterior.sum(axis=1, keepdims=True)
        posterior /= total
        evidence = float((np.log(total, dtype=np.float64) + top).sum())
        found = Found(posterior.sum(axis=0, dtype=np.float64), np.zeros(L), evidence)
        without = posterior[piece.item]
        if count is not None:
            weight = (piece.weight * count[piece.items][piece.item]).astype(np.float32)
            pairs = _crossed(model.beliefs[piece.rater].astype(np.float32) * weight[:, None], without)
            found.expected = np.einsum("bg,lbg->l", pairs, model.cells).astype(np.float64)
        without /= said if piece.whole else said ** piece.weight[:, None]
        scale_of = without.sum(axis=1, keepdims=True)  # the reciprocal of the vote's probability, given all others
        without /= scale_of
        found.evidence += float(piece.weight @ np.log(scale_of[:, 0], dtype=np.float64))
        out = np.empty((len(without), B), np.float32)
        for k, level in enumerate(piece.levels):
            _product(without[level], model.cells[k].T, out[level])
        np.log(out, out=out)
        messages[piece.rows] = out * piece.weight[:, None]
        return found

    total = Found(np.zeros(G), np.zeros(L), 0.0)
    for found in _each(scale, G, work):
        total.grid += found.grid
        total.expected += found.expected
        total.evidence += found.evidence
    return total


def item_posteriors(scale: RatedScale, model: RaterModel, first: int, last: int) -> tuple[Floats, Floats]:
    """R (items, G) of the items from `first` to before `last`, and the logarithm of their votes' probability (items,)."""
    log_w, log_P = _log(model.part.weights), np.log(model.components().means)
    scores = np.empty((last - first, len(log_w)), np.float32)
    if model.says is not None:
        scores[:] = _table_scores(scale, model.says, log_w, log_P, first, last)
    for items in _cuts(scale, len(log_w), first, last) if model.says is None else []:
        piece = Piece.of(scale, items)
        said = piece.said(model, model.messages)
        scores[items.start - first : items.stop - first] = piece.scores(scale, log_w, log_P, said)
    top = scores.max(axis=1, keepdims=True)
    R = np.exp((scores - top).astype(np.float64))
    total = R.sum(axis=1, keepdims=True)
    return R / total, np.log(total[:, 0]) + top[:, 0]


@dataclass(frozen=True)
class Piece:
    """The votes on some of the items, sorted by level: `rows` in the scale, `item` among these items, and where each level is."""

    items: slice
    rows: Ints
    item: Ints
    rater: Ints
    weight: Singles
    levels: list[slice]

    @classmethod
    def of(cls, scale: RatedScale, items: slice) -> Piece:
        a, b = np.searchsorted(scale.item, [items.start, items.stop])
        level = scale.level[a:b]
        rows = a + np.argsort(level, kind="stable")
        ends = np.cumsum(np.bincount(level, minlength=scale.levels))
        levels = [slice(int(i), int(j)) for i, j in zip(np.r_[0, ends[:-1]], ends, strict=True)]
        weight = scale.weight[rows].astype(np.float32)
        return cls(items, rows, scale.item[rows] - items.start, scale.rater[rows], weight, levels)

    @property
    def whole(self) -> bool:
        return bool((self.weight == 1.0).all())

    def said(self, model: RaterModel, messages: Singles) -> Singles:
        """The messages (votes, G) to the items."""
        d = messages[self.rows]
        said = np.empty((len(d), model.cells.shape[2]), np.float32)
        for k, level in enumerate(self.levels):
            _product(d[level], model.cells[k], said[level])
        return said

    def scores(self, scale: RatedScale, log_w: Floats, log_P: Floats, said: Singles) -> Singles:
        """Log posterior weights (items, G), up to a constant."""
        from scipy.sparse import csr_array

        n, v = self.items.stop - self.items.start, len(self.rows)
        order = np.argsort(self.item, kind="stable")
        starts = np.r_[0, np.cumsum(np.bincount(self.item, minlength=n))]
        scores = csr_array((self.weight[order], order, starts), shape=(n, v)) @ np.log(said)
        scores += log_w.astype(np.float32)
        rest = scale.rest[self.items]
        if rest.any():
            more = np.empty_like(scores)
            _product(rest.astype(np.float32), log_P.T.astype(np.float32), more)
            scores += more
        return np.asarray(scores)


def _table_scores(scale: RatedScale, says: Singles, log_w: Floats, log_P: Floats, first: int, last: int) -> Floats:
    """Log posterior weights (items, G), up to a constant, of the items from `first` to before `last`, from what each rater's votes say."""
    from scipy.sparse import csr_array

    a, b = np.searchsorted(scale.item, [first, last])
    starts = np.searchsorted(scale.item[a:b], np.arange(first, last + 1))
    said = scale.rater[a:b] * scale.levels + scale.level[a:b]
    votes = csr_array((scale.weight[a:b].astype(np.float32), said, starts), shape=(last - first, len(says)))
    return np.asarray(votes @ says + log_w + scale.rest[first:last] @ log_P.T)


def _cuts(scale: RatedScale, G: int, first: int, last: int) -> list[slice]:
    """The items from `first` to before `last` in pieces that fit the cache."""
    a, b = np.searchsorted(scale.item, [first, last])
    size = np.cumsum(np.bincount(scale.item[a:b] - first, minlength=last - first) + 1)  # an item without votes is some work too
    most = max(CHUNK // G, 1)
    cuts = first + np.searchsorted(size, np.arange(most, size[-1] if len(size) else 0, most), side="right")
    return [slice(int(i), int(j)) for i, j in pairwise(np.unique(np.r_[first, cuts, last]))]


def _each(scale: RatedScale, G: int, work: Callable[[Piece], Found]) -> Iterator[Found]:
    """The work on all items."""
    pieces = _cuts(scale, G, 0, scale.items)
    if len(pieces) < THREADED:
        yield from (work(Piece.of(scale, piece)) for piece in pieces)
        return
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        yield from pool.map(lambda piece: work(Piece.of(scale, piece)), pieces)


def _rows(multiplications: int) -> int:
    """How many rows a product may have so that OpenBLAS does not divide it among threads.

    The pieces are small and many, and threads that wait for each other cost more than the product where the processor has other work. OpenBLAS multiplies
    in one thread up to 2^18 multiplications (interface/gemm.c: SMP_THRESHOLD_MIN * GEMM_MULTITHREAD_THRESHOLD).
    """
    return max(2**18 // max(multiplications, 1), 1)


def _product(a: Singles, b: Singles, out: Singles) -> None:
    """out = a @ b, in one thread."""
    rows = _rows(b.size)
    whole = len(a) // rows * rows
    if whole:
        np.matmul(a[:whole].reshape(-1, rows, a.shape[1]), b, out=out[:whole].reshape(-1, rows, b.shape[1]))
    if whole < len(a):
        np.matmul(a[whole:], b, out=out[whole:])


def _crossed(a: Singles, b: Singles) -> Singles:
    """a.T @ b, in one thread."""
    found = np.zeros((a.shape[1], b.shape[1]), np.float32)
    rows = _rows(found.size)
    for start_ in range(0, len(a), rows):
        found += a[start_ : start_ + rows].T @ b[start_ : start_ + rows]
    return found


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


def _weights_learned(
    model: RaterModel, base: Base, found: Found, scale: RatedScale, shaped: NDArray[np.bool_], plain: Floats
) -> RaterModel:
    """The model with weights of items, raters and levels from one pass."""
    part = model.part
    weights = found.grid + BASE_ITEMS * base.fitted(found.grid) + EVEN_ITEMS / len(found.grid)
    voted = np.bincount(scale.rater, minlength=scale.raters) > 0
    h = _population(model, model.beliefs[voted])
    omega = part.level_weights
    if scale.levels > 2:
        kept = shaped[scale.item]
        observed = np.bincount(scale.level[kept], weights=scale.weight[kept], minlength=scale.levels)
        log_omega = np.log(omega)
        log_omega += (observed - found.expected - LEVEL_PRECISION * log_omega) / (found.expected + LEVEL_PRECISION)
        omega = np.exp(np.clip(log_omega - log_omega.mean(), -5.0, 5.0))
    part = replace(part, weights=weights / weights.sum(), level_weights=omega)
    return replace(model, part=part, population=h, cells=_weighted(plain, part))


def _population(model: RaterModel, beliefs: Floats) -> Floats:
    """h: the raters' own distribution, held by the normal one of its variance."""
    total = beliefs.sum(axis=0)
    n = total.sum()
    variance = (total @ model.shifts**2 + START_RATERS * START_VARIANCE) / (n + START_RATERS)
    return (total + NORMAL_RATERS * _normal(model.shifts, model.stretches, max(variance, LEAST_VARIANCE), total)) / (
        n + NORMAL_RATERS
    )


def _normal(b: Floats, a: Floats, variance: float, total: Floats) -> Floats:
    """The normal distribution of severities on the grid; log stretches are normal too, with a fixed spread."""
    h = np.exp(-0.5 * b**2 / variance - 0.5 * (np.log(a) / STRETCH_SPREAD) ** 2)
    return np.asarray(h / h.sum())


def _moved(h: Floats, b: Floats, a: Floats, by: float) -> Floats:
    """The weights h moved along b by one step of its grid; what leaves the grid stays at its end."""
    B = h.reshape(len(np.unique(b)), -1)
    moved = np.zeros_like(B)
    if by > 0:
        moved[1:] = B[:-1]
        moved[-1] += B[-1]
    else:
        moved[:-1] = B[1:]
        moved[0] += B[0]
    return moved.ravel()


def _opinions(mu: Floats, b: Floats, a: Floats) -> Floats:
    """The mean opinions (B, G) that raters have of the components."""
    x = 1.0 / (1.0 + np.exp(-(a[:, None] * np.log(mu / (1.0 - mu)) + b[:, None])))
    return np.asarray(np.clip(x, 1e-6, 1.0 - 1e-6))


def _plain(part: BetaPart, b: Floats, a: Floats) -> Floats:
    mu, s = part.grid()
    x = _opinions(mu, b, a)
    cells = discretised.cells(x.ravel(), np.broadcast_to(s, x.shape).ravel(), len(part.level_weights))
    return np.asarray(cells.reshape(*x.shape, -1))


def _weighted(plain: Floats, part: BetaPart) -> Singles:
    B, G, L = plain.shape
    cells = discretised.weighted(plain.reshape(B * G, L), part.level_weights, part.lapse)
    return np.ascontiguousarray(cells.reshape(B, G, L).transpose(2, 0, 1).astype(np.float32))


def _cells(part: BetaPart, b: Floats, a: Floats) -> Singles:
    return _weighted(_plain(part, b, a), part)


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
    return np.asarray(model.spread**2 * share[part_of[:N]])


def _log(weights: Floats) -> Floats:
    return np.log(np.maximum(weights, 1e-30))
