"""Which judgement next: the rating, or the comparison, that is expected to put most pairs of responses in their right order.

The utilities (or expected rewards) of a prompt's responses are u ~ N(m, C), independent of other prompts'. A pair with the difference d = m_a - m_b of variance σ² is published as d says, and is
the wrong way round with probability Φ(-|d|/σ). Judgements bring the variance of the difference down from σ² to σ'². Before they are made, the difference that will be found then is D' ~ N(d, σ² - σ'²); it and the
true one have the correlation r = √(1 - σ'²/σ²). They have different signs, so that the pair is still the wrong way round, with probability

    W(d, σ, σ') = Φ(-h) + Φ(-h/r) - 2 Φ2(-h, -h/r; r) = 2 T(h, σ'/√(σ² - σ'²)),   h = |d|/σ

T is Owen's function: of the two in his formula for Φ2, the second vanishes. So W is Φ(-h) where nothing is learned, arccos(r)/π between equals, 0 where everything is. A judgement along x (a rating:
the response itself; a comparison: one minus the other) with noise s² takes C to C - Cxx'C / (s² + x'Cx), whatever is answered: so the expected number of pairs that are the wrong way round after any set of judgements
is a sum of W, and no answer has to be simulated. Only an answer that could turn a pair round gains anything, so a pair that is settled gains nothing.

One answer alone often cannot turn any pair round, and then its gain is next to nothing, although a few together would. So a judgement is worth the best of gain(k) / k over k of its kind. Judgements are chosen one after
the other, over all prompts; each lowers C, and so what the next of its prompt gains.

Sources: Owen, Ann. Math. Statist. 27 (1956), Φ2 by T; Frazier and Powell, Decision Analysis 7 (2010), gain(k) / k.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from dprm_data.core.arrays import Floats, Ints
from dprm_data.preference.comparisons import UtilityFit
from dprm_data.preference.pairs import ALL_PAIRS_UP_TO

_AHEAD = (1, 2, 4, 8, 16)  # judgements of a kind
_MOST = 64  # responses of one prompt that are looked at: those whose order to the best is least sure
_CELLS = 2_000_000  # pairs times judgements at once
_LEAST = 1e-6  # pairs that one judgement puts right: less is nothing
_AT_ONCE = 16  # the part of the judgements that is chosen before gains are computed again: one in so many


def wrong(difference: Floats, variance: Floats, left: Floats) -> Floats:
    """The expected probability that a pair is the wrong way round, once the variance of its difference is `left`: W. Of any one shape."""
    from scipy.special import owens_t

    spread = np.sqrt(np.maximum(variance, 1e-300))
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.sqrt(np.maximum(left, 0.0) / np.maximum(variance - left, 0.0))
    return np.where(variance > 0, 2.0 * owens_t(difference / spread, slope), 0.0)


@dataclass
class Prompts:
    """G prompts of n responses each, with P pairs and M kinds of judgements. items (G, n): rows; mean (G, n), covariance (G, n, n): of the utilities, before what is chosen here; pairs (G, P, n),
    judged (G, M, n): as directions; noise (G, M): the variance of one judgement; kinds (G, M, 1 or 2): the rows that a judgement is about; left: the covariance after
    what was chosen; free (G, M): what may be chosen."""

    items: Ints
    mean: Floats
    covariance: Floats
    pairs: Floats
    judged: Floats
    noise: Floats
    kinds: Ints
    left: Floats = field(init=False)
    free: NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        self.left = self.covariance.copy()
        self.free = np.ones(self.noise.shape, dtype=bool)

    def wrong(self) -> Floats:
        """The expected number of pairs that are the wrong way round after what was chosen, (G,)."""
        return np.asarray(wrong(*self._differences(slice(None))).sum(axis=1))

    def worth(self, prompts: Ints) -> Floats:
        """What a judgement of each kind gains in these prompts, (g, M): pairs put right; -1 if it may not be chosen."""
        size = max(1, _CELLS // (self.pairs.shape[1] * self.judged.shape[1]))
        parts = [self._worth(prompts[start : start + size]) for start in range(0, len(prompts), size)]
        return np.where(self.free[prompts], np.concatenate(parts), -1.0)

    def choose(self, prompts: Ints, kinds: Ints, each: int) -> None:
        """Take it that in these prompts (g,), each once, so many judgements of these kinds (g,) are made."""
        C, x = self.left[prompts], self.judged[prompts, kinds]
        told = np.einsum("gij,gj->gi", C, x)
        total = self.noise[prompts, kinds] / each + np.einsum("gi,gi->g", told, x)
        self.left[prompts] = C - told[:, :, None] * told[:, None, :] / total[:, None, None]

    def _differences(self, rows: slice | Ints) -> tuple[Floats, Floats, Floats]:
        """Of every pair: the difference, its variance, and what is left of it, (g, P) each."""
        D = self.pairs[rows]
        variances = (np.einsum("gpi,gij,gpj->gp", D, C[rows], D, optimize=True) for C in (self.covariance, self.left))
        before, left = (np.maximum(each, 0.0) for each in variances)
        return np.einsum("gpi,gi->gp", D, self.mean[rows]), before, np.minimum(left, before)

    def _worth(self, rows: Ints) -> Floats:
        difference, before, left = self._differences(rows)
        now = wrong(difference, before, left).sum(axis=1)
        told = self.left[rows] @ self.judged[rows].swapaxes(1, 2)
        own = np.einsum("gmi,gim->gm", self.judged[rows], told)
        squared = (self.pairs[rows] @ told) ** 2
        best = np.zeros(own.shape)
        for k in _AHEAD:
            after = left[..., None] - squared / np.maximum(self.noise[rows] / k + own, 1e-300)[:, None, :]
            there = wrong(difference[..., None], before[..., None], np.clip(after, 0.0, before[..., None])).sum(axis=1)
            best = np.maximum(best, (now[:, None] - there) / k)
        return best


def rated(groups: Ints, mean: Floats, variance: Floats, noise: Floats) -> list[Prompts]:
    """N items that can be rated more, as prompts of equal size. groups (N,): numbers; mean, variance (N,): of their expected rewards, NaN for an item that is in no pair; noise (N,): of one more rating."""
    found = []
    for items in _by_size(groups, mean, variance):
        size = items.shape[1]
        covariance = variance[items][:, :, None] * np.eye(size)
        every = np.tile(np.eye(size), (len(items), 1, 1))
        pairs = _directions(_published(mean[items]), size)
        found.append(Prompts(items, mean[items], covariance, pairs, every, noise[items], items[:, :, None]))
    return found


def compared(fit: UtilityFit, answers: float = 1.0) -> list[Prompts]:
    """The responses of fitted comparisons, as prompts of equal size whose published pairs can be compared more. answers: how many independent answers one judgement is worth."""
    found = []
    for each in fit.posteriors:
        items, mean, C = each.batch.items, each.mean, each.covariance
        size = items.shape[1]
        places = _published(mean)
        D = _directions(places, size)
        difference = np.einsum("gpi,gi->gp", D, mean)
        error = np.sqrt(np.maximum(np.einsum("gpi,gij,gpj->gp", D, C, D, optimize=True), 0.0))
        _, variance = fit.scale.moments(difference.ravel(), error.ravel())
        noise = 1.0 / (answers * fit.scale.slope**2 * variance.reshape(difference.shape))
        kinds = np.take_along_axis(items[:, None, :], places, axis=2)
        found.append(Prompts(items, mean, C, D, D, noise, kinds))
    return found


def next_judgements(
    parts: Sequence[Prompts], count: int, *, each: int = 1, once: bool = False, settled: bool = False
) -> Ints:
    """The rows that the next judgements are about, (count, 1 or 2), the best first; fewer if no more gain anything.

    each: judgements made of a kind whenever it is chosen; once: a kind is chosen once only; settled: those that gain nothing are chosen, too, after the others. Changes `parts`: what is chosen counts as made.
    """
    worth = [part.worth(np.arange(len(part.items))) for part in parts]
    number = np.repeat(np.arange(len(parts)), [len(part.items) for part in parts])
    prompt = np.concatenate([np.arange(len(part.items)) for part in parts]) if parts else number
    chosen: list[Ints] = []
    while (left := count - sum(map(len, chosen))) > 0 and len(prompt):
        best = np.concatenate([gains.max(axis=1) for gains in worth])
        top = np.argsort(-best, kind="stable")[: max(1, left // _AT_ONCE)]
        top = top[best[top] >= 0.0] if settled else top[best[top] > _LEAST]
        if not len(top):
            break
        order = np.zeros((len(top), parts[0].kinds.shape[2]), dtype=np.int64)
        for at in np.unique(number[top]):
            here = np.flatnonzero(number[top] == at)
            part, rows = parts[at], prompt[top[here]]
            kinds = worth[at][rows].argmax(axis=1)
            order[here] = part.kinds[rows, kinds]
            part.choose(rows, kinds, each)
            if once:
                part.free[rows, kinds] = False
            worth[at][rows] = part.worth(rows)
        chosen.append(order)
    return np.concatenate(chosen) if chosen else np.zeros((0, 2), dtype=np.int64)


def _by_size(groups: Ints, mean: Floats, variance: Floats) -> list[Ints]:
    """The items of every prompt with two or more, (G, n) for each size n."""
    kept = np.flatnonzero(~np.isnan(mean))
    prompts = np.split(
        kept[np.argsort(groups[kept], kind="stable")], np.cumsum(np.unique(groups[kept], return_counts=True)[1])[:-1]
    )
    by: dict[int, list[Ints]] = {}
    for rows in prompts:
        if len(rows) > _MOST:
            best = rows[np.argmax(mean[rows])]
            unsure = (mean[best] - mean[rows]) / np.sqrt(np.maximum(variance[best] + variance[rows], 1e-300))
            rows = np.sort(rows[np.argsort(unsure, kind="stable")[:_MOST]])
        if len(rows) > 1:
            by.setdefault(len(rows), []).append(rows)
    return [np.stack(by[size]) for size in sorted(by)]


def _published(mean: Floats) -> Ints:
    """The places of the pairs that are published of every prompt, (G, P, 2): all of up to 8 responses; of more, the best with each of the others (`pairs.preferred_pairs`)."""
    prompts, size = mean.shape
    if size <= ALL_PAIRS_UP_TO:
        return np.tile(np.array(list(combinations(range(size), 2))), (prompts, 1, 1))
    order = np.argsort(-mean, axis=1, kind="stable")
    return np.stack([np.repeat(order[:, :1], size - 1, axis=1), order[:, 1:]], axis=2)


def _directions(places: Ints, size: int) -> Floats:
    """Pairs (G, P, 2) as vectors, (G, P, n): first minus second."""
    return np.asarray(np.eye(size)[places[..., 0]] - np.eye(size)[places[..., 1]])
