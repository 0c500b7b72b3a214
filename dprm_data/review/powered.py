"""Prediction-powered inference (PPI++): people's means, shares and differences over all items, from the panel's predictions for all items and people's answers to some.

The panel predicts f_i for each of N items (its expected reward, or a label's probability). People give answers y_ij to n of them, chosen at random or with weights u_i. People's mean over all items
is estimated by

    theta = lambda mean_all f  +  mean_reviewed (y - lambda f)                      (weighted by u_i; an item's answers share its weight)

For every lambda it is unbiased, however wrong the panel is, because the panel's predictions for the reviewed items are subtracted again. The variance is least at

    lambda = Cov(y, f) / [(1 + n / N) Var f],          in [0, 1],  y an item's mean answer

lambda = 0 is people alone. The variance is the sum of the panel's part over all items, lambda^2 Var(f) / N, and that of the residuals e_ij = y_ij - lambda f_i, which are clustered by item
and by person:

    V = V_items + V_people - V_answers        (two-way clustering: Cameron, Gelbach & Miller 2011), never below any of its parts

The interval uses Student's t with min(items, people) - 1 degrees of freedom. For a difference of two groups of items (policies, sources, models) f and y are signed and
scaled, so that a person who judges both sides cancels.

*Worth of an answer*: the variance of people alone over that of both. So many times as many answers would be needed without the panel.

Source: Angelopoulos, Duchi & Zrnic, PPI++: Efficient Prediction-Powered Inference (2023).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from dprm_data.core.arrays import Floats, Ints
from dprm_data.core.errors import ReviewError
from dprm_data.labels.statistics import Interval

LEAST = 2  # reviewed items, and people, of each side


@dataclass(frozen=True)
class Estimate:
    """A mean over all items, or a difference of two means: from people and panel together, from people alone, and from the panel alone (which has no valid interval). power:
    lambda; worth: how many answers without the panel one answer with it replaces; items, reviewed, answers, people: their numbers."""

    both: Interval
    people_alone: Interval
    panel_alone: float
    power: float
    worth: float
    items: int
    reviewed: int
    answers: int
    people: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def powered_mean(
    panel: Floats, item: Ints, person: Ints, answer: Floats, *, stands_for: Floats | None = None, level: float = 0.9
) -> Estimate:
    """The mean of people over N items. panel (N,): f; item, person, answer (R,): y_ij, with the items' rows; stands_for (N,): u_i, 1 if not given.

    Raises `ReviewError` with fewer than two items or two people.
    """
    u = np.ones(len(panel)) if stands_for is None else stands_for
    return _estimate(
        panel, np.full(len(panel), 1.0 / max(len(panel), 1)), item, person, answer, _shares(item, u, 1.0), level
    )


def powered_difference(
    panel: Floats,
    side: Ints,
    item: Ints,
    person: Ints,
    answer: Floats,
    *,
    stands_for: Floats | None = None,
    level: float = 0.9,
) -> Estimate:
    """The mean over the items of side 1 minus that of side 0; side (N,) is 1, 0, or -1 for items of neither. Otherwise as `powered_mean`."""
    u = np.ones(len(panel)) if stands_for is None else stands_for
    over_all, over_answers = np.zeros(len(panel)), np.zeros(len(item))
    for which, sign in ((1, 1.0), (0, -1.0)):
        mine, said = side == which, np.flatnonzero(side[item] == which)
        over_all[mine] = sign / max(int(mine.sum()), 1)
        _check(item[said], person[said])
        over_answers[said] = _shares(item[said], u, sign)
    kept = np.flatnonzero(over_answers)
    return _estimate(panel, over_all, item[kept], person[kept], answer[kept], over_answers[kept], level)


def _estimate(
    f: Floats, over_all: Floats, item: Ints, person: Ints, y: Floats, share: Floats, level: float
) -> Estimate:
    """share (R,): every answer's share in the mean of the reviewed items; with over_all (N,), the weights of a sum over all."""
    from scipy.stats import t as student

    _check(item, person)
    at = f[item]
    # Residuals are taken about each side's own mean, whose weights have one sign.
    sides = [np.flatnonzero(share * sign > 0) for sign in (1.0, -1.0)]

    def spread(e: Floats) -> Floats:
        centred = e.copy()
        for rows in sides:
            if len(rows):
                centred[rows] -= (np.abs(share[rows]) @ e[rows]) / np.abs(share[rows]).sum()
        return share * centred

    def variance(e: Floats) -> float:
        scores = spread(e)
        by_item, by_person = (float((np.bincount(who, scores) ** 2).sum()) for who in (item, person))
        single = float((scores**2).sum())
        counts = [len(np.unique(who)) for who in (item, person)]
        corrected = [part * n / (n - 1) for part, n in zip((by_item, by_person), counts, strict=True)]
        return max(sum(corrected) - single, *corrected)

    of_all = 0.0
    for sign in (1.0, -1.0):
        rows = np.flatnonzero(over_all * sign > 0)
        if len(rows) > 1:
            of_all += float(f[rows].var(ddof=1)) / len(rows)
    power = _power(f, item, y, share, over_all)
    alone, together = variance(y), variance(y - power * at) + power**2 * of_all
    freedom = min(len(np.unique(item)), len(np.unique(person))) - 1
    quantile = float(student.ppf(0.5 * (1.0 + level), freedom))
    people, panel = float(share @ y), float(over_all @ f)

    def interval(value: float, v: float) -> Interval:
        return Interval(value, value - quantile * v**0.5, value + quantile * v**0.5)

    return Estimate(
        both=interval(people + power * (panel - float(share @ at)), together),
        people_alone=interval(people, alone),
        panel_alone=panel,
        power=power,
        worth=alone / together if together > 0 else 1.0,
        items=int((over_all != 0).sum()),
        reviewed=len(np.unique(item)),
        answers=len(item),
        people=len(np.unique(person)),
    )


def _power(f: Floats, item: Ints, y: Floats, share: Floats, over_all: Floats) -> float:
    """lambda from the items' mean answers alone. Minimising the clustered variance itself would make the variance estimate too small."""
    top = bottom = 0.0
    for sign in (1.0, -1.0):
        said, all_of_it = np.flatnonzero(share * sign > 0), np.flatnonzero(over_all * sign > 0)
        if not len(said):
            continue
        weight = np.bincount(item[said], np.abs(share[said]), minlength=len(f))
        rows = np.flatnonzero(weight)
        mean = np.bincount(item[said], np.abs(share[said]) * y[said], minlength=len(f))[rows] / weight[rows]
        w = weight[rows] / weight[rows].sum()
        x, z = f[rows] - w @ f[rows], mean - w @ mean
        n, N = 1.0 / (w @ w), len(all_of_it)
        top += float(w @ (x * z)) / n
        bottom += float(w @ (x * x)) / n + (float(f[all_of_it].var()) / N if N else 0.0)
    return float(np.clip(top / bottom, 0.0, 1.0)) if bottom > 0 else 0.0


def _shares(item: Ints, u: Floats, sign: float) -> Floats:
    """Every answer's share: an item's weight is divided among its answers."""
    answers = np.bincount(item, minlength=len(u)).astype(np.float64)
    total = float(u[answers > 0].sum())
    return np.asarray(sign * u[item] / answers[item] / max(total, 1e-300))


def _check(item: Ints, person: Ints) -> None:
    items, people = len(np.unique(item)), len(np.unique(person))
    if items < LEAST or people < LEAST:
        raise ReviewError(
            f"{items} items reviewed by {people} people: an interval needs at least {LEAST} of each (on each side of a difference)",
            hint="Have more items reviewed by more people: dprm review push.",
        )
