"""Finite mixtures of Dirichlets: the one engine behind all families.

A *component* g says: the distribution p over L levels is Dirichlet(c_g * P_g), with mean P_g (L probabilities) and concentration c_g.
A prior is a set of components with weights w_g. The families differ only in what their components are:

- `beta`: P_g are the cells of a discretised beta, c_g is infinite (p *is* the beta's cells);
- `beta-dirichlet`: the same P_g, c_g = kappa, finite;
- `dirichlet`: one component; `mixture`: a few, with free means; `empirical`: one with c -> 0.

Given votes n (their sum N), with a_g = c_g / (c_g + N) and b_g = 1 / (c_g + N):

    likelihood   log p(n | g) = log G(c) - log G(c + N) + sum_k [log G(c P_k + n_k) - log G(c P_k)]   (c finite)
                              = sum_k n_k log P_gk                                                    (c infinite)
    posterior    w_g p(n | g) / sum = R_g,   p | g, n ~ Dirichlet(c P_g + n)

and for a linear functional t = p . v, with mean m_g = a_g P_g.v + b_g n.v under component g:

    E t   = sum_g R_g m_g
    Var t = sum_g R_g m_g^2 - (E t)^2 + sum_g R_g (q_g . v^2 - m_g^2) / (c_g + N + 1),   q_g = a_g P_g + b_g n

If the components are exact (c infinite) but the truth is only close to them, p ~ Dirichlet(kappa P_g), `misfit` = kappa widens the variance. With
a = kappa / (kappa + N), t_n = n . v / N the raw mean, s2 = E[p . v^2] - (E t)^2 - Var t the spread within a distribution:

    Var t  <-  a Var t  +  s2 / (kappa + N + 1)  +  (1 - a)^2 (t_n - E t)^2

the terms of the Dirichlet posterior above (the last one is the squared distance between its mean and the exact one), with the components'
posterior weights taken from the exact likelihood, whose overconfidence, (kappa + N) / kappa, has turned a^2 into a.

The prior is itself an estimate, from I items. For normal means Morris (1983) adds 2 / (I - 3) B^2 (y - m)^2 to the variance of the posterior
mean, B the shrinkage, y the raw mean and m the prior's; as B (y - m) is the raw minus the posterior mean, in any family

    Var t  <-  Var t  +  2 / (I - 3) (t_n - E t)^2          (I > 5; with fewer items, as if there were 6)

The variances can be checked without knowing the truth. For the posterior mean m of a functional and the raw mean t, whose variance
given the truth is s2 / N, a model that is right has

    E (t - m)^2 = s2 / N - Var t                            (the error of a conditional mean is uncorrelated with the data)

so that mean(s2 / N - (t - m)^2) over the items estimates the mean of the true posterior variances. Its ratio to the mean of the claimed ones is the
*dispersion* by which all variances are multiplied, if above 1.

All sums over components are matrix products; the multinomial coefficient, the same for all components, is omitted everywhere.

Source: Minka, "Estimating a Dirichlet distribution" (2000), for the Dirichlet-multinomial; the rest is the law of total variance.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dprm_data.core.arrays import Floats

MOST_KNOTS = 600  # distinct counts up to here get their exact value, more are interpolated


@dataclass(frozen=True)
class Components:
    """`means` (G, L), rows sum to 1 and are positive; `concentrations` (G,), may be infinite; `weights` (G,), sum 1;
    `misfit`, `items` (how many the components were learned from) and `dispersion`: see above."""

    means: Floats
    concentrations: Floats
    weights: Floats
    misfit: float | None = None
    items: float = np.inf
    dispersion: float = 1.0

    @cached_property
    def log_means(self) -> Floats:
        return np.log(self.means)

    @cached_property
    def log_weights(self) -> Floats:
        with np.errstate(divide="ignore"):
            return np.log(self.weights)

    @cached_property
    def blocks(self) -> list[tuple[float, slice]]:
        """Runs of components with the same concentration: (c, where)."""
        c = self.concentrations
        starts = [0, *(np.flatnonzero(c[1:] != c[:-1]) + 1)]
        ends = [*starts[1:], len(c)]
        return [(float(c[i]), slice(int(i), int(j))) for i, j in zip(starts, ends, strict=True)]

    def log_likelihood(self, votes: Floats) -> Floats:
        """log p(n | g) of every row of votes (U, L) under every component, shape (U, G)."""
        out = np.empty((len(votes), len(self.weights)))
        for c, block in self.blocks:
            if np.isinf(c):
                np.matmul(votes, self.log_means[block].T, out=out[:, block])
            else:
                out[:, block] = dirichlet_multinomial(votes, c * self.means[block])
        return out

    def posterior(self, votes: Floats) -> Posterior:
        """The posterior of these votes (U, L)."""
        scores = self.log_likelihood(votes)
        scores += self.log_weights
        return Posterior.of(self, votes, scores)


@dataclass(frozen=True)
class Posterior:
    """`unnormalised` (U, G) divided by `total` (U, 1) are the posterior weights R; `log_evidence` (U,) = log p(n)."""

    prior: Components
    votes: Floats
    unnormalised: Floats
    total: Floats
    log_evidence: Floats

    @classmethod
    def of(cls, prior: Components, votes: Floats, scores: Floats) -> Posterior:
        """From log (weight x likelihood) of every component (U, G), an array that is overwritten."""
        top = scores.max(axis=1, keepdims=True)
        scores -= top
        np.exp(scores, out=scores)
        total = scores @ np.ones((scores.shape[1], 1))  # a matrix product sums faster than sum
        return cls(prior, votes, scores, total, np.log(total[:, 0]) + top[:, 0])

    def expect(self, per_component: Floats) -> Floats:
        """The posterior mean of numbers (G, M) that belong to the components, shape (U, M)."""
        return np.asarray(self.unnormalised @ per_component / self.total)

    def moments(self, values: Floats) -> tuple[Floats, Floats]:
        """Mean and variance of the functionals p . v, one per column of `values` (L, M); shapes (U, M)."""
        n, N = self.votes, self.votes.sum(axis=1, keepdims=True)
        mean = np.zeros((len(n), values.shape[1]))
        second, within, square = np.zeros_like(mean), np.zeros_like(mean), np.zeros_like(mean)
        for c, block in self.prior.blocks:
            P, R = self.prior.means[block], self.unnormalised[:, block]
            r = P @ values
            s1, s2, t = np.split(R @ np.hstack([r, r * r, P @ values**2]) / self.total, 3, axis=1)
            if np.isinf(c):
                mean, second, square = mean + s1, second + s2, square + t
                continue
            a, b = c / (c + N), 1.0 / (c + N)
            y, y2 = n @ values, n @ values**2
            s0 = R.sum(axis=1, keepdims=True) / self.total
            part = a**2 * s2 + 2 * a * b * y * s1 + b**2 * y**2 * s0
            mean += a * s1 + b * y * s0
            second += part
            square += a * t + b * y2 * s0
            within += (a * t + b * y2 * s0 - part) / (c + N + 1)
        variance = np.maximum(second - mean**2, 0.0) + np.maximum(within, 0.0)
        return mean, self._widened(values, mean, variance, np.maximum(square - mean**2 - variance, 0.0))

    def _widened(self, values: Floats, mean: Floats, variance: Floats, spread: Floats) -> Floats:
        """The variance with misfit, the prior's own uncertainty and dispersion; `spread` is that within a distribution."""
        N = self.votes.sum(axis=1, keepdims=True)
        raw = self.votes @ values / np.maximum(N, 1e-300)
        shift = np.where(N > 0, (raw - mean) ** 2, 0.0)
        learned = 2.0 / (max(self.prior.items, 6.0) - 3.0)
        if self.prior.misfit is not None:
            a = self.prior.misfit / (self.prior.misfit + N)
            variance = a * variance + spread / (self.prior.misfit + N + 1.0) + (1.0 - a) ** 2 * shift
        return np.asarray(self.prior.dispersion * (variance + learned * shift))

    def second_moments(self) -> tuple[Floats, Floats]:
        """E[p] (U, L) and E[p p^T] (U, L, L)."""
        L = self.prior.means.shape[1]
        i, j = np.triu_indices(L)
        # E[p_i p_j] = (E[(p_i + p_j)^2] - E[p_i^2] - E[p_j^2]) / 2: the functionals 1_i + 1_j are all that is needed.
        values = np.zeros((L, len(i)))
        values[i, np.arange(len(i))] += 1.0
        values[j, np.arange(len(i))] += 1.0
        mean, variance = self.moments(values)
        square = mean**2 + variance
        diagonal = square[:, i == j] / 4.0
        pairs = (square - diagonal[:, i] - diagonal[:, j]) / 2.0
        pairs[:, i == j] = diagonal
        full = np.empty((len(mean), L, L))
        full[:, i, j] = pairs
        full[:, j, i] = pairs
        return mean[:, i == j] / 2.0, full


