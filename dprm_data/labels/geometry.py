"""The geometry of a label space: its order, its ground cost, and Wasserstein-1 between distributions on it.

Wasserstein-1 is the cost of the best transport, min sum_ij T_ij c_ij over T >= 0 with row sums p and column sums q. It is computed, exactly in every case, by

- the *line form*, where the labels lie on a line x_1 <= ... <= x_K with c_ij = |x_i - x_j| (a cost of rewards always does, and so does a scale of one axis):

      W1(p, q) = sum_k (x_{k+1} - x_k) |F_p(k) - F_q(k)|,    F the distribution functions

- the *vertex form*, where the cost is a metric on few labels: the maximum of <v, p - q> over the vertices v of its Lipschitz polytope (`labels/lipschitz.py`)
- the linear program itself, row by row, for everything else: by POT's network simplex where POT is installed, else by SciPy.

The differentiable forms for training, in torch, are in `dprm_trainers.reward.losses`; they take the facts about a cost from here.

Source: Peyre & Cuturi, Computational Optimal Transport (2019), ch. 2.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from dprm_data.core.arrays import Floats, Ints
from dprm_data.labels.lipschitz import lipschitz_vertices

TOLERANCE = 1e-9  # of a cost in double precision, relative to the greatest one

# -- order --------------------------------------------------------------------------------------------------------------


def reward_order(rewards: Floats) -> Ints:
    """The labels (K,) from the lowest reward to the highest; equal rewards in the order of the space."""
    return np.asarray(np.argsort(rewards, kind="stable"))


def reward_steps(rewards: Floats) -> tuple[Floats, Floats]:
    """The line of rewards: the indicators 1[r_k <= t] for every gap t between distinct rewards (K, T), and the gaps' widths (T,).

    p @ indicators is the distribution function of the reward below every gap.
    """
    points = np.unique(rewards)
    return (rewards[:, None] <= points[None, :-1]).astype(np.float64), np.diff(points)


def cdf_difference(p: Floats, q: Floats, order: Ints | None = None) -> Floats:
    """F_p - F_q of every row of p, q (N, K) at the K - 1 cuts between neighbours in this order (by default the space's own), shape (N, K - 1)."""
    difference = p - q if order is None else (p - q)[:, order]
    return np.asarray(np.cumsum(difference, axis=1)[:, :-1])


# -- ground costs -------------------------------------------------------------------------------------------------------


def checked_cost(matrix: Floats, tolerance: float = TOLERANCE) -> Floats:
    """The square matrix, made exactly symmetric. Raises `ValueError` if it is not finite, not negative, 0 on the diagonal, and symmetric."""
    if not np.isfinite(matrix).all() or (matrix < 0).any():
        raise ValueError("the cost must be finite and not negative")
    if np.diag(matrix).any():
        raise ValueError("the cost of leaving mass where it is (the diagonal) must be 0")
    unequal = np.argwhere(np.abs(matrix - matrix.T) > tolerance * _unit(matrix))
    if len(unequal):
        i, j = unequal[0]
        raise ValueError(
            f"the cost must be symmetric, but row {i} column {j} is {matrix[i, j]:g} and row {j} column {i} is {matrix[j, i]:g}"
        )
    return np.asarray((matrix + matrix.T) / 2)


def line_positions(cost: Floats, tolerance: float = TOLERANCE) -> Floats | None:
    """Positions x (K,) with |x_i - x_j| = cost_ij, or None if the labels do not lie on a line.

    The label farthest from any label is an end of the line; the distances from that end are the positions.
    """
    x = cost[int(cost[0].argmax())]
    fits = np.allclose(np.abs(x[:, None] - x[None, :]), cost, rtol=0, atol=tolerance * _unit(cost))
    return x if fits else None


def cheapest_detours(cost: Floats) -> tuple[Floats, Ints]:
    """The least cost from i to k over one other label (or none, at no cost), and that label: both (K, K)."""
    least, over = np.full(cost.shape, np.inf), np.zeros(cost.shape, dtype=np.int64)
    for j in range(len(cost)):
        detour = cost[:, [j]] + cost[[j], :]
        shorter = detour < least
        least[shorter], over[shorter] = detour[shorter], j
    return least, over


def is_metric(cost: Floats, tolerance: float = TOLERANCE) -> bool:
    """Whether the cost obeys the triangle inequality (labels at distance 0 from each other are allowed)."""
    return bool((cost <= cheapest_detours(cost)[0] + tolerance * _unit(cost)).all())


def is_negative_type(cost: Floats, tolerance: float = TOLERANCE) -> bool:
    """Whether -x'Cx >= 0 for all x that sum to 0: then the energy distance under this cost is one."""
    centre = np.eye(len(cost)) - 1.0 / len(cost)
    return bool(np.linalg.eigvalsh(-centre @ cost @ centre).min() >= -tolerance * _unit(cost))


def has_closed_form(cost: Floats) -> bool:
    """Whether Wasserstein-1 of many rows is a matrix product, not a linear program for each."""
    return line_positions(cost) is not None or _vertices(cost) is not None


def _unit(cost: Floats) -> float:
    return float(cost.max())


def _vertices(cost: Floats) -> Floats | None:
    return _vertices_of(np.asarray(cost, dtype=np.float64).tobytes(), len(cost))


@lru_cache(maxsize=16)
def _vertices_of(cost: bytes, K: int) -> Floats | None:
    matrix = np.frombuffer(cost).reshape(K, K)
    return lipschitz_vertices(matrix) if is_metric(matrix) else None


# -- Wasserstein-1 ------------------------------------------------------------------------------------------------------


def wasserstein(p: Floats, q: Floats, cost: Floats) -> Floats:
    """W1 of every row of p (N, K) and q (N, K) under a ground cost (K, K), in its units, shape (N,)."""
    positions = line_positions(cost)
    if positions is not None:
        order = np.argsort(positions, kind="stable")
        return np.asarray(np.abs(cdf_difference(p, q, order)) @ np.diff(positions[order]))
    vertices = _vertices(cost)
    if vertices is not None:
        return np.asarray(np.abs((p - q) @ vertices.T).max(axis=1, initial=0.0))
    return np.array([_program(a, b, cost) for a, b in zip(p, q, strict=True)])


def wasserstein_in_steps(p: Floats, q: Floats, order: Ints | None = None) -> Floats:
    """W1 of every row of p (N, K) and q (N, K) with a step of 1 between neighbours in this order (by default the space's own), shape (N,)."""
    return np.asarray(np.abs(cdf_difference(p, q, order)).sum(axis=1))


def _program(p: Floats, q: Floats, cost: Floats) -> float:
    try:
        from ot import emd2  # of the extra `train`; a hundred times as fast
    except ImportError:
        return _linear_program(p, q, cost)
    return float(emd2(p / p.sum(), q / q.sum(), cost))


def _linear_program(p: Floats, q: Floats, cost: Floats) -> float:
    from scipy.optimize import linprog

    K = len(p)
    ones = np.ones((1, K))
    constraints = np.vstack(
        [np.kron(np.eye(K), ones), np.kron(ones, np.eye(K))[:-1]]
    )  # the last follows from the others
    found = linprog(cost.ravel(), A_eq=constraints, b_eq=np.concatenate([p, q[:-1]]), method="highs")
    assert found.fun is not None, found.message  # a transport between two distributions always exists
    return float(found.fun)
