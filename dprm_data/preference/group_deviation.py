"""The variance of item x group: how far a group's view of an item differs from the others', beyond its severity.

With y the votes' values less their side's mean, and pairs of votes on one item, the covariances C of two of the group's own votes, two of the others', and one of each give

    d = C_own + C_others - 2 C_between = Var(the group's view of an item - the others')

free of the items' own variance, of severities and of the votes' noise. r = d / s², s² the variance of a vote within its item and side. The standard error is that of d over items. r is
shrunk like severities: with the prior weight 0.9 it is 0 (a group that differs on items beyond its severity is the exception), the rest is spread evenly over log r; the posterior mean is taken. Without pairs of the group's own votes r is 0: nothing can be known of it.
"""

from __future__ import annotations

import numpy as np

from dprm_data.core.arrays import Floats

DEVIATIONS = np.geomspace(0.01, 1.0, 21)  # r
NONE = 0.9  # the prior weight of r = 0


def deviation(own: Floats, others: Floats, values: Floats) -> float:
    """r of a group with the label counts `own` (N, K), given the others' (N, K). values (K, M): of the labels, their reward or an indicator of each."""
    (n, S, Q), (m, T, P) = _sums(own, values), _sums(others, values)
    pairs = [
        (S**2 - Q, n * (n - 1.0), 1.0),
        (T**2 - P, m * (m - 1.0), 1.0),
        (S * T, n * m, -2.0),
    ]
    value, influence = 0.0, np.zeros(len(own))
    for products, number, sign in pairs:
        number = np.maximum(number, 0.0)
        total = float(number.sum())
        if total <= 0.0:
            return 0.0
        each = products.sum(axis=1) * (number > 0)
        covariance = float(each.sum()) / total
        value += sign * covariance
        influence += sign * (each - covariance * number) / total
    freedom = float(np.maximum(n - 1.0, 0.0).sum() + np.maximum(m - 1.0, 0.0).sum())
    inside = (Q - S**2 / np.maximum(n, 1.0)[:, None])[n > 1].sum() + (P - T**2 / np.maximum(m, 1.0)[:, None])[
        m > 1
    ].sum()
    noise = float(inside) / max(freedom, 1.0)
    error = float(np.sqrt((influence**2).sum()))
    return _shrunk(value / noise, error / noise) if noise > 0.0 and error > 0.0 else 0.0


def _sums(counts: Floats, values: Floats) -> tuple[Floats, Floats, Floats]:
    """Number of votes (N,), and sums (N, M) of their centred values and of the squares."""
    total = max(float(counts.sum()), 1e-300)
    centred = values - counts.sum(axis=0) @ values / total
    return counts.sum(axis=1), counts @ centred, counts @ centred**2


def _shrunk(value: float, error: float) -> float:
    r = np.concatenate([[0.0], DEVIATIONS])
    weight = np.concatenate([[NONE], np.full(len(DEVIATIONS), (1.0 - NONE) / len(DEVIATIONS))])
    log_likelihood = -0.5 * ((value - r) / error) ** 2
    weight = weight * np.exp(log_likelihood - log_likelihood.max())
    return float(weight @ r / weight.sum())