def dirichlet_multinomial(votes: Floats, alphas: Floats) -> Floats:
    """log p(n | alpha) without the multinomial coefficient: votes (U, L), alphas (G, L) -> (U, G).

    log G(A) - log G(A + N) + sum_k [log G(alpha_k + n_k) - log G(alpha_k)], A = sum alpha, N = sum n. The counts may be fractional. Few distinct
    values (always so for plain counts) are computed once each; many are interpolated linearly between knots that are dense near
    0, at the bend of the function: the error stays below 1e-3 nats per label.
    """
    N = votes.sum(axis=1)
    out = -_rising(N, alphas.sum(axis=1))
    for k in range(votes.shape[1]):
        out += _rising(votes[:, k], alphas[:, k])
    return out


def _rising(counts: Floats, alpha: Floats) -> Floats:
    """log G(alpha + n) - log G(alpha) for counts (U,) and alpha (G,): shape (U, G)."""
    from scipy.special import gammaln

    values, where = np.unique(counts, return_inverse=True)
    base = gammaln(alpha)
    if len(values) <= MOST_KNOTS:
        return np.asarray((gammaln(alpha + values[:, None]) - base)[where])
    dense = min(float(alpha.min()), 0.01)
    knots = dense * np.expm1(np.linspace(0.0, np.log1p(values[-1] / dense), MOST_KNOTS))
    table = gammaln(alpha + knots[:, None]) - base
    low = np.clip(np.searchsorted(knots, counts, side="right") - 1, 0, MOST_KNOTS - 2)
    share = ((counts - knots[low]) / (knots[low + 1] - knots[low]))[:, None]
    return np.asarray(table[low] * (1.0 - share) + table[low + 1] * share)


def distinct(rows: Floats) -> tuple[Floats, np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """The distinct rows of an array (N, K) and, for every row, the index of its equal among them.

    Rows are distinguished by a 64-bit hash (a sum of their bits times odd constants), with one sort; if two different
    rows share a hash, the exact and slower method is used.
    """
    rows = np.ascontiguousarray(rows, dtype=np.float64) + 0.0  # -0.0 is 0.0
    if len(rows) == 0:
        return rows, np.zeros(0, dtype=np.int64)
    odd = np.random.default_rng(0).integers(0, 2**63, size=rows.shape[1], dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    bits = rows.view(np.uint64)
    keys = ((bits ^ (bits >> np.uint64(29))) * odd).sum(axis=1, dtype=np.uint64)
    keys ^= keys >> np.uint64(31)
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    if len(first) == len(rows):
        return rows, np.arange(len(rows))
    found = rows[first]
    if (found[inverse] != rows).any():
        found, inverse = np.unique(rows, axis=0, return_inverse=True)
    return found, inverse.astype(np.int64)
