"""Pairwise calibration: where the panel says that a share of people prefers one response to another, does that share of people prefer it?

Of two items a, b the share that rates a higher, ties counting half, is  s = sum over k > l of p_a(k) p_b(l) + half of sum over k of p_a(k) p_b(k),  from the two distributions as if nobody had judged both.
The error is the mean squared difference between the panel's share and that of a random half of the people; `floor` is that of the other half of the people, `average` that of a panel that says one half of every pair. The reliability table has the crowd's mean share by tenth of the panel's.

Pairs are responses to one prompt; where the set has too few of these, random pairs of items, which is said: such pairs are easier to tell apart.

Source: the criterion is that of Pairwise Calibrated Rewards for Pluralistic Alignment (arXiv 2506.06298), with ties.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dprm_data.core.arrays import Floats, Ints
from dprm_data.labels.space import LabelSpace
from dprm_data.labels.statistics import Interval, Resamples
from dprm_data.validation.distance import Halves

MOST_PAIRS = 2_000
_LEAST_PAIRS = 30
_BINS = 10


@dataclass(frozen=True)
class Bin:
    """Pairs whose share, as the panel says it, lies in one tenth: their number, the mean of the panel's share and of the crowd's."""

    pairs: int
    said: float
    true: float


@dataclass(frozen=True)
class PairwiseCalibration:
    """error, floor, average: see the module. same_prompt: whether pairs are of one prompt. accuracy: of pairs in which the crowd is not evenly divided, the share in which the panel is on its side."""

    pairs: int
    same_prompt: bool
    error: Interval
    floor: Interval
    average: Interval
    accuracy: Interval
    bins: tuple[Bin, ...]


def share_preferring(p: Floats, q: Floats, space: LabelSpace) -> Floats:
    """The share that rates the first of two items higher, ties half, from their distributions (M, K), shape (M,)."""
    r = space.rewards
    higher = (r[:, None] > r[None, :]) + 0.5 * (r[:, None] == r[None, :])
    return np.asarray(np.einsum("mk,kl,ml->m", p, higher.astype(np.float64), q))


def pairwise_calibration(
    prediction: Floats, counts: Floats, groups: Sequence[str], space: LabelSpace, *, level: float, seed: int = 0
) -> PairwiseCalibration | None:
    """Of a prediction (N, K), NaN where it leaves an item out. None with fewer than 30 pairs. Intervals are over pairs' first items."""
    there = np.flatnonzero(np.isfinite(prediction).all(axis=1))
    pairs, same_prompt = _pairs(there, np.asarray(groups), np.random.default_rng(seed))
    if len(pairs) < _LEAST_PAIRS:
        return None
    a, b = pairs.T
    shares = counts / counts.sum(axis=1, keepdims=True)
    said, true = (share_preferring(one[a], one[b], space) for one in (prediction, shares))
    first, second = (half / half.sum(axis=1, keepdims=True) for half in Halves.of(counts, seed=seed).once)
    target, half = share_preferring(second[a], second[b], space), share_preferring(first[a], first[b], space)
    draw = Resamples.of(np.asarray(groups)[a], level=level, seed=seed)
    divided = np.abs(true - 0.5) > 1e-9
    right = np.where(divided, 0.5 + 0.5 * np.sign((said - 0.5) * (true - 0.5)), np.nan)
    return PairwiseCalibration(
        len(pairs),
        same_prompt,
        draw.mean((said - target) ** 2),
        draw.mean((half - target) ** 2),
        draw.mean((0.5 - target) ** 2),
        draw.mean(right),
        _bins(said, true),
    )


def _pairs(there: Ints, groups: np.ndarray, rng: np.random.Generator) -> tuple[Ints, bool]:
    """Pairs of items (M, 2), each in random order, and whether they are of one prompt."""
    of: dict[str, list[int]] = {}
    for i in there.tolist():
        of.setdefault(str(groups[i]), []).append(i)
    found = [(i, j) for rows in of.values() for at, i in enumerate(rows) for j in rows[at + 1 :]]
    same_prompt = len(found) >= _LEAST_PAIRS
    if not same_prompt and len(there) > 1:
        drawn = rng.choice(there, size=(2 * MOST_PAIRS, 2))
        drawn = np.unique(np.sort(drawn[drawn[:, 0] != drawn[:, 1]], axis=1), axis=0)
        found = [(int(i), int(j)) for i, j in drawn]
    pairs = np.array(found, dtype=np.int64).reshape(-1, 2)
    if len(pairs) > MOST_PAIRS:
        pairs = pairs[np.sort(rng.choice(len(pairs), MOST_PAIRS, replace=False))]
    turned = rng.random(len(pairs)) < 0.5
    pairs[turned] = pairs[turned][:, ::-1]
    return pairs, same_prompt


def _bins(said: Floats, true: Floats) -> tuple[Bin, ...]:
    tenth = np.minimum((said * _BINS).astype(np.int64), _BINS - 1)
    return tuple(
        Bin(int(mine.sum()), float(said[mine].mean()), float(true[mine].mean()))
        for k in range(_BINS)
        if (mine := tenth == k).any()
    )
