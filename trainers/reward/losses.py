"""Losses between a predicted and a target preference distribution: pure functions of tensors.

All take `logits` (B, d), of which the prediction is p = softmax(logits), and `target` (B, d), rows that are distributions q, and give (B,): one loss per row,
in the unit of the ground cost (`ce` in nats), differentiable in both, on any device.

    ot           min over couplings of the expected ground cost: knows which labels are close. Exact (see below)
    wasserstein  the same with unit steps between ordered labels: sum of |P - Q| over the d - 1 cuts of the distribution functions
    ce           cross-entropy - sum q log p: every label is equally far from every other
    cramer       energy distance - (p - q)' C (p - q) / 2; on a line the sum of (P - Q)^2 times the gap. A proper score also for sampled votes
    bradley_terry  - log sigmoid(r_chosen - r_rejected): the scalar baseline, on pairs

**How `ot` is computed.** On a line (|x_i - x_j|, which the cost from rewards always is) the CDF form is exact. For any metric on few labels the maximum over the
vertices of the Lipschitz polytope is (`dprm_data.labels.lipschitz`). Both are one matrix product with p - q. Beyond that, or where the cost is no metric, POT's
network simplex solves each row (exact, on the CPU, dual potentials as gradient), and for hundreds of labels the debiased Sinkhorn divergence of `dprm_trainers.reward.transport_solvers`.

**Saturation.** The gradient of any f(p) passes through the softmax: dL/dz_k = p_k (f_k - sum_j p_j f_j). For `ot`, f is bounded by the diameter of the
label space, so a prediction that is confident and wrong (p_k near 0 where q is) learns nothing; the gradient of `ce` is p - q and never vanishes there. And at the
optimum the gradient of `ot` jumps between vertices instead of vanishing. **Votes instead of fitted targets**: the minimiser of E[ot(p, q)] over noisy q is a
median, not the mean; `ce` and `cramer` are minimised by the mean. A small `ce` term (`ot+0.1*ce`) cures both; `docs/reward-model.md` measures it.

DPRM_OT, DPRM_W, DPRM_C and BT-RM of arXiv:2402.09764 are `ot`, `wasserstein`, `ce` and `bradley_terry`; the paper does not publish its solver.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from dprm_data.labels import geometry
from dprm_data.labels.geometry import is_metric, line_positions
from dprm_data.labels.lipschitz import lipschitz_vertices
from dprm_trainers.core.errors import LossError

Method = Literal["auto", "line", "vertices", "emd", "sinkhorn"]

_EMD_UP_TO = 200  # labels; a row of 200 x 200 takes the network simplex some milliseconds
_CDF_BY_SUMS_FROM = 48  # labels; below, one matrix product is faster than gather and cumulative sum


class Transport(nn.Module):
    """Optimal transport under one ground cost: `transport(p, q)` with rows of distributions (B, d) gives (B,).

    method: `auto` takes the first that is exact and fits (`line`, `vertices`, `emd`), and `sinkhorn` for more than 200 labels off the line. What was taken is
    `self.method`. All that depends on the cost alone is computed here, once.

    Raises `LossError` for a cost that is none, or a method that cannot compute with it.
    """

    cost: Tensor
    forms: Tensor  # linear forms of p - q: (d, d - 1) of cuts, the d - 1 gaps, or (d, V) of vertices
    order: Tensor

    def __init__(self, cost: Tensor | np.ndarray, method: Method = "auto") -> None:
        super().__init__()
        if method not in get_args(Method):
            raise LossError(f"no method {method!r} (allowed: {', '.join(get_args(Method))})")
        matrix = checked_cost(cost)
        self.method: Method
        self._solve: Callable[[Tensor, Tensor], Tensor]
        self.register_buffer("cost", torch.from_numpy(matrix))
        self.register_buffer("forms", torch.zeros(0))
        self.register_buffer("order", torch.zeros(0, dtype=torch.long))
        positions = line_positions(matrix) if method in ("auto", "line") else None
        if positions is not None:
            self._on_a_line(positions)
        elif method == "line":
            raise LossError("the labels do not lie on a line under this ground cost", hint="Leave the method at auto.")
        elif method in ("auto", "vertices") and self._by_vertices(matrix, asked=method == "vertices"):
            pass
        elif method == "emd" or (method == "auto" and (len(matrix) <= _EMD_UP_TO or not is_metric(matrix))):
            self.method, self._solve = "emd", self._simplex
        else:
            self.method, self._solve = "sinkhorn", self._sinkhorn

    def _on_a_line(self, x: np.ndarray) -> None:
        self.method = "line"
        order = np.argsort(x, kind="stable")
        gaps = np.diff(x[order])
        if len(x) < _CDF_BY_SUMS_FROM:
            # Column k holds gap_k for the labels at or below cut k: (p - q) @ forms = gap_k (P - Q)_k.
            forms = np.zeros((len(x), len(x) - 1))
            forms[order] = np.triu(np.ones(forms.shape))
            self.forms, self._solve = torch.from_numpy(forms * gaps), self._sum_of_forms
        else:
            self.order, self.forms, self._solve = torch.from_numpy(order), torch.from_numpy(gaps), self._sum_of_gaps

    def _by_vertices(self, matrix: np.ndarray, *, asked: bool) -> bool:
        metric = is_metric(matrix)
        vertices = lipschitz_vertices(matrix) if metric else None
        if vertices is None:
            if asked:
                why = "has too many vertices" if metric else "breaks the triangle inequality"
                raise LossError(f"the ground cost {why} for the method vertices", hint="Leave the method at auto.")
            return False
        self.method, self._solve = "vertices", self._greatest_form
        self.forms = torch.from_numpy(np.ascontiguousarray(vertices.T))
        return True

    def forward(self, p: Tensor, q: Tensor) -> Tensor:
        if self.cost.dtype != p.dtype or self.cost.device != p.device:
            self.to(device=p.device, dtype=p.dtype)
        value: Tensor = self._solve(p, q)
        return value

    def _sum_of_forms(self, p: Tensor, q: Tensor) -> Tensor:
        return ((p - q) @ self.forms).abs().sum(dim=-1)

    def _sum_of_gaps(self, p: Tensor, q: Tensor) -> Tensor:
        return (p - q)[..., self.order].cumsum(dim=-1)[..., :-1].abs() @ self.forms

    def _greatest_form(self, p: Tensor, q: Tensor) -> Tensor:
        difference = p - q
        with (
            torch.no_grad()
        ):  # the vertex that attains the maximum is the gradient: nothing of (B, V) need be kept for it
            best = (difference @ self.forms).abs_().max(dim=-1).indices
            potential = self.forms.T.index_select(0, best)
        return (difference * potential).sum(dim=-1).abs()

    def _simplex(self, p: Tensor, q: Tensor) -> Tensor:
        from dprm_trainers.reward.transport_solvers import network_simplex

        return network_simplex(p, q, self.cost)

    def _sinkhorn(self, p: Tensor, q: Tensor) -> Tensor:
        from dprm_trainers.reward.transport_solvers import sinkhorn_divergence

        return sinkhorn_divergence(p, q, self.cost)


def ot_loss(logits: Tensor, target: Tensor, cost: Tensor, *, method: Method = "auto") -> Tensor:
    """Optimal transport from softmax(logits) (B, d) to `target` (B, d) under the ground cost `cost` (d, d): (B,), in the cost's unit.

    What depends on the cost alone is computed at the first call with this tensor and kept as long as the tensor lives unchanged. Raises `LossError`.
    """
    value: Tensor = _transport(cost, method)(logits.softmax(dim=-1), target)
    return value


def wasserstein_loss(logits: Tensor, target: Tensor, order: Tensor | None = None) -> Tensor:
    """Wasserstein-1 between ordered labels at unit distance: (B,), in steps.

    order: the labels' indices (d,) from one end of the scale to the other; as they stand, where not given.
    """
    difference = logits.softmax(dim=-1) - target
    if order is not None:
        difference = difference[..., order]
    return difference.cumsum(dim=-1)[..., :-1].abs().sum(dim=-1)


def ce_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of the target distribution: (B,), in nats. Its least value is the target's entropy."""
    return -(target * logits.log_softmax(dim=-1)).sum(dim=-1)


