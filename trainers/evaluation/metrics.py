"""How good predicted distributions are: distances, scores, calibration, pairs, each with its bootstrap interval.

Everything works on rows: p (N, K) predicted, q (N, K) held-out. The intervals resample whole *groups* (responses to one prompt), since rows of a group are not
independent (`dprm_data.labels.statistics`).
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from dprm_data.core.arrays import Floats, Ints
from dprm_data.labels.geometry import reward_order, wasserstein, wasserstein_in_steps
from dprm_data.labels.space import LabelSpace
from dprm_data.labels.statistics import Interval, Resamples
from dprm_data.preference.pairs import outcomes
from dprm_trainers.reward.risk_measures import reward_std
from dprm_trainers.reward.rivals import cross_entropy, rps

BINS = 10
BAND = "pairs, "  # before the name of a band of pairs
LOWER, HIGHER = "lower is better", "higher is better"
MEANINGS = {  # of a figure by its name, for readers
    "ot": ("optimal transport from the predicted to the held-out distribution, in units of reward", LOWER),
    "w1": ("Wasserstein-1 at unit steps between the labels, in the order of their rewards", LOWER),
    "rps": ("ranked probability score: a proper score that knows the order of the labels", LOWER),
    "nll": ("cross-entropy of the held-out distribution, nats", LOWER),
    "ece": ("expected calibration error of the cells of row and label", LOWER),
    "entropy": ("of the prediction, nats: low is sharp, which is good only where nll is good, too", ""),
    "spread": ("rank correlation of the predicted and held-out standard deviation of the reward", HIGHER),
    "spearman": ("rank correlation of the predicted and held-out expected reward", HIGHER),
    "pairs": ("share of pairs of responses in the held-out order; a tie counts half", HIGHER),
    "pair brier": ("mean squared error of the predicted share of people who prefer the first response", LOWER),
    "pair kl": ("log score of that share less the least it can be, nats", LOWER),
    "pair ece": ("expected calibration error of that share", LOWER),
}

Curve: TypeAlias = list[tuple[float, float, int]]  # of a bin: mean predicted, mean observed, number of cells


def entropy(p: Floats) -> Floats:
    """Of every row, in nats: low is sharp."""
    return cross_entropy(p, p)


def reliability(p: Floats, q: Floats, bins: int = BINS) -> Curve:
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


def distribution_figures(p: Floats, q: Floats, space: LabelSpace, draws: Resamples) -> dict[str, Interval]:
    """The figures of a predicted distribution, by their names in every table. One distribution for all rows has no
    rank correlation of its spread."""
    found = {
        "ot": draws.mean(wasserstein(p, q, space.ground_cost)),
        "w1": draws.mean(wasserstein_in_steps(p, q, reward_order(space.rewards))),
        "rps": draws.mean(rps(p, q, space)),
        "nll": draws.mean(cross_entropy(p, q)),
        "ece": draws.statistic(lambda rows: calibration_error(p[rows], q[rows])),
        "entropy": draws.mean(entropy(p)),
    }
    if (p != p[0]).any() and (q != q[0]).any():
        spread, seen = reward_std(p, space.rewards), reward_std(q, space.rewards)
        found["spread"] = draws.statistic(lambda rows: spearman(spread[rows], seen[rows]))
    return found


def reward_figures(reward: Floats, q: Floats, space: LabelSpace, pairs: Ints, draws: Resamples) -> dict[str, Interval]:
    """The figures that every reward has, scalar or expected: rank correlation, and accuracy on pairs in all and by bands."""
    expected = q @ space.rewards
    right = outcomes(reward, pairs)
    found = {
        "spearman": draws.statistic(lambda rows: spearman(reward[rows], expected[rows])),
        "pairs": draws.mean(right, pairs[:, 0]),
    }
    margin = expected[pairs[:, 0]] - expected[pairs[:, 1]]
    disagreement = (1.0 - (q**2).sum(axis=1))[pairs].mean(axis=1)
    for what, values in (("margin", margin), ("disagreement", disagreement)):
        for name, part in pair_bands(values).items():
            found[f"{BAND}{what} {name}"] = draws.mean(right[part], pairs[part, 0])
    return found
