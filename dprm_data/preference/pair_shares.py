"""How many people prefer one response to another: the share, and those without a preference, from the distributions of the two.

A person who gives the first response the reward X and the second Y prefers the first if X > Y, and has no preference if X = Y. The two distributions alone do not say how X and Y
go together: whoever is severe with one response is severe with the other, too. So X and Y are coupled (`Coupling`). The ranks of X and Y are those of two normal variables with correlation
r (a Gaussian copula): with the rewards in ascending order, and F and G the distribution functions,

    P(X <= a, Y <= b) = Phi2(Phi^-1(F_a), Phi^-1(G_b); r)
    Phi2(h, k; r) = Phi(h) Phi(k) + integral from 0 to r of phi2(h, k; s) ds

The integral is taken over t with s = sin t, where its integrand is smooth, by Gauss-Legendre quadrature. People give two responses the same label more often than that. So a share v of those
whose labels would be one level apart have no preference. A posterior's distribution is wider than the population's: its variance s² holds the squared error e² of the expected reward, in
which two responses do not go together. So r is multiplied by sqrt((1 - e_1²/s_1²)(1 - e_2²/s_2²)).

*Interval.* The posterior is about where the responses stand. Both distributions are tilted, p_k exp(t r_k) renormalised, until their expected rewards have moved so far that the margin
is at the ends of its interval; the shares there are the ends of the share's interval.

Sources: Drezner and Wesolowsky, J. Statist. Comput. Simul. 35 (1990), the integral; Nelsen, An Introduction to Copulas (2006).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dprm_data.core.arrays import Floats

_NODES = 12  # of the quadrature: error below 1e-6 up to r = 0.9
_EDGE = 8.0  # standard deviations: nothing lies beyond
_STEPS = 6  # of Newton's method in tilting
_CHUNK = 20_000  # pairs at once


@dataclass(frozen=True)
class Coupling:
    """How one person's rewards of two responses go together. correlation: r, of their ranks, in [0, 1); indifference: v, how many of those whose labels would be one level
    apart have no preference, in [0, 1]."""

    correlation: float
    indifference: float


@dataclass(frozen=True)
class Side:
    """One side of P pairs. distribution (P, K): over the labels; error (P,): the posterior standard deviation of its expected reward."""

    distribution: Floats
    error: Floats

    def part(self, rows: slice) -> Side:
        return Side(self.distribution[rows], self.error[rows])


@dataclass(frozen=True)
class Shares:
    """Of pairs (P,): the share of people who prefer the first, its interval, and the share without a preference."""

    share: Floats
    low: Floats
    high: Floats
    tie: Floats


def pair_shares(first: Side, second: Side, rewards: Floats, coupling: Coupling, level: float = 0.9) -> Shares:
    """The shares of P pairs. rewards (K,): of the labels; level: of the interval."""
    starts = range(0, max(len(first.error), 1), _CHUNK)
    parts = [
        _shares(first.part(rows), second.part(rows), rewards, coupling, level)
        for rows in (slice(start, start + _CHUNK) for start in starts)
    ]
    return Shares(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in ("share", "low", "high", "tie"))
    )


def pair_covariances(first: Side, second: Side, rewards: Floats, correlation: float) -> Floats:
    """The covariance of one person's rewards of the two, (P,): the sum over levels a, b of (P(X <= a, Y <= b) - F_a G_b) times the steps of reward above a and b (Hoeffding)."""
    values, x, y, together = _levels(first, second, rewards)
    steps = np.diff(values)
    h, k = _scores(x), _scores(y)
    excess = _dependence(h, k, correlation * together)
    return np.asarray(np.einsum("pab,a,b->p", excess[:, :-1, :-1], steps, steps))


