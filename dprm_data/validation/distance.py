"""How far predicted distributions are from a crowd's, beside what bounds them from below and above.

*One yardstick.* Every item's votes are cut in two random halves of equal size (±1), several times; everything is scored against the second half, and its per-item score is the mean over
the cuts. So a panel, the average of all items, and the first half of the people itself (the *floor*: people against people) are measured against the same votes.

    W1     Wasserstein-1 between the prediction and the second half's shares, in units of reward. Not a proper score: it also counts the chance in few votes.
    RPS    mean squared difference of the distribution functions at the K - 1 cuts. Proper.
    log    mean log-probability of the second half's votes, in nats. Proper; a probability below 0.001 counts as 0.001.

*The whole crowd.* Infinitely many people would still not score 0 against m votes: with F the distribution function of their opinion, their expected RPS is sum F (1 - F) / (m (K - 1)).
Of n votes with shares f, n / (n - 1) f (1 - f) estimates F (1 - F) without bias. So the score of a perfect prediction is known, though nobody knows that prediction.

*Skill* is where a score lies between that of the average over items (0) and that of the whole crowd (1), by RPS:

    skill = (RPS of the average - RPS) / (RPS of the average - RPS of the whole crowd)

Negative: worse than saying the same of every item. The average of an item is taken over the items of other prompts, so that it has not seen the item.

Source: Gneiting & Raftery, Strictly proper scoring rules (2007).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dprm_data.core.arrays import Floats
from dprm_data.labels.geometry import cdf_difference, has_closed_form, reward_order, wasserstein
from dprm_data.labels.space import LabelSpace
from dprm_data.labels.statistics import Interval, Resamples, ratio
from dprm_data.preference.scores import LEAST

UNIFORM, AVERAGE, HALF, WHOLE = "uniform", "average of all items", "half of the people", "the whole crowd"
_CUTS = 20
_CUTS_WITHOUT_CLOSED_FORM = 3  # each is a linear program per item


@dataclass(frozen=True)
class Halves:
    """Both halves of every item's votes, in S random cuts: first, second (S, N, K)."""

    first: Floats
    second: Floats

    @classmethod
    def of(cls, counts: Floats, *, cuts: int = 1, seed: int = 0) -> Halves:
        """Cut counts (N, K) of two votes or more; the second half has the odd vote. More cuts with the same seed begin with the fewer."""
        rng = np.random.default_rng(seed)
        whole = np.rint(counts).astype(np.int64)
        sizes = whole.sum(axis=1) // 2
        first = np.array(
            [
                [rng.multivariate_hypergeometric(votes, size) for votes, size in zip(whole, sizes, strict=True)]
                for _ in range(cuts)
            ],
            dtype=np.float64,
        )
        return cls(first, whole[None] - first)

    @property
    def once(self) -> tuple[Floats, Floats]:
        """Both halves (N, K) of the first cut."""
        return self.first[0], self.second[0]


@dataclass(frozen=True)
class Distance:
    """One prediction's scores, with intervals over items. skill: see the module. w1, log: None for the whole crowd, whose prediction is not known."""

    name: str
    items: int
    w1: Interval | None
    rps: Interval
    log: Interval | None
    skill: Interval


def average_of_others(counts: Floats, groups: Sequence[str]) -> Floats:
    """For every item the mean of the shares (N, K) of the items of other prompts; uniform where there are none."""
    shares = counts / counts.sum(axis=1, keepdims=True)
    _, group = np.unique(np.asarray(groups), return_inverse=True)
    sums = np.zeros((int(group.max(initial=-1)) + 1, counts.shape[1]))
    np.add.at(sums, group, shares)
    others = shares.sum(axis=0) - sums[group]
    left = others.sum(axis=1, keepdims=True)
    return np.asarray(np.where(left > 0.5, others / np.maximum(left, 0.5), 1.0 / counts.shape[1]))


