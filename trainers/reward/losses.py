"""Losses between a predicted and a target preference distribution: pure functions of tensors.

All take `logits` (B, d), with the prediction p = softmax(logits), and `target` (B, d), whose rows are distributions q,
and return (B,): one loss per row, in the unit of the ground cost (`ce` in nats), differentiable in both, on any device.

    ot             min over couplings of the expected ground cost: respects which labels are close. Exact (see below)
    wasserstein    the same with unit steps between ordered labels: sum of |P - Q| over the d - 1 cuts of the CDFs
    ce             cross-entropy - sum q log p: all labels are equally far apart
    cramer         energy distance - (p - q)' C (p - q) / 2; on a line the sum of (P - Q)^2 times the gap. A proper
                   score, also for sampled votes
    bradley_terry  - log sigmoid(r_chosen - r_rejected): the scalar baseline, on pairs

**How `ot` is computed.** On a line (|x_i - x_j|; the cost from rewards always is one) the CDF form is exact. For any
metric on few labels, so is the maximum over the vertices of the Lipschitz polytope
(`dprm_data.labels.lipschitz`). Both are one matrix product with p - q, in `dprm_trainers.reward.closed_transport`.
Otherwise, or if the cost is not a metric, POT's network simplex solves each row (exact, on the CPU, with dual potentials as gradient), and for hundreds of
labels the debiased Sinkhorn divergence approximates it; both are in `dprm_trainers.reward.transport_solvers`. They are
hundreds of times slower, so `Transport.note` and a warning of `ot_loss` say when they are taken. `SOLVERS` lists the
methods. A cost is on a line, or a metric, up to the precision of its numbers (`precision`).

**Number types.** All losses compute in float32, or in float64 where an input has it, also under autocast: differences of
probabilities do not survive bf16.

**Saturation.** The gradient of any f(p) passes through the softmax: dL/dz_k = p_k (f_k - sum_j p_j f_j). For `ot`, f is
bounded by the diameter of the label space, so a confident wrong prediction (p_k near 0 where q is not) learns nothing;
the gradient of `ce` is p - q and does not vanish there. At the optimum the gradient of `ot` jumps between vertices
instead of vanishing. **Votes instead of fitted targets**: the minimiser of E[ot(p, q)] over noisy q is a median, not
the mean; `ce` and `cramer` are minimised by the mean. A small `ce` term (`ot+0.1*ce`) cures both;
`docs/reward-losses-measured.md` measures it.

DPRM_OT, DPRM_W, DPRM_C and BT-RM of arXiv:2402.09764 are `ot`, `wasserstein`, `ce` and `bradley_terry`; the paper does
not publish its solver.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, MutableMapping
from contextlib import suppress

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from dprm_data.labels import geometry
from dprm_data.labels.geometry import TOLERANCE, cheapest_detours, is_metric
from dprm_trainers.core.errors import LossError
from dprm_trainers.reward.closed_transport import ClosedForm, Line, Vertices, transport_of_logits

_EMD_UP_TO = 200  # labels; a row of 200 x 200 takes the network simplex some milliseconds
_ROUNDINGS = 8  # units in the last place by which sums of rounded costs may miss the triangle inequality


class NetworkSimplex(nn.Module):
    """POT's network simplex, row by row: exact for any cost."""

    cost: Tensor

    def __init__(self, cost: np.ndarray, tolerance: float = TOLERANCE) -> None:
        super().__init__()
        self.register_buffer("cost", torch.from_numpy(cost))

    def forward(self, p: Tensor, q: Tensor) -> Tensor:
        from dprm_trainers.reward.transport_solvers import network_simplex

        return network_simplex(p, q, self.cost)


class Sinkhorn(nn.Module):
    """The debiased Sinkhorn divergence: approximate, for hundreds of labels."""

    cost: Tensor

    def __init__(self, cost: np.ndarray, tolerance: float = TOLERANCE) -> None:
        super().__init__()
        self.register_buffer("cost", torch.from_numpy(cost))

    def forward(self, p: Tensor, q: Tensor) -> Tensor:
        from dprm_trainers.reward.transport_solvers import sinkhorn_divergence

        return sinkhorn_divergence(p, q, self.cost)


