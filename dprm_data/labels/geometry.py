"""Wasserstein-1 between distributions on a label space, under its ground cost.

Where the labels lie on a line (every cost is a difference of two positions: so it is for the cost of rewards and for a scale of one axis), with positions
x_1 <= ... <= x_K,

    W1(p, q) = sum_k (x_{k+1} - x_k) |F_p(k) - F_q(k)|

For any other cost it is the linear program min sum_ij T_ij c_ij, T >= 0 with row sums p and column sums q, solved row by row.

Source: Peyre & Cuturi, Computational Optimal Transport (2019), ch. 2.
"""

from __future__ import annotations

import numpy as np

from dprm_data.core.arrays import Floats
from dprm_data.labels.space import LabelSpace


def wasserstein(p: Floats, q: Floats, space: LabelSpace) -> Floats:
    """W1 of every row of p (N, K) and q (N, K), in the units of the ground cost, shape (N,)."""
    positions = line(space.ground_cost)
    if positions is None:
        return np.array([_program(a, b, space.ground_cost) for a, b in zip(p, q, strict=True)])
    order = np.argsort(positions, kind="stable")
    gaps = np.diff(positions[order])
    difference = np.cumsum((p - q)[:, order], axis=1)[:, :-1]
    return np.asarray(np.abs(difference) @ gaps)


def line(cost: Floats) -> Floats | None:
    """Positions (K,) whose differences are the costs (K, K); None where there are none."""
    end = int(cost.max(axis=1).argmax())
    positions = cost[end]
    return positions if np.allclose(np.abs(positions[:, None] - positions[None, :]), cost, atol=1e-9) else None


def _program(p: Floats, q: Floats, cost: Floats) -> float:
    from scipy.optimize import linprog

    K = len(p)
    ones = np.ones((1, K))
    constraints = np.vstack(
        [np.kron(np.eye(K), ones), np.kron(ones, np.eye(K))[:-1]]
    )  # the last one follows from the others
    found = linprog(cost.ravel(), A_eq=constraints, b_eq=np.concatenate([p, q[:-1]]), method="highs")
    assert found.fun is not None, found.message  # a transport between two distributions always exists
    return float(found.fun)
