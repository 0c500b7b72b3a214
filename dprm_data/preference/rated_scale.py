"""Votes on one scale with who gave them, sorted by item: what the model of raters is learned from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dprm_data.core.arrays import Floats, Ints
from dprm_data.preference.axes import Node
from dprm_data.preference.text_reading import TextReading


@dataclass(frozen=True)
class RatedScale:
    """V votes on a scale of L levels: `item`, `rater`, `level` (V,), as short as they can be, and `weight` (V,), sorted by item; `items`, `raters`: how many there are.

    `rest` (items, L): votes on this scale of which nobody knows who gave them; `text`: what the items' texts say about them, if anything.
    """

    item: NDArray[np.int32]
    rater: NDArray[np.int32]
    level: NDArray[np.int32]
    weight: Floats
    items: int
    raters: int
    rest: Floats
    text: TextReading | None = None

    def __len__(self) -> int:
        return len(self.item)

    @property
    def levels(self) -> int:
        return int(self.rest.shape[1])

    @classmethod
    def of(
        cls, item: Ints, rater: Ints, label: Ints, weight: Floats, counts: Floats, raters: int, node: Node
    ) -> RatedScale:
        """The votes (V,) that fall on a node. `counts` (N, K): all votes of the items, those without a rater among them.

        Votes of weight 0 are left out.
        """
        level_of = np.full(counts.shape[1], -1)
        for number, branch in enumerate(node.branches):
            level_of[list(branch)] = number
        level = level_of.astype(np.int32)[label]
        kept = np.flatnonzero((level >= 0) & (weight > 0))
        kept = kept[np.argsort(item[kept], kind="stable")]
        none = np.zeros((len(counts), node.levels))
        own = cls(
            item[kept].astype(np.int32),
            rater[kept].astype(np.int32),
            level[kept],
            weight[kept],
            len(counts),
            raters,
            none,
        )
        return own.counting(node.votes(counts))

    def votes(self) -> Floats:
        """The weighted counts (items, L) of all votes."""
        own = np.bincount(
            self.item.astype(np.int64) * self.levels + self.level, weights=self.weight, minlength=self.rest.size
        )
        return np.asarray(own.reshape(self.rest.shape) + self.rest)

    def log_weights(self, weights: Floats, items: slice) -> Floats:
        """The logarithms of the prior weights (G,) of some items: the same for all, or (n, G) if their texts tell."""
        log_weights = np.log(np.maximum(weights, 1e-30))
        return log_weights if self.text is None else self.text.log_weights(items, log_weights)

    def counting(self, votes: Floats) -> RatedScale:
        """The same with other votes (items, L) in all: what they have besides those with raters has none."""
        rest = votes - (self.votes() - self.rest)
        rest[rest < 1e-9] = 0.0
        return replace(self, rest=rest)

    def take(self, rows: Ints) -> RatedScale:
        """These votes only, in their order; items and raters keep their numbers."""
        return replace(
            self, item=self.item[rows], rater=self.rater[rows], level=self.level[rows], weight=self.weight[rows]
        )

    def of_items(self, kept: Ints) -> RatedScale:
        """The votes on these items (ascending), which are numbered anew."""
        number = np.full(self.items, -1, dtype=np.int32)
        number[kept] = np.arange(len(kept))
        taken = self.take(np.flatnonzero(number[self.item] >= 0))
        text = self.text and self.text.take(kept)
        return replace(taken, item=number[taken.item], items=len(kept), rest=self.rest[kept], text=text)

    def thinned(self, most: int, seed: int = 0) -> tuple[RatedScale, Ints]:
        """At most about `most` votes, those on a random choice of items (always the same), and which items."""
        if len(self) <= most:
            return self, np.arange(self.items)
        order = np.random.default_rng(seed).permutation(self.items)
        size = np.cumsum(np.bincount(self.item, minlength=self.items)[order])
        kept = np.sort(order[: max(int(np.searchsorted(size, most)), 2)])
        return self.of_items(kept), kept
