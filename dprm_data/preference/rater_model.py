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

import numpy as np
from numpy.typing import NDArray

from dprm_data.core.arrays import Floats, Ints
from dprm_data.preference import beta as discretised
from dprm_data.preference.components import Components, Posterior
from dprm_data.preference.em import BASE_ITEMS, EVEN_ITEMS, LEVEL_PRECISION, Base
from dprm_data.preference.prior import BetaPart
from dprm_data.preference.rated_scale import RatedScale

Singles = NDArray[np.float32]

SHIFTS = np.linspace(-2.5, 2.5, 13)
STRETCHES = np.array([0.6, 1.0, 1.6])
STRETCH_SPREAD = 0.25  # of log a, about 1
START_VARIANCE, START_RATERS = 0.25, 5.0  # of severities, and as how many raters it counts
LEAST_VARIANCE = 0.02
NORMAL_RATERS = 20.0  # raters' own distribution counts against so many of the normal one
ROUNDS, INNER = 10, 2
LEARNED_CELLS = 12_000_000  # votes x components that the weights are learned from
SWEEPS = 2  # over all votes, after that
CHUNK = 400_000  # cells (votes x components) at once: they stay in the processor's cache


@dataclass(frozen=True)
class RaterModel:
    """What was learned about a scale and its raters.

    `part`: the items' prior, with level weights and lapses; `shifts`, `stretches`, `population` (B,): the raters' grid and its weights h; `cells` (B, G, L): T.
    `beliefs` (raters, B): every rater's posterior Q; `messages` (V, B): the raters' posterior without each vote. `shared` (items,): tau² / R.
    """

    part: BetaPart
    shifts: Floats
    stretches: Floats
    population: Floats
    cells: Singles
    beliefs: Floats
    messages: Singles
    shared: Floats

    @property
    def spread(self) -> float:
        """tau: the standard deviation of severities in the population, in logits of the mean opinion."""
        mean = self.population @ self.shifts
        return float(np.sqrt(self.population @ (self.shifts - mean) ** 2))

    def components(self) -> Components:
        """The population's view of every component."""
        P = np.einsum("b,bgl->gl", self.population, self.cells)
        misfit = self.part.kappa if self.part.exact else None
        return Components(
            P / P.sum(axis=1, keepdims=True),
            np.full(len(P), np.inf),
            self.part.weights,
            misfit,
            self.part.items,
            self.part.dispersion,
        )

    def slopes(self) -> Floats:
        """What the population's cells (G, L) change by if all raters are one logit less severe."""
        step = self.shifts.max() - self.shifts.min()
        own = np.unique(self.shifts)
        if len(own) < 2:
            return np.zeros(self.cells.shape[1:])
        step = own[1] - own[0]
        up, down = (_moved(self.population, self.shifts, self.stretches, sign * step) for sign in (1, -1))
        return np.asarray(np.einsum("b,bgl->gl", (up - down) / (2 * step), self.cells), dtype=np.float64)


def start(part: BetaPart, raters: int, *, stretch: bool = False) -> RaterModel:
    """A model that knows nothing of its raters yet; `part`: the items' prior as it was learned without raters."""
    b, a = (grid.ravel() for grid in np.meshgrid(SHIFTS, STRETCHES if stretch else [1.0], indexing="ij"))
    h = _normal(b, a, START_VARIANCE, np.zeros(len(b)))
    T = _cells(part, b, a)
    return RaterModel(part, b, a, h, T, np.tile(h, (raters, 1)), np.zeros((0, len(b)), np.float32), np.zeros(0))