def cramer_loss(logits: Tensor, target: Tensor, cost: Tensor) -> Tensor:
    """The energy distance under the ground cost, halved: -(p - q)' C (p - q) / 2, (B,), in the cost's unit.

    It is 0 only at p = q and never negative for costs of (strict) negative type: distances on a line and sums of distances over axes are; where two labels are at distance 0 their
    masses are not told apart. On a line it is the sum of gap (P - Q)^2, the ranked probability score. Source: Szekely and Rizzo, J. Stat. Plann. Inference 143 (2013).
    """
    difference = logits.softmax(dim=-1) - target
    return -0.5 * ((difference @ cost.to(difference)) * difference).sum(dim=-1)


def bradley_terry_loss(chosen: Tensor, rejected: Tensor) -> Tensor:
    """-log P(chosen is preferred) = -log sigmoid(r_chosen - r_rejected) of two rewards of the same shape, in nats."""
    return -nn.functional.logsigmoid(chosen - rejected)


def checked_cost(cost: Tensor | np.ndarray) -> np.ndarray:
    """The cost as a float64 matrix. Raises `LossError` where it is no ground cost: square, finite, not negative, 0 on the diagonal, symmetric."""
    matrix = np.asarray(cost.detach().cpu() if isinstance(cost, Tensor) else cost, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or len(matrix) < 2:
        raise LossError(f"a ground cost is a square matrix for at least 2 labels, found shape {matrix.shape}")
    try:
        return geometry.checked_cost(
            matrix, tolerance=1e-6
        )  # a float32 tensor may have lost the last digits of its symmetry
    except ValueError as error:
        raise LossError(str(error)) from error


# A cost is prepared once: by the tensor's identity (a lookup, no copy from the device), as long as it was not written to.
_prepared: MutableMapping[Tensor, dict[Method, tuple[int, Transport]]] = WeakIdKeyDictionary()


def _transport(cost: Tensor, method: Method) -> Transport:
    known = _prepared.setdefault(cost, {})
    if method not in known or known[method][0] != cost._version:
        known[method] = (cost._version, Transport(cost, method))
    return known[method][1]
