"""Vertices of the Lipschitz polytope of a metric: they make optimal transport on few labels one matrix product.

By Kantorovich-Rubinstein duality, for a metric c on d points and two distributions p, q on them,

    OT_c(p, q) = max { <f, p - q> : f_i - f_j <= c_ij for all i, j }.

Adding a constant to f changes nothing, since p - q sums to 0, so f_0 = 0 may be asked for; what is left is a bounded polytope, and a linear function
on it has its maximum at a vertex. There are finitely many vertices, and they depend on c alone: enumerated once, they give

    OT_c(p, q) = max over vertices v of <v, p - q>,

exactly, for a whole batch, on any device, and differentiable: the gradient with respect to p is the vertex that attains the maximum (a Kantorovich
potential). c is symmetric, so with v also -v is a vertex: half of them and an absolute value do.

A vertex has d - 1 independent tight constraints: the edges of a spanning tree on which |f_i - f_j| = c_ij. `lipschitz_vertices` grows these trees from
label 0, one label at a time, and keeps a partial assignment only while it is feasible; equal assignments on the same labels are kept once. Every vertex is
found, because walking its tree from label 0 passes only through feasible partial assignments.

How many there are depends on the metric: 2^(d-1) on a line with distinct points, at most binomial(2d - 2, d - 1) in general (a generic metric on
6 points: 252, on 8: 3,432). Source of the bound and of the name: Gordon and Petrov, "Combinatorics of the Lipschitz polytope", arXiv:1608.06848.
"""

from __future__ import annotations

import math

import numpy as np

from dprm_data.core.arrays import Floats

_MOST_LABELS = 12  # the search visits all 2^(d - 1) sets of labels; beyond, only degenerate metrics have few vertices


def lipschitz_vertices(cost: Floats, limit: int = 4096, tolerance: float = 1e-9) -> Floats | None:
    """One of each pair of vertices v, -v of the Lipschitz polytope: (V, d), first column 0. None where more than `limit` would be kept at any stage, or for more than 12 labels.

    cost: a symmetric metric (d, d) with zero diagonal, in any unit (the vertices are in the same). tolerance: of the costs, relative to the greatest one.
    Equal sums of costs along different trees differ by it, and vertices that differ by less count as one. Time and memory grow with the number of vertices
    of all sub-metrics: 0.1 s for 6 labels, seconds for 8 in general position.
    """
    d, unit = len(cost), float(cost.max())
    if d > _MOST_LABELS:
        return None
    if unit == 0:
        return np.zeros((1, d))
    c = cost / unit
    digits = round(-math.log10(tolerance))
    # From a set of assigned labels (a bit mask) to the feasible assignments of these labels; NaN where there is none yet.
    first = np.full((1, d), np.nan)
    first[0, 0] = 0.0
    stage: dict[int, Floats] = {1: first}
    for _ in range(d - 1):
        grown: dict[int, list[Floats]] = {}
        for assigned, values in stage.items():
            members = [i for i in range(d) if assigned >> i & 1]
            for new in range(d):
                if not assigned >> new & 1:
                    grown.setdefault(assigned | 1 << new, []).append(_with_label(values, members, new, c, tolerance))
        stage, kept = {}, 0
        for assigned, parts in grown.items():
            stage[assigned] = _distinct(np.vstack(parts), digits)
            kept += len(stage[assigned])
            if len(stage[assigned]) > 2 * limit or kept > 32 * limit:
                return None
    (vertices,) = stage.values()
    half = vertices[_leading_sign(vertices, tolerance) >= 0]
    return half * unit if len(half) <= limit else None


def _with_label(values: Floats, members: list[int], new: int, c: Floats, tolerance: float) -> Floats:
    """All feasible assignments that give `new` a value tight to one of the members."""
    known = values[:, members]
    candidates = np.concatenate([known + c[members, new], known - c[members, new]], axis=1)  # (n, 2m)
    gap = np.abs(candidates[:, :, None] - known[:, None, :])
    feasible = (gap <= c[members, new] + tolerance).all(axis=2)
    row, column = np.nonzero(feasible)
    out = values[row].copy()
    out[:, new] = candidates[row, column]
    return out


def _distinct(values: Floats, digits: int) -> Floats:
    keys = np.round(np.nan_to_num(values, nan=9.0), digits) + 0.0  # + 0.0: no negative zeros
    _, index = np.unique(keys, axis=0, return_index=True)
    return np.asarray(values[np.sort(index)])


def _leading_sign(vertices: Floats, tolerance: float) -> Floats:
    """The sign of the first entry that is not 0."""
    solid = np.abs(vertices) > tolerance
    at = solid.argmax(axis=1)
    return np.asarray(np.sign(vertices[np.arange(len(vertices)), at]))