# The methods by name. Each is made from a checked cost (d, d) and its precision, and raises `LossError` if it cannot
# solve with it.
SOLVERS: dict[str, Callable[[np.ndarray, float], nn.Module]] = {
    "line": Line,
    "vertices": Vertices,
    "emd": NetworkSimplex,
    "sinkhorn": Sinkhorn,
}


class Transport(nn.Module):
    """Optimal transport under one ground cost: `transport(p, q)` with rows of distributions (B, d) gives (B,).

    method: one of `SOLVERS`; `auto` takes the first that is exact and applies (`line`, `vertices`, `emd`), and
    `sinkhorn` for more than 200 labels off the line. `self.method` is the method taken, `self.note` a sentence if `auto`
    had to take a slow one. What depends on the cost alone is computed once, here.

    Raises `LossError` for a matrix that is no ground cost, or a method that cannot solve with it.
    """

    def __init__(self, cost: Tensor | np.ndarray, method: str = "auto") -> None:
        super().__init__()
        matrix, tolerance = checked_cost(cost), precision(cost)
        if method != "auto" and method not in SOLVERS:
            raise LossError(f"no method {method!r} (allowed: auto, {', '.join(SOLVERS)})")
        self.method, self.solver, self.note = (
            _automatic(matrix, tolerance) if method == "auto" else (method, SOLVERS[method](matrix, tolerance), None)
        )

    def forward(self, p: Tensor, q: Tensor) -> Tensor:
        with torch.autocast(p.device.type, enabled=False):
            p, q = self._placed(p, q)
            value: Tensor = self.solver(p, q)
            return value

    def of_logits(self, logits: Tensor, target: Tensor) -> Tensor:
        """The transport from softmax(logits) (B, d) to the rows of `target` (B, d): (B,). For a closed form, in one step
        with the softmax, which is faster and can be differentiated once."""
        with torch.autocast(logits.device.type, enabled=False):
            logits, target = self._placed(logits, target)
            if isinstance(self.solver, ClosedForm) and self.solver.small and logits.ndim == 2:
                return transport_of_logits(logits, target, self.solver)
            value: Tensor = self.solver(logits.softmax(dim=-1), target)
            return value

    def _placed(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The tensors in float32 or float64, after this module's own tensors went to their type and device."""
        first, *others = _wide(*tensors)
        held = next(self.buffers())
        if held.dtype != first.dtype or held.device != first.device:
            with torch.inference_mode(False):  # the buffers outlive this call
                self.to(device=first.device, dtype=first.dtype)
        return first, *others


def _automatic(cost: np.ndarray, tolerance: float) -> tuple[str, nn.Module, str | None]:
    """The method for a cost, its solver, and a sentence where it is a slow one."""
    for method in ("line", "vertices"):
        with suppress(LossError):
            return method, SOLVERS[method](cost, tolerance), None
    metric = is_metric(cost, tolerance)
    why = "has too many vertices for a closed form" if metric else _triangle_broken(cost)
    if metric and len(cost) > _EMD_UP_TO:
        note = f"ot: the ground cost {why}: the Sinkhorn divergence approximates the transport, slowly"
        return "sinkhorn", Sinkhorn(cost), note
    return (
        "emd",
        NetworkSimplex(cost),
        f"ot: the ground cost {why}: POT's network simplex solves every row on the CPU, which is hundreds of times "
        "slower. A line (cost: rewards), or a metric on few labels, avoids it.",
    )


def _triangle_broken(cost: np.ndarray) -> str:
    """How the cost breaks the triangle inequality, at its worst."""
    least, over = cheapest_detours(cost)
    i, k = np.unravel_index(int((cost - least).argmax()), cost.shape)
    j = over[i, k]
    return f"breaks the triangle inequality (from label {i} to {k} it is {cost[i, k]:g}, over {j} only {least[i, k]:g})"


def _wide(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors in one type: float32, or float64 if one of them is."""
    wide = torch.float64 if any(tensor.dtype == torch.float64 for tensor in tensors) else torch.float32
    return tuple(tensor.to(wide) for tensor in tensors)


def ot_loss(logits: Tensor, target: Tensor, cost: Tensor, *, method: str = "auto") -> Tensor:
    """Optimal transport from softmax(logits) (B, d) to `target` (B, d) under the ground cost `cost` (d, d): (B,), in
    the cost's unit.

    What depends on the cost alone is cached as long as this tensor lives unchanged. Warns once where the cost leaves
    only a slow solver. Raises `LossError`.
    """
    return _transport(cost, method).of_logits(logits, target)


def wasserstein_loss(logits: Tensor, target: Tensor, order: Tensor | None = None) -> Tensor:
    """Wasserstein-1 between ordered labels at unit distance: (B,), in steps.

    order: the labels' indices (d,) from one end of the scale to the other; by default their own order.
    """
    logits, target = _wide(logits, target)
    difference = logits.softmax(dim=-1) - target
    if order is not None:
        difference = difference[..., order]
    return difference.cumsum(dim=-1)[..., :-1].abs().sum(dim=-1)


def ce_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of the target distribution: (B,), in nats. Its minimum is the target's entropy."""
    logits, target = _wide(logits, target)
    return -(target * logits.log_softmax(dim=-1)).sum(dim=-1)


def cramer_loss(logits: Tensor, target: Tensor, cost: Tensor) -> Tensor:
    """The energy distance under the ground cost, halved: -(p - q)' C (p - q) / 2, (B,), in the cost's unit.

    For costs of (strict) negative type, such as distances on a line and sums of distances over axes, it is never
    negative and 0 only at p = q, up to mass moved between labels at distance 0. On a line it is the sum of gap (P -
    Q)^2, the ranked probability score. Source: Szekely and Rizzo, J. Stat. Plann. Inference 143 (2013).
    """
    logits, target = _wide(logits, target)
    difference = logits.softmax(dim=-1) - target
    with torch.autocast(difference.device.type, enabled=False):
        return -0.5 * ((difference @ cost.to(difference)) * difference).sum(dim=-1)


def bradley_terry_loss(chosen: Tensor, rejected: Tensor) -> Tensor:
    """-log P(chosen is preferred) = -log sigmoid(r_chosen - r_rejected) of two rewards of the same shape, in nats."""
    chosen, rejected = _wide(chosen, rejected)
    return -nn.functional.logsigmoid(chosen - rejected)


def checked_cost(cost: Tensor | np.ndarray) -> np.ndarray:
    """The cost as a float64 matrix.

    Raises `LossError` unless it is square, finite, non-negative, symmetric and 0 on the diagonal.
    """
    matrix = np.asarray(cost.detach().cpu().double() if isinstance(cost, Tensor) else cost, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or len(matrix) < 2:
        raise LossError(f"a ground cost is a square matrix for at least 2 labels, found shape {matrix.shape}")
    try:
        return geometry.checked_cost(matrix, tolerance=max(1e-6, precision(cost)))
    except ValueError as error:
        raise LossError(str(error)) from error


def precision(cost: Tensor | np.ndarray) -> float:
    """The precision of a cost's numbers, relative to the greatest: 1e-9 in float64, 1e-6 in float32.

    A metric whose costs were rounded to float32 breaks the triangle inequality by about 1e-7.
    """
    if isinstance(cost, Tensor):
        rounding = torch.finfo(cost.dtype).eps if cost.dtype.is_floating_point else 0.0
    else:
        rounding = float(np.finfo(cost.dtype).eps) if np.issubdtype(cost.dtype, np.floating) else 0.0
    return max(TOLERANCE, _ROUNDINGS * rounding)


# Keyed by the cost tensor's identity, which needs no copy from the device, and by its state, which changes on writes.
_prepared: MutableMapping[Tensor, dict[str, tuple[object, Transport]]] = WeakIdKeyDictionary()


def _transport(cost: Tensor, method: str) -> Transport:
    known, state = _prepared.setdefault(cost, {}), _state(cost)
    if method not in known or known[method][0] != state:
        with torch.inference_mode(False):  # it may be used for training later
            made = Transport(cost, method)
        if made.note:
            warnings.warn(made.note, stacklevel=3)
        known[method] = (state, made)
    return known[method][1]


def _state(cost: Tensor) -> object:
    """What changes when the tensor is written to: its version, or the numbers of an inference tensor, which has none."""
    return cost.tolist() if cost.is_inference() else cost._version