def distances(
    predictions: Mapping[str, Floats],
    counts: Floats,
    groups: Sequence[str],
    space: LabelSpace,
    draw: Resamples,
    *,
    seed: int = 0,
) -> list[Distance]:
    """Scores of predictions by name, each (N, K) with NaN for items that it leaves out, of people's counts (N, K); before them uniform and the average, after them half of the people and
    the whole crowd. A prediction that leaves items out is compared with the average and the crowd on its own items."""
    cuts = _CUTS if has_closed_form(space.ground_cost) else _CUTS_WITHOUT_CLOSED_FORM
    halves = Halves.of(counts, cuts=cuts, seed=seed)
    average = average_of_others(counts, groups)
    bounds = {UNIFORM: np.full_like(average, 1.0 / space.K), AVERAGE: average}
    of_average = _rps(average, halves, space)
    of_crowd = whole_crowd_rps(counts, halves.second.sum(axis=2)[0], space)
    found = []
    for name, prediction in {**bounds, **predictions}.items():
        rps = _rps(prediction, halves, space)
        w1, log = _w1(prediction, halves, space), _log(prediction, halves)
        found.append(_distance(name, w1, rps, log, of_average, of_crowd, draw))
    first = halves.first
    own = first / first.sum(axis=2, keepdims=True)
    # With one vote of the average: a label that nobody chose is not impossible.
    likely = (first + average[None]) / (first.sum(axis=2, keepdims=True) + 1.0)
    half = (_w1(own, halves, space), _rps(own, halves, space), _log(likely, halves))
    found.append(_distance(HALF, *half, of_average, of_crowd, draw))
    nothing = np.full(len(counts), np.nan)
    return [*found, _distance(WHOLE, nothing, of_crowd, nothing, of_average, of_crowd, draw)]


def whole_crowd_rps(counts: Floats, held: Floats, space: LabelSpace) -> Floats:
    """The expected RPS of the true distribution against `held` votes (N,), estimated from counts (N, K) without bias (N,)."""
    return np.asarray(spread_between_people(counts, space) / held)


def spread_between_people(counts: Floats, space: LabelSpace) -> Floats:
    """Mean of F (1 - F) over the K - 1 cuts, F the distribution function of the crowd's opinion: estimated from counts (N, K) without bias (N,)."""
    n = counts.sum(axis=1)
    F = np.cumsum((counts / n[:, None])[:, reward_order(space.rewards)], axis=1)[:, :-1]
    return np.asarray((F * (1.0 - F)).mean(axis=1) * n / (n - 1.0))


def squared_error(prediction: Floats, counts: Floats, space: LabelSpace) -> Floats:
    """The squared Cramér distance between a prediction (N, K) and the crowd's opinion, mean over the cuts, estimated without bias (N,): the chance in people's votes is subtracted."""
    n = counts.sum(axis=1)
    difference = cdf_difference(prediction, counts / n[:, None], reward_order(space.rewards))
    return np.asarray((difference**2).mean(axis=1) - spread_between_people(counts, space) / n)


def _distance(
    name: str, w1: Floats, rps: Floats, log: Floats, average: Floats, crowd: Floats, draw: Resamples
) -> Distance:
    there = np.isfinite(rps)
    weights = draw.weights[:, there]
    gained = weights @ (average - rps)[there]
    possible = weights @ (average - crowd)[there]
    skill = np.where(possible > 0, ratio(gained, np.maximum(possible, 1e-300)), np.nan)
    return Distance(
        name,
        int(there.sum()),
        draw.mean(w1) if np.isfinite(w1).any() else None,
        draw.mean(rps),
        draw.mean(log) if np.isfinite(log).any() else None,
        draw.interval(skill),
    )


def _second(halves: Halves) -> Floats:
    return np.asarray(halves.second / halves.second.sum(axis=2, keepdims=True))


def _each(prediction: Floats, halves: Halves) -> Floats:
    """A prediction (N, K), or one per cut (S, N, K), for every cut."""
    return np.broadcast_to(prediction, halves.second.shape)


def _rps(prediction: Floats, halves: Halves, space: LabelSpace) -> Floats:
    gap = (_each(prediction, halves) - _second(halves))[:, :, reward_order(space.rewards)]
    return np.asarray((np.cumsum(gap, axis=2)[:, :, :-1] ** 2).mean(axis=(0, 2)))


def _log(prediction: Floats, halves: Halves) -> Floats:
    logs = np.log(np.maximum(_each(prediction, halves), LEAST))
    logs = np.where(np.isfinite(_each(prediction, halves)), logs, np.nan)
    return np.asarray((_second(halves) * logs).sum(axis=2).mean(axis=0))


def _w1(prediction: Floats, halves: Halves, space: LabelSpace) -> Floats:
    there = np.flatnonzero(np.isfinite(_each(prediction, halves)).all(axis=(0, 2)))
    found = np.full(halves.second.shape[1], np.nan)
    each = [
        wasserstein(p[there], q[there], space.ground_cost)
        for p, q in zip(_each(prediction, halves), _second(halves), strict=True)
    ]
    found[there] = np.mean(each, axis=0)
    return found
