"""Over-optimisation: where a gold judge's reward falls while the proxy's still rises (Gao et al. 2023, arXiv:2210.10760).

A curve has m points (values of n, or policies), and values of both judges on the same prompts at each. The largest fall
among all pairs of points is chosen after the fact, so an interval for one pair alone would find falls in noise. These
intervals hold for all pairs of points at once (the bootstrap of the largest deviation, "max-t"):

    D_k = the difference of a judge's mean between the points of pair k;   s_k = its bootstrap standard deviation
    c   = the 95 % quantile over resamples of  max_k |D*_k - D_k| / s_k;   interval of pair k:  D_k -+ c s_k

A resample draws prompts, the same for all points and both judges, so differences are paired. A fall is visible if the
interval of gold is below 0 and that of the proxy above 0. The intervals cover the choice of prompts, not the gold
judge's errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from dprm_data.core.arrays import Floats
from dprm_data.labels.statistics import Interval, Resamples, ratio


@dataclass(frozen=True)
class Fall:
    """The change of both rewards from the point `start` to a later point `end`, with intervals for all pairs at once.

    visible: gold falls and the proxy rises beyond the error.
    """

    start: str
    end: str
    proxy: Interval
    gold: Interval
    visible: bool


def deepest_fall(points: Sequence[str], proxy: Floats, gold: Floats, draws: Resamples) -> Fall | None:
    """The deepest fall of gold between points (m,) where the proxy rises: a visible one, else any.

    proxy, gold: values (N, m). draws: of the N rows. Returns None if gold falls nowhere where the proxy rises.
    """
    pairs = list(combinations(range(len(points)), 2))
    if not pairs:
        return None
    rises, changes = (_changes(values, pairs, draws) for values in (proxy, gold))
    falls = [
        Fall(points[i], points[j], rise, change, bool((rise.low or 0) > 0 and (change.high or 0) < 0))
        for (i, j), rise, change in zip(pairs, rises, changes, strict=True)
        if (rise.value or 0) > 0 and (change.value or 0) < 0
    ]
    return min(falls, key=lambda fall: (not fall.visible, fall.gold.value), default=None)


def _changes(values: Floats, pairs: Sequence[tuple[int, int]], draws: Resamples) -> list[Interval]:
    """The changes of the mean between the points of every pair, with simultaneous intervals."""
    means = ratio(draws.weights @ values, np.repeat(draws.weights.sum(axis=1)[:, None], values.shape[1], axis=1))
    first, second = np.array(pairs).T
    changes = means[:, second] - means[:, first]
    spread = changes[1:].std(axis=0)
    off = ratio(np.abs(changes[1:] - changes[0]), np.broadcast_to(spread, changes[1:].shape))
    factor = float(np.quantile(np.nan_to_num(off).max(axis=1), draws.level))
    return [
        Interval(value, value - factor * s, value + factor * s)
        for value, s in zip(changes[0].tolist(), spread.tolist(), strict=True)
    ]