def learn(scale: RatedScale, part: BetaPart, *, stretch: bool = False, rounds: int = ROUNDS) -> RaterModel:
    """Learn items and raters of a scale from its votes."""
    model = start(part, scale.raters, stretch=stretch)
    G = len(part.weights)
    few, _ = scale.thinned(LEARNED_CELLS // G)
    base = Base(*part.grid())
    counts = scale.votes()
    base.start(float((counts.sum(axis=0) + 1.0) @ (np.arange(scale.levels) + 0.5) / scale.levels / (counts.sum() + scale.levels)))
    plain = _plain(part, model.shifts, model.stretches)
    N = few.votes().sum(axis=1)
    shaped = N > 1.0
    messages = _first_messages(few, model)
    for _ in range(rounds):
        for inner in range(INNER):
            found = sweep(few, model, messages, count=shaped if inner == INNER - 1 else None)
            model = replace(model, beliefs=_rater_update(few, model, messages))
        model = _weights_learned(model, base, found, few, shaped, plain)
    if few is not scale:
        messages = _first_messages(scale, model)
        for _ in range(SWEEPS):
            sweep(scale, model, messages)
            model = replace(model, beliefs=_rater_update(scale, model, messages))
    else:
        sweep(few, model, messages)
        model = replace(model, beliefs=_rater_update(few, model, messages))
    return replace(model, messages=messages, shared=_shared(scale, model))


@dataclass
class Found:
    """What one pass over the items adds up: posterior weights of the grid (G,), and expected votes of every level (L,)."""

    grid: Floats
    expected: Floats


def sweep(scale: RatedScale, model: RaterModel, messages: Singles, *, count: NDArray[np.bool_] | None = None) -> Found:
    """One pass over all items: `messages`, from raters (V, B), are replaced by the log messages to raters.

    `count`: the items whose expected levels are added up.
    """
    G, B, L = model.cells.shape[1], model.cells.shape[0], scale.levels
    log_w, log_P = _log(model.part.weights), np.log(model.components().means)

    def work(rows: slice, items: slice) -> Found:
        said = _said(scale, model, messages, rows)
        posterior, where = _posterior(scale, log_w, log_P, said, rows, items)
        found = Found(posterior.sum(axis=0, dtype=np.float64), np.zeros(L))
        if count is not None:
            kept = count[items][where]
            if kept.any():
                pairs = model.beliefs[scale.rater[rows]][kept].astype(np.float32).T @ (
                    posterior[where[kept]] * scale.weight[rows][kept, None].astype(np.float32)
                )
                found.expected = np.einsum("bg,bgl->l", pairs, model.cells, optimize=True).astype(np.float64)
        without = posterior[where]
        weight = scale.weight[rows]
        without /= said if (weight == 1.0).all() else said ** weight[:, None].astype(np.float32)
        without /= without.sum(axis=1, keepdims=True)
        level = scale.level[rows]
        out = np.empty((len(level), B), np.float32)
        for k in range(L):
            here = np.flatnonzero(level == k)
            out[here] = without[here] @ model.cells[:, :, k].T
        np.log(out, out=out)
        out *= weight[:, None].astype(np.float32)
        messages[rows] = out
        return found

    total = Found(np.zeros(G), np.zeros(L))
    for found in _each(scale, G, work):
        total.grid += found.grid
        total.expected += found.expected
    return total


def item_posteriors(scale: RatedScale, model: RaterModel, first: int, last: int) -> tuple[Floats, Floats]:
    """R (items, G) of the items from `first` to before `last`, and the logarithm of their votes' probability (items,)."""
    a, b = np.searchsorted(scale.item, [first, last])
    rows, items = slice(int(a), int(b)), slice(first, last)
    said = _said(scale, model, model.messages, rows)
    scores, _ = _scores(scale, _log(model.part.weights), np.log(model.components().means), said, rows, items)
    top = scores.max(axis=1, keepdims=True)
    R = np.exp((scores - top).astype(np.float64))
    total = R.sum(axis=1, keepdims=True)
    return R / total, np.log(total[:, 0]) + top[:, 0]


def _said(scale: RatedScale, model: RaterModel, messages: Singles, rows: slice) -> Singles:
    """The messages (votes, G) to the items, relative to their largest value."""
    level, d = scale.level[rows], messages[rows]
    said = np.empty((len(level), model.cells.shape[1]), np.float32)
    for k in range(scale.levels):
        here = np.flatnonzero(level == k)
        said[here] = d[here] @ model.cells[:, :, k]
    return said


def _scores(
    scale: RatedScale, log_w: Floats, log_P: Floats, said: Singles, rows: slice, items: slice
) -> tuple[Singles, Ints]:
    """Log posterior weights (items, G) up to a constant, and the item of every vote among these items."""
    where = scale.item[rows] - items.start
    n = items.stop - items.start
    rest = scale.rest[items]
    scores = np.broadcast_to(log_w.astype(np.float32), (n, len(log_w))).copy()
    if rest.any():
        scores += (rest @ log_P.T).astype(np.float32)
    if len(where):
        logs = np.log(said)
        weight = scale.weight[rows]
        if (weight != 1.0).any():
            logs *= weight[:, None].astype(np.float32)
        starts = np.flatnonzero(np.r_[True, where[1:] != where[:-1]])
        scores[where[starts]] += np.add.reduceat(logs, starts, axis=0)
    return scores, where


def _posterior(
    scale: RatedScale, log_w: Floats, log_P: Floats, said: Singles, rows: slice, items: slice
) -> tuple[Singles, Ints]:
    scores, where = _scores(scale, log_w, log_P, said, rows, items)
    scores -= scores.max(axis=1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=1, keepdims=True)
    return scores, where


def _each(scale: RatedScale, G: int, work: Callable[[slice, slice], Found]) -> Iterator[Found]:
    """The work on all items, in chunks of votes that fit the cache."""
    size = np.bincount(scale.item, minlength=scale.items)
    ends = np.cumsum(size)
    weight = np.cumsum(size + 1)  # an item without votes is some work too
    cuts = np.searchsorted(weight, np.arange(1, weight[-1] // max(CHUNK // G, 1) + 1) * max(CHUNK // G, 1), side="right")
    cuts = np.unique(np.r_[0, cuts, scale.items])
    bounds = np.r_[0, ends][cuts]
    pieces = [
        (slice(int(bounds[i]), int(bounds[i + 1])), slice(int(cuts[i]), int(cuts[i + 1]))) for i in range(len(cuts) - 1)
    ]
    if len(pieces) < 20:
        yield from (work(*piece) for piece in pieces)
        return
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        yield from pool.map(lambda piece: work(*piece), pieces)


def _rater_update(scale: RatedScale, model: RaterModel, messages: Singles) -> Floats:
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
    beliefs -= beliefs.max(axis=1, keepdims=True)
    np.exp(beliefs, out=beliefs)
    return np.asarray(beliefs / beliefs.sum(axis=1, keepdims=True))


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


def _plain(part: BetaPart, b: Floats, a: Floats) -> Floats:
    mu, s = part.grid()
    logit = np.log(mu / (1.0 - mu))
    x = 1.0 / (1.0 + np.exp(-(a[:, None] * logit + b[:, None])))
    x = np.clip(x, 1e-6, 1.0 - 1e-6)
    cells = discretised.cells(x.ravel(), np.broadcast_to(s, x.shape).ravel(), len(part.level_weights))
    return np.asarray(cells.reshape(*x.shape, -1))


def _weighted(plain: Floats, part: BetaPart) -> Singles:
    B, G, L = plain.shape
    cells = discretised.weighted(plain.reshape(B * G, L), part.level_weights, part.lapse)
    return np.ascontiguousarray(cells.reshape(B, G, L).astype(np.float32))


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


class RaterPosterior(Posterior):
    """The posterior of items whose votes were judged with their raters: moments are those of the population."""

    def __init__(self, components: Components, votes: Floats, R: Floats, log_evidence: Floats, slopes: Floats, shared: Floats) -> None:
        super().__init__(components, votes, R, R.sum(axis=1, keepdims=True), log_evidence)
        object.__setattr__(self, "_slopes", slopes)
        object.__setattr__(self, "_shared", shared)

    def moments(self, values: Floats) -> tuple[Floats, Floats]:
        mean, variance = super().moments(values)
        slope = self.expect(self._slopes @ values)  # type: ignore[attr-defined]
        return mean, variance + slope**2 * self._shared[:, None]  # type: ignore[attr-defined]
