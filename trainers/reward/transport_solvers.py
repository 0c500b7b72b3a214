"""Optimal transport without a closed form: network simplex, row by row, and Sinkhorn for hundreds of labels."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor

from dprm_trainers.core.errors import LossError

_TEMPERATURE = 0.01  # of the entropic term, as a share of the greatest cost
_MOST_ROUNDS = 500
_CLOSE_ENOUGH = 1e-4  # change of a potential between two rounds, as a share of the greatest cost


def network_simplex(p: Tensor, q: Tensor, cost: Tensor) -> Tensor:
    """Exact transport from each row of p to that of q, (B, d) each, under any cost (d, d): (B,). POT solves it on the
    CPU in float64.

    The gradient is the optimal dual potential: dOT/dp_i = u_i up to a constant, which the softmax removes.
    Raises `LossError` if POT is not installed.
    """
    value: Tensor = _NetworkSimplex.apply(p, q, cost)  # type: ignore[no-untyped-call]
    return value


class _NetworkSimplex(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, p: Tensor, q: Tensor, cost: Tensor) -> Tensor:
        try:
            ot = importlib.import_module("ot")
        except ImportError as error:
            raise LossError(
                "this ground cost needs a solver that is not installed", hint="Install it with: pip install POT"
            ) from error
        matrix = cost.detach().cpu().double().numpy()
        values, by_p, by_q = [], [], []
        for a, b in zip(_rows(p), _rows(q), strict=True):
            value, log = ot.emd2(a / a.sum(), b / b.sum(), matrix, log=True)
            values.append(float(value))
            by_p.append(torch.from_numpy(log["u"] - log["u"].mean()))
            by_q.append(torch.from_numpy(log["v"] - log["v"].mean()))
        ctx.save_for_backward(torch.stack(by_p).to(p), torch.stack(by_q).to(q))
        return torch.tensor(values, dtype=torch.float64).to(p)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        by_p, by_q = ctx.saved_tensors
        return gradients[0][:, None] * by_p, gradients[0][:, None] * by_q, None


def _rows(p: Tensor) -> Any:
    return p.detach().cpu().double().clamp_min(0).numpy()


def sinkhorn_divergence(p: Tensor, q: Tensor, cost: Tensor, *, temperature: float = _TEMPERATURE) -> Tensor:
    """The debiased entropic transport S(p, q) = OT_e(p, q) - OT_e(p, p)/2 - OT_e(q, q)/2 of rows (B, d): (B,), in the
    cost's unit.

    Approximate: e is `temperature` times the greatest cost, and S tends to the transport cost as e goes to 0. Unlike
    the plain entropic cost, S is never negative and 0 at p = q. By the envelope theorem its gradient in p is f_pq -
    f_pp, the potentials at the fixed point; nothing is unrolled. Memory: B x d x d. Source: Feydy et al.,
    "Interpolating between Optimal Transport and MMD using Sinkhorn Divergences", arXiv:1810.08278.
    """
    tiny = torch.finfo(p.dtype).tiny
    log_p, log_q = p.clamp_min(tiny).log(), q.clamp_min(tiny).log()
    with torch.no_grad():
        greatest = float(cost.max())
        f_pq, g_pq = _potentials(log_p, log_q, cost, temperature * greatest, greatest)
        f_pp, _ = _potentials(log_p, log_p, cost, temperature * greatest, greatest)
        g_qq, _ = _potentials(log_q, log_q, cost, temperature * greatest, greatest)
    return (p * (f_pq - f_pp)).sum(dim=-1) + (q * (g_pq - g_qq)).sum(dim=-1)


def _potentials(log_p: Tensor, log_q: Tensor, cost: Tensor, e: float, greatest: float) -> tuple[Tensor, Tensor]:
    """Dual potentials of the entropic problem at its fixed point, by damped updates with a falling temperature."""
    f, g = torch.zeros_like(log_p), torch.zeros_like(log_q)
    now = greatest
    for _ in range(_MOST_ROUNDS):
        now = max(now * 0.7, e)
        new_f = -now * torch.logsumexp((g / now + log_q)[:, None, :] - cost / now, dim=-1)
        new_g = -now * torch.logsumexp((f / now + log_p)[:, None, :] - cost.T / now, dim=-1)
        new_f, new_g = (f + new_f) / 2, (g + new_g) / 2
        change = float(torch.maximum((new_f - f).abs().amax(), (new_g - g).abs().amax()))
        f, g = new_f, new_g
        if now == e and change < _CLOSE_ENOUGH * greatest:
            break
    return f, g
