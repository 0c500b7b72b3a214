"""How good predicted distributions are: distances, scores, calibration, pairs, and how sure each figure is.

Everything works on rows: p (N, K) predicted, q (N, K) held-out. Figures that are means come with bootstrap intervals in which whole *groups* (responses to
one prompt) are drawn, since rows of a group are not independent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dprm_data.core.arrays import Floats, Ints
from dprm_data.labels.space import LabelSpace

_LEAST = 1e-12
_MOST_CELLS = 25_000_000  # of the table of draws: 200 MB; beyond it fewer draws are made, at least 100
BINS = 10
BAND = "pairs, "  # before the name of a band of pairs


@dataclass(frozen=True)
class Figure:
    """A value with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f}" + ("" if np.isnan(self.low) else f" [{self.low:.3f}, {self.high:.3f}]")


class Bootstrap:
    """Draws groups with replacement, the same draws for every figure: differences between models are then paired.

    groups: (N,) names. draws: (R, N) how often each row counts in each draw.
    """

    def __init__(self, groups: np.ndarray, *, resamples: int = 500, seed: int = 0) -> None:
        _, where = np.unique(groups, return_inverse=True)
        count = int(where.max(initial=-1)) + 1
        rng = np.random.default_rng(seed)
        resamples = min(resamples, max(100, _MOST_CELLS // max(len(where), 1)))
        self.draws = rng.multinomial(count, np.full(count, 1.0 / count), size=resamples)[:, where].astype(np.float64)

    def mean(self, values: Floats, rows: Ints | None = None) -> Figure:
        """The mean of values (M,), each belonging to a row (the i-th to the i-th if `rows` (M,) is not given). NaN where there are none."""
        if not len(values):
            return Figure(np.nan, np.nan, np.nan)
        weights = self.draws if rows is None else self.draws[:, rows]
        total = weights.sum(axis=1)
        found = (weights @ values)[total > 0] / total[total > 0]
        return self._figure(float(values.mean()), found)

    def statistic(self, function: Callable[[Ints], float], rows: int) -> Figure:
        """Any statistic of row indices (with repetitions)."""
        draws = [np.repeat(np.arange(rows), draw.astype(int)) for draw in self.draws[:200]]
        return self._figure(function(np.arange(rows)), np.array([function(draw) for draw in draws if len(draw) > 2]))

    def _figure(self, value: float, found: Floats) -> Figure:
        found = found[np.isfinite(found)]
        low, high = np.quantile(found, [0.025, 0.975]) if len(found) else (np.nan, np.nan)
        return Figure(value, float(low), float(high))


def transport(p: Floats, q: Floats, cost: Floats) -> Floats:
    """Exact transport of every row under the ground cost: (N,), in its unit."""
    import torch

    from dprm_trainers.reward.losses import Transport

    return np.asarray(Transport(cost)(torch.from_numpy(p), torch.from_numpy(q)).numpy())


def steps(p: Floats, q: Floats, order: list[int]) -> Floats:
    """Wasserstein-1 at unit steps between the labels in this order: (N,)."""
    return np.asarray(np.abs(np.cumsum((p - q)[:, order], axis=1)[:, :-1]).sum(axis=1))


def cross_entropy(p: Floats, q: Floats) -> Floats:
    """-sum q log p: (N,), in nats: the negative log-likelihood of the held-out population."""
    return np.asarray(-(q * np.log(np.maximum(p, _LEAST))).sum(axis=1))


def entropy(p: Floats) -> Floats:
    """Of every row, in nats: low is sharp."""
    return cross_entropy(p, p)


def reliability(p: Floats, q: Floats, bins: int = BINS) -> list[tuple[float, float, int]]:
    """What was predicted and what was there, over all (row, label) cells: per bin of predicted probability the mean of p, the mean of q, and the number of cells."""
    at = np.minimum((p * bins).astype(int), bins - 1).ravel()
    count = np.bincount(at, minlength=bins)
    mean_p = np.bincount(at, p.ravel(), minlength=bins) / np.maximum(count, 1)
    mean_q = np.bincount(at, q.ravel(), minlength=bins) / np.maximum(count, 1)
    return [(float(a), float(b), int(n)) for a, b, n in zip(mean_p, mean_q, count, strict=True) if n]


def calibration_error(p: Floats, q: Floats, bins: int = BINS) -> float:
    """Expected calibration error of the cells: the mean of |mean p - mean q| over the bins, weighted by their cells.

    The targets are distributions, so a cell's truth is a probability and not 0 or 1. Source of the figure: Naeini et al., AAAI 2015.
    """
    found = reliability(p, q, bins)
    cells = sum(n for _, _, n in found)
    return sum(n * abs(a - b) for a, b, n in found) / cells if cells else float("nan")


def spearman(x: Floats, y: Floats) -> float:
    """Rank correlation, ties sharing their mean rank; NaN where one of them is constant."""
    from scipy.stats import rankdata

    a, b = rankdata(x), rankdata(y)
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum() / norm) if norm > 0 else float("nan")


def pair_outcomes(reward: Floats, pairs: Ints) -> Floats:
    """1 where the first of a pair (P, 2) has the higher reward, 0.5 at a tie, else 0: (P,)."""
    first, second = reward[pairs[:, 0]], reward[pairs[:, 1]]
    return np.asarray((first > second) + 0.5 * (first == second))


def pair_bands(values: Floats, names: tuple[str, ...] = ("low", "middle", "high")) -> dict[str, Ints]:
    """Pairs in three bands of like size by a value (P,): the band's name with its range, and the indices in it."""
    if len(values) < len(names):
        return {}
    order = np.argsort(values, kind="stable")
    parts = np.array_split(order, len(names))
    return {
        f"{name} ({values[part].min():.2g} to {values[part].max():.2g})": part
        for name, part in zip(names, parts, strict=True)
    }


def distribution_figures(
    p: Floats, q: Floats, space: LabelSpace, order: list[int], draws: Bootstrap
) -> dict[str, Figure]:
    """The figures of a predicted distribution, by their names in every table."""
    n = len(p)
    return {
        "ot": draws.mean(transport(p, q, space.ground_cost)),
        "w1": draws.mean(steps(p, q, order)),
        "nll": draws.mean(cross_entropy(p, q)),
        "ece": draws.statistic(lambda rows: calibration_error(p[rows], q[rows]), n),
        "entropy": draws.mean(entropy(p)),
    }


def reward_figures(reward: Floats, q: Floats, space: LabelSpace, pairs: Ints, draws: Bootstrap) -> dict[str, Figure]:
    """The figures that every reward has, scalar or expected: rank correlation, and accuracy on pairs in all and by bands."""
    expected = q @ space.rewards
    outcomes = pair_outcomes(reward, pairs)
    found = {
        "spearman": draws.statistic(lambda rows: spearman(reward[rows], expected[rows]), len(reward)),
        "pairs": draws.mean(outcomes, pairs[:, 0]),
    }
    margin = expected[pairs[:, 0]] - expected[pairs[:, 1]]
    disagreement = (1.0 - (q**2).sum(axis=1))[pairs].mean(axis=1)
    for what, values in (("margin", margin), ("disagreement", disagreement)):
        for name, part in pair_bands(values).items():
            found[f"{BAND}{what} {name}"] = draws.mean(outcomes[part], pairs[part, 0])
    return found