def _levels(first: Side, second: Side, rewards: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """The values of the reward in ascending order, both sides' distributions over them, and how much of r a pair has."""
    values, steps = np.unique(rewards, return_inverse=True)
    levels = np.eye(len(values))[steps]  # (K, L): labels of one reward are one level
    x, y = first.distribution @ levels, second.distribution @ levels
    together = np.sqrt(_of_population(x, values, first.error) * _of_population(y, values, second.error))
    return values, x, y, together


def _shares(first: Side, second: Side, rewards: Floats, coupling: Coupling, level: float) -> Shares:
    from scipy.special import ndtri

    values, x, y, together = _levels(first, second, rewards)
    share, tie = _preferred(x, y, coupling, together)
    total = np.sqrt(first.error**2 + second.error**2)
    z = float(ndtri(0.5 + 0.5 * level))
    up, down = (
        np.divide(z * side.error**2, total, out=np.zeros_like(total), where=total > 0) for side in (first, second)
    )
    low, _ = _preferred(_moved(x, values, -up), _moved(y, values, down), coupling, together)
    high, _ = _preferred(_moved(x, values, up), _moved(y, values, -down), coupling, together)
    return Shares(share, np.minimum(low, share), np.maximum(high, share), tie)


def _of_population(p: Floats, rewards: Floats, error: Floats) -> Floats:
    """How much of the variance of rewards is between people, and not the posterior's error, (P,)."""
    variance = p @ rewards**2 - (p @ rewards) ** 2
    return np.clip(1.0 - np.divide(error**2, variance, out=np.ones_like(variance), where=variance > 0), 0.0, 1.0)


def _preferred(x: Floats, y: Floats, coupling: Coupling, together: Floats) -> tuple[Floats, Floats]:
    """P(X > Y) and P(X = Y), (P,) each."""
    joint = _bivariate(_scores(x), _scores(y), coupling.correlation * together)
    cells = np.diff(np.diff(joint, axis=1, prepend=0.0), axis=2, prepend=0.0)
    one = coupling.indifference * np.diagonal(cells, -1, axis1=1, axis2=2).sum(axis=1)  # above by one level
    below = coupling.indifference * np.diagonal(cells, 1, axis1=1, axis2=2).sum(axis=1)
    share = np.einsum("pab,ab->p", cells, np.tril(np.ones(cells.shape[1:]), -1)) - one
    return np.clip(share, 0.0, 1.0), np.clip(np.einsum("paa->p", cells) + one + below, 0.0, 1.0)


def _scores(p: Floats) -> Floats:
    """The normal scores of the distribution functions of p (P, L)."""
    from scipy.special import ndtri

    scores = np.clip(ndtri(np.minimum(np.cumsum(p, axis=1), 1.0)), -_EDGE, _EDGE)
    scores[:, -1] = _EDGE
    return np.asarray(scores)


def _bivariate(h: Floats, k: Floats, correlation: Floats) -> Floats:
    """Phi2 at every pair of scores, (P, L, L); correlation (P,)."""
    from scipy.special import ndtr

    return np.asarray(ndtr(h[:, :, None]) * ndtr(k[:, None, :]) + _dependence(h, k, correlation))


def _dependence(h: Floats, k: Floats, correlation: Floats) -> Floats:
    """Phi2 less the product of the two distribution functions: the integral, (P, L, L)."""
    h, k = h[:, :, None], k[:, None, :]
    found = np.zeros(np.broadcast_shapes(h.shape, k.shape))
    squares, product = h * h + k * k, 2.0 * h * k
    top = np.arcsin(correlation)[:, None, None]
    for node, weight in zip(*np.polynomial.legendre.leggauss(_NODES), strict=True):
        angle = 0.5 * top * (node + 1.0)
        found += weight * top / (4.0 * np.pi) * np.exp((np.sin(angle) * product - squares) / (2.0 * np.cos(angle) ** 2))
    return found


def _moved(p: Floats, rewards: Floats, by: Floats) -> Floats:
    """The distributions (P, L), tilted until their means are `by` (P,) higher; at most to nearly the lowest or the highest reward."""
    span = rewards[-1] - rewards[0] if len(rewards) > 1 else 1.0
    mean = p @ rewards
    goal = np.clip(mean + by, rewards[0] + 1e-3 * span, rewards[-1] - 1e-3 * span)
    tilt, moved = np.zeros(len(p)), p
    for _ in range(_STEPS):
        mean = moved @ rewards
        variance = np.maximum(moved @ rewards**2 - mean**2, 1e-6 * span**2)
        tilt = tilt + np.clip((goal - mean) / variance, -4.0 / span, 4.0 / span)
        logs = np.log(np.maximum(p, 1e-12)) + tilt[:, None] * rewards
        moved = np.exp(logs - logs.max(axis=1, keepdims=True))
        moved = moved / moved.sum(axis=1, keepdims=True)
    return moved
