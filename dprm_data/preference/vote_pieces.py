"""Votes in pieces that fit the processor's cache, and products of matrices that stay in one thread."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from dprm_data.core.arrays import Floats, Ints
from dprm_data.preference.rated_scale import RatedScale
from dprm_data.preference.rater_model import RaterModel, Singles

CHUNK = 400_000  # cells (votes x components) at once


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
            product(d[level], model.cells[k], said[level])
        return said

    def scores(self, scale: RatedScale, weights: Floats, log_P: Floats, said: Singles) -> Singles:
        """Log posterior weights (items, G), up to a constant."""
        from scipy.sparse import csr_array

        n, v = self.items.stop - self.items.start, len(self.rows)
        order = np.argsort(self.item, kind="stable")
        starts = np.r_[0, np.cumsum(np.bincount(self.item, minlength=n))]
        scores = csr_array((self.weight[order], order, starts), shape=(n, v)) @ np.log(said)
        scores += scale.log_weights(weights, self.items).astype(np.float32)
        rest = scale.rest[self.items]
        if rest.any():
            more = np.empty_like(scores)
            product(rest.astype(np.float32), log_P.T.astype(np.float32), more)
            scores += more
        return np.asarray(scores)


def cuts(scale: RatedScale, G: int, first: int, last: int) -> list[slice]:
    """The items from `first` to before `last` in pieces that fit the cache."""
    a, b = np.searchsorted(scale.item, [first, last])
    size = np.cumsum(
        np.bincount(scale.item[a:b] - first, minlength=last - first) + 1
    )  # an item without votes is some work too
    most = max(CHUNK // G, 1)
    cuts = first + np.searchsorted(size, np.arange(most, size[-1] if len(size) else 0, most), side="right")
    return [slice(int(i), int(j)) for i, j in pairwise(np.unique(np.r_[first, cuts, last]))]


def _rows(multiplications: int) -> int:
    """How many rows a product may have so that OpenBLAS does not divide it among threads.

    The pieces are small and many, and threads that wait for each other cost more than the product where the processor has other work. OpenBLAS multiplies
    in one thread up to 2^18 multiplications (interface/gemm.c: SMP_THRESHOLD_MIN * GEMM_MULTITHREAD_THRESHOLD).
    """
    return max(2**18 // max(multiplications, 1), 1)


def product(a: Singles, b: Singles, out: Singles) -> None:
    """out = a @ b, in one thread."""
    rows = _rows(b.size)
    whole = len(a) // rows * rows
    if whole:
        np.matmul(a[:whole].reshape(-1, rows, a.shape[1]), b, out=out[:whole].reshape(-1, rows, b.shape[1]))
    if whole < len(a):
        np.matmul(a[whole:], b, out=out[whole:])


def crossed(a: Singles, b: Singles) -> Singles:
    """a.T @ b, in one thread."""
    found = np.zeros((a.shape[1], b.shape[1]), np.float32)
    rows = _rows(found.size)
    for start_ in range(0, len(a), rows):
        found += a[start_ : start_ + rows].T @ b[start_ : start_ + rows]
    return found
