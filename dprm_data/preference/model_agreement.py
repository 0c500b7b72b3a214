"""Agreement between the models of a panel, and of a stated distribution with votes: each beside what chance alone leaves between two halves of the votes.

Two means of few votes differ even where nothing else does. So the personas are divided into two halves A and B, and Wasserstein-1 compares a mean over half A with
a mean over half B, always: of two models (one model's A with the other's B), or of one model (its A with its own B), which is the *floor*. Distance minus floor is
what the models differ by. Agreement beyond chance is Krippendorff's alpha between two groups (`labels/statistics.py`) with squared differences of reward.

Intervals are bootstraps over items, as those of `variance_components.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from dprm_data.core.arrays import Floats, Ints
from dprm_data.labels.geometry import wasserstein
from dprm_data.labels.space import LabelSpace
from dprm_data.labels.statistics import Interval, Resamples, by_reward, ratio


@dataclass(frozen=True)
class ModelPair:
    """Two models on the items that both judged. reward_difference: mean reward of the first minus that of the second. distance, floor, beyond: Wasserstein-1
    of their halves, of one model's own halves, and the difference; None where a model has one persona an item."""

    models: tuple[str, str]
    items: int
    reward_difference: Interval
    alpha: Interval
    distance: Interval
    floor: Interval
    beyond: Interval


class ModelSums:
    """Sums over items for every pair of models. A batch holds all ratings of its items; memory does not grow with their number."""

    def __init__(self, blocks: int, models: Sequence[str], space: LabelSpace) -> None:
        self._models, self._space, self._blocks = list(models), space, blocks
        self._squared = by_reward(space.rewards)
        pairs = len(models) * (len(models) - 1) // 2
        self._items = np.zeros((pairs, blocks))
        self._difference = np.zeros((pairs, blocks))
        self._observed = np.zeros((pairs, blocks))
        self._shares = np.zeros((pairs, 2, blocks, space.K))
        self._halved = np.zeros((pairs, blocks))
        self._distance = np.zeros((pairs, blocks))
        self._floor = np.zeros((pairs, blocks))

    def add(self, block: Ints, item: Ints, model: Ints, half: Ints, probs: Floats) -> None:
        """Add ratings: block, item (numbers within this batch), model, half (0 or 1) of the persona, all (R,), and the labels' probabilities (R, K)."""
        if not len(item):
            return
        N, M, K = int(item.max()) + 1, len(self._models), self._space.K
        of_item = np.zeros(N, dtype=np.int64)
        of_item[item] = block
        place = (item * M + model) * 2 + half
        count = np.bincount(place, minlength=N * M * 2).reshape(N, M, 2).astype(np.float64)
        total = np.stack([np.bincount(place, probs[:, k], minlength=N * M * 2) for k in range(K)], axis=1)
        total = total.reshape(N, M, 2, K)
        means = total.sum(axis=2) / np.maximum(count.sum(axis=2), 1.0)[..., None]
        halves = total / np.maximum(count, 1.0)[..., None]
        for pair, (a, b) in enumerate(combinations(range(M), 2)):
            both = np.flatnonzero((count[:, [a, b]].sum(axis=2) > 0).all(axis=1))
            p, q, here = means[both, a], means[both, b], of_item[both]
            self._sum(self._items[pair], here, np.ones(len(both)))
            self._sum(self._difference[pair], here, (p - q) @ self._space.rewards)
            self._sum(self._observed[pair], here, np.einsum("uc,ck,uk->u", p, self._squared, q))
            for side, shares in enumerate((p, q)):
                for k in range(K):
                    self._sum(self._shares[pair, side, :, k], here, shares[:, k])
            full = np.flatnonzero((count[:, [a, b]] > 0).all(axis=(1, 2)))
            here = of_item[full]
            (a0, a1), (b0, b1) = (halves[full, m].transpose(1, 0, 2) for m in (a, b))
            self._sum(self._halved[pair], here, np.ones(len(full)))
            self._sum(self._distance[pair], here, 0.5 * (self._w1(a0, b1) + self._w1(a1, b0)))
            self._sum(self._floor[pair], here, 0.5 * (self._w1(a0, a1) + self._w1(b0, b1)))

    def _w1(self, p: Floats, q: Floats) -> Floats:
        return wasserstein(p, q, self._space.ground_cost)

    def _sum(self, into: Floats, block: Ints, values: Floats) -> None:
        into += np.bincount(block, weights=values, minlength=self._blocks)

    def pairs(self, drawn: Resamples, filled: Ints) -> list[ModelPair]:
        """Every pair of models, from resamples of the blocks that are filled."""
        w = drawn.weights
        found = []
        for pair, names in enumerate(combinations(self._models, 2)):
            n, halved = w @ self._items[pair, filled], w @ self._halved[pair, filled]
            p, q = (w @ self._shares[pair, side][filled] for side in (0, 1))
            expected = ratio(np.einsum("bc,ck,bk->b", p, self._squared, q), n**2)
            observed = ratio(w @ self._observed[pair, filled], n)
            distance, floor = (ratio(w @ sums[pair, filled], halved) for sums in (self._distance, self._floor))
            found.append(
                ModelPair(
                    models=names,
                    items=int(self._items[pair].sum()),
                    reward_difference=drawn.interval(ratio(w @ self._difference[pair, filled], n)),
                    alpha=drawn.interval(1.0 - ratio(observed, expected)),
                    distance=drawn.interval(distance),
                    floor=drawn.interval(floor),
                    beyond=drawn.interval(distance - floor),
                )
            )
        return found


@dataclass(frozen=True)
class StatedCheck:
    """A stated distribution against votes: mean Wasserstein-1 to half of an item's votes, in units of the ground cost.

    stated: of the stated distribution; other_half: of the other half of the votes; everyone: of one distribution for all items, the mean of all votes.
    """

    items: int
    stated: Interval
    other_half: Interval
    everyone: Interval
    worse_than_half: Interval
    better_than_everyone: Interval


def stated_check(
    stated: Floats, halves: Floats, groups: Sequence[str], space: LabelSpace, *, level: float = 0.95, seed: int = 0
) -> StatedCheck | None:
    """Compare stated distributions (N, K) with the means of two halves of the votes, halves (N, 2, K); None without an item. groups: items that are drawn together."""
    if not len(stated):
        return None
    drawn = Resamples.of(groups, level=level, seed=seed)
    cost, target, other = space.ground_cost, halves[:, 0], halves[:, 1]
    everyone = np.broadcast_to(halves.mean(axis=(0, 1)), target.shape)
    to_stated, to_half, to_everyone = (
        0.5 * (wasserstein(p, target, cost) + wasserstein(q, other, cost))
        for p, q in ((stated, stated), (other, target), (everyone, everyone))
    )
    return StatedCheck(
        items=len(stated),
        stated=drawn.mean(to_stated),
        other_half=drawn.mean(to_half),
        everyone=drawn.mean(to_everyone),
        worse_than_half=drawn.mean(to_stated - to_half),
        better_than_everyone=drawn.mean(to_everyone - to_stated),
    )
