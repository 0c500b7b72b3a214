"""Optimal transport in closed form: for labels on a line, and for any metric on few labels.

By Kantorovich-Rubinstein duality the transport from p to q under a metric C is the greatest sum of f_k (p_k - q_k) over
all potentials f with |f_i - f_j| <= C_ij, and the potential f at the maximum is its gradient in p (-f in q).

    Line       the potential falls or rises by the whole gap at every cut, whichever has the sign of P - Q there
    Vertices   the maximum is at a vertex of the polytope of potentials; they depend on the cost alone, are enumerated
               once (`dprm_data.labels.lipschitz`), and come in pairs f, -f, of which one is kept

**Layout.** The batch is the last dimension: on d < 48 labels a softmax, sum or maximum over the first dimension runs
over whole vectors, and is some ten times faster on a CPU than over the last one. `benchmarks/losses.py` measures it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from dprm_data.labels.geometry import TOLERANCE, is_metric, line_positions
from dprm_data.labels.lipschitz import lipschitz_vertices
from dprm_trainers.core.errors import LossError

_CUMULATIVE_SUMS_FROM = 48  # labels; below, one matrix product is faster than gather and cumulative sum
_ROWS, _IN_CACHE = 128, 1 << 16  # at once on a CPU: so many rows, or more while their values fit into its cache
_VALUES = 1 << 26  # of potentials at once elsewhere: memory stays bounded
_USE_AUTO = "Leave the method at auto."


class ClosedForm(nn.Module):
    """A solver with `forms` (d, V), linear functionals of p - q. small: whether it solves by a product with them."""

    forms: Tensor
    small = True

    def potential(self, difference: Tensor) -> tuple[Tensor, Tensor]:
        """For differences p - q (d, B): the transport (B,), and the potential at the maximum (d, B), up to its sign:
        times the sign of sum f_k (p_k - q_k)."""
        raise NotImplementedError


class Line(ClosedForm):
    """The sum over the cuts of gap |P - Q|: exact for labels on a line."""

    order: Tensor

    def __init__(self, cost: np.ndarray, tolerance: float = TOLERANCE) -> None:
        super().__init__()
        x = line_positions(cost, tolerance)
        if x is None:
            raise LossError("the labels do not lie on a line under this ground cost", hint=_USE_AUTO)
        order = np.argsort(x, kind="stable")
        gaps = np.diff(x[order])
        self.small = len(x) < _CUMULATIVE_SUMS_FROM
        # Column k holds gap_k for the labels at or below cut k: (p - q) @ forms = gap_k (P - Q)_k.
        forms = np.zeros((len(x), len(x) - 1))
        if self.small:
            forms[order] = np.triu(np.ones(forms.shape))
        self.register_buffer("order", torch.from_numpy(order))
        self.register_buffer("forms", torch.from_numpy(forms * gaps if self.small else gaps))

    def forward(self, p: Tensor, q: Tensor) -> Tensor:
        if self.small:
            return ((p - q) @ self.forms).abs().sum(dim=-1)
        return (p - q)[..., self.order].cumsum(dim=-1)[..., :-1].abs() @ self.forms

    def potential(self, difference: Tensor) -> tuple[Tensor, Tensor]:
        potential = self.forms @ (self.forms.T @ difference).sign_()
        return (difference * potential).sum(dim=0), potential


class Vertices(ClosedForm):
    """The maximum over the vertices (d, V) of the Lipschitz polytope: exact for a metric on few labels."""

    _numbers: Tensor

    def __init__(self, cost: np.ndarray, tolerance: float = TOLERANCE) -> None:
        super().__init__()
        metric = is_metric(cost, tolerance)
        vertices = lipschitz_vertices(cost, tolerance=tolerance) if metric else None
        if vertices is None:
            problem = "has too many vertices" if metric else "breaks the triangle inequality"
            raise LossError(f"the ground cost {problem} for the method vertices", hint=_USE_AUTO)
        self.register_buffer("forms", torch.from_numpy(np.ascontiguousarray(vertices.T)))
        self.register_buffer("_numbers", torch.arange(len(vertices), dtype=torch.float64)[:, None], persistent=False)

    def forward(self, p: Tensor, q: Tensor) -> Tensor:
        difference = p - q
        with torch.no_grad():  # the vertex at the maximum is the gradient: nothing of (B, V) need be kept for it
            potential = self.forms.index_select(1, self._best(difference.T)).T
        return (difference * potential).sum(dim=-1).abs()

    def potential(self, difference: Tensor) -> tuple[Tensor, Tensor]:
        potential = self.forms.index_select(1, self._best(difference))
        return (difference * potential).sum(dim=0), potential

    def _best(self, difference: Tensor) -> Tensor:
        """The vertex at the maximum of |f (p - q)| for every column of differences (d, B), by its number (B,).

        `argmax` over the first dimension is slow on a CPU, `amax` is not. So every vertex below the maximum gets a huge
        negative value, one at the maximum gets its number, and the greatest is taken (of ties, the last).
        """
        forms = self.forms.T
        on_cpu = difference.device.type == "cpu"
        at_once = max(_ROWS, _IN_CACHE // len(forms)) if on_cpu else max(1, _VALUES // len(forms))
        best = []
        for start in range(0, max(1, difference.shape[1]), at_once):
            value = (forms @ difference[:, start : start + at_once]).abs_()
            below = value.sub_(value.amax(dim=0))
            best.append(below.mul_(torch.finfo(below.dtype).max).add_(self._numbers).amax(dim=0))
        return torch.cat(best).nan_to_num_(0.0).int()  # a diverged training ends with a loss of NaN, not here


def transport_of_logits(logits: Tensor, target: Tensor, solver: ClosedForm) -> Tensor:
    """The transport from softmax(logits) (B, d) to the rows of `target` (B, d): (B,), in the cost's unit.

    Derivation of the gradient: with p = softmax(z) and the potential f, dOT/dz_k = p_k (f_k - sum_j p_j f_j), and
    dOT/dq = -f. It can be differentiated once.
    """
    value: Tensor = _OfLogits.apply(logits, target, solver)  # type: ignore[no-untyped-call]
    return value


class _OfLogits(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, solver: ClosedForm) -> Tensor:
        p = logits.T.contiguous().softmax(dim=0)
        value, potential = solver.potential(p - target.T)
        ctx.save_for_backward(p, potential, value)
        return value.abs()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        p, potential, value = ctx.saved_tensors
        outer = gradients[0] * value.sign()
        by_target = -(potential * outer).T if ctx.needs_input_grad[1] else None
        weighted = p * potential
        return ((weighted - p * weighted.sum(dim=0)) * outer).T, by_target, None
