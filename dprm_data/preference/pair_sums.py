"""Sums over all pairs of ratings, by what the two share: what `variance_components.py` is computed from.

*The sums.* Pairs are not enumerated. Over a group of ratings with weights w, sum over pairs of w w' ½ (y - y')² = ½ (sum w · sum w y² - (sum w y)²); pairs that share
exactly S are those that share at least S, less those that share more. Items fall into at most 400 blocks; a block keeps its sums by persona and model (for pairs of
different items) and its sums within items. Memory does not grow with the number of ratings, and a resample is a matrix product.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from dprm_data.core.arrays import Floats, Ints

FACTORS = ("item", "persona", "model")
MOST_BLOCKS = 400
_FEWEST_BLOCKS = 64
_MOST_CELLS = 2_000_000  # of blocks × personas × models

Kind = frozenset[str]  # of factors that the two ratings of a pair share


def number_of_blocks(personas: int, models: int) -> int:
    """Into how many blocks items are divided: fewer where the panel is large, so that the sums stay small."""
    return int(np.clip(_MOST_CELLS // max(personas * models, 1), _FEWEST_BLOCKS, MOST_BLOCKS))


class PairSums:
    """Sums over all pairs of ratings, by the factors that the two share. Ratings are added in batches; a batch holds all ratings of its items.

    blocks, personas, models: their numbers. columns: which columns of a rating's values (R, D) make up one measure, such as [1, K] for its reward and
    its label as an indicator; the difference of two ratings in a measure is half the squared Euclidean distance.
    """

    def __init__(self, blocks: int, personas: int, models: int, columns: Sequence[int] = (1,)) -> None:
        self.blocks, self.personas, self.models = blocks, personas, models
        self._measure = np.repeat(np.arange(len(columns)), columns)
        self._others = [name for name, levels in (("persona", personas), ("model", models)) if levels > 1]
        self._subsets = [
            frozenset(some) for n in range(len(self._others) + 1) for some in combinations(self._others, n)
        ]
        D, M = sum(columns), len(columns)
        cells = (blocks, personas * models)
        self._count = np.zeros(cells)
        self._total = np.zeros((D, *cells))
        self._squares = np.zeros((M, *cells))
        self._ratings = np.zeros(blocks)
        # Within items, over groups that share at least a subset of the others: sum of n², and sum over pairs of the difference.
        self._within_count = np.zeros((len(self._subsets), blocks))
        self._within = np.zeros((len(self._subsets), M, blocks))

    def add(self, block: Ints, item: Ints, persona: Ints, model: Ints, values: Floats) -> None:
        """Add ratings: block, item, persona, model (R,) as numbers from 0 (item: within this batch), values (R, D)."""
        if not len(item):
            return
        squares = np.stack([(values[:, self._measure == m] ** 2).sum(axis=1) for m in range(len(self._squares))])
        place = (block * self.personas + persona) * self.models + model
        self._count += _summed(place, None, self._count.shape)
        for d, total in enumerate(self._total):
            total += _summed(place, values[:, d], total.shape)
        for m, total in enumerate(self._squares):
            total += _summed(place, squares[m], total.shape)
        self._ratings += np.bincount(block, minlength=self.blocks)
        for s, subset in enumerate(self._subsets):
            code = item
            if "persona" in subset:
                code = code * self.personas + persona
            if "model" in subset:
                code = code * self.models + model
            _, first, group = np.unique(code, return_index=True, return_inverse=True)
            n = np.bincount(group).astype(np.float64)
            of_block = block[first]
            self._within_count[s] += np.bincount(of_block, weights=n**2, minlength=self.blocks)
            for m in range(len(self._squares)):
                twice = np.bincount(group, weights=squares[m]) * n
                for column in np.flatnonzero(self._measure == m):
                    twice -= np.bincount(group, weights=values[:, column]) ** 2
                self._within[s, m] += np.bincount(of_block, weights=0.5 * twice, minlength=self.blocks)

    def semivariances(self, weights: Floats, measure: int = 0) -> tuple[dict[Kind, Floats], dict[Kind, Floats]]:
        """gamma_S and the number of pairs, for every kind S of pairs, under weights of the blocks (B, blocks); each (B,), NaN where there are no pairs."""
        apart, inside = self._pairs(weights, measure)
        found, pairs = {}, {}
        for sums, name in ((apart, frozenset[str]()), (inside, frozenset({"item"}))):
            for subset in self._subsets:
                more = [other for other in self._subsets if other >= subset]
                signs = [(-1.0) ** (len(other) - len(subset)) for other in more]
                square = np.sum([sign * sums[other][0] for sign, other in zip(signs, more, strict=True)], axis=0)
                count = np.sum([sign * sums[other][1] for sign, other in zip(signs, more, strict=True)], axis=0)
                kind = subset | name
                pairs[kind] = np.where(count > 0.5, count, 0.0)  # what is left of a difference of equal sums
                safe = np.where(count > 0.5, count, np.nan)
                found[kind] = np.maximum(square, 0.0) / safe
        return found, pairs

    def _pairs(self, weights: Floats, measure: int) -> tuple[dict[Kind, tuple[Floats, Floats]], ...]:
        """Of different items, and of one: for every subset of the other factors, sum of differences and number of the pairs that share at least it."""
        apart: dict[Kind, list[tuple[Floats, Floats]]] = {subset: [] for subset in self._subsets}
        step = max(1, _MOST_CELLS // self._count.shape[1])
        for start in range(0, len(weights), step):
            some = weights[start : start + step]
            count = self._cells(some @ self._count)
            totals = [self._cells(some @ self._total[d]) for d in np.flatnonzero(self._measure == measure)]
            squares = self._cells(some @ self._squares[measure])
            for s, subset in enumerate(self._subsets):
                gone = tuple(1 + i for i, name in enumerate(("persona", "model")) if name not in subset)
                W0, W2 = count.sum(axis=gone), squares.sum(axis=gone)
                twice = W0 * W2
                for total in totals:
                    twice -= total.sum(axis=gone) ** 2
                here = tuple(range(1, W0.ndim))
                square = 0.5 * twice.sum(axis=here) - some**2 @ self._within[s, measure]
                number = 0.5 * ((W0**2).sum(axis=here) - some**2 @ self._within_count[s])
                apart[subset].append((square, number))
        inside = {
            subset: (
                weights @ self._within[s, measure],
                0.5 * (weights @ (self._within_count[s] - self._ratings)),
            )
            for s, subset in enumerate(self._subsets)
        }
        joined = {
            subset: (np.concatenate([a for a, _ in parts]), np.concatenate([b for _, b in parts]))
            for subset, parts in apart.items()
        }
        return joined, inside

    def _cells(self, flat: Floats) -> Floats:
        return flat.reshape(len(flat), self.personas, self.models)

    @property
    def factors(self) -> tuple[str, ...]:
        """The factors with more than one level."""
        return ("item", *self._others)

    @property
    def filled(self) -> Ints:
        """The blocks that have ratings."""
        return np.flatnonzero(self._ratings)

    @property
    def ratings(self) -> int:
        return int(self._ratings.sum())


def _summed(place: Ints, weights: Floats | None, shape: tuple[int, ...]) -> Floats:
    return np.bincount(place, weights=weights, minlength=int(np.prod(shape))).reshape(shape).astype(np.float64)
