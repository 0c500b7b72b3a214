from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from scipy.integrate import dblquad, quad
from scipy.special import gammaln

from dprm_data.core.arrays import Floats
from dprm_data.preference.components import Components, dirichlet_multinomial, distinct

RNG = np.random.default_rng(0)


def single(alpha: Floats) -> Components:
    return Components(alpha[None, :] / alpha.sum(), np.array([alpha.sum()]), np.ones(1))


def test_dirichlet_multinomial_is_scipys() -> None:
    votes = RNG.multinomial(9, [0.2, 0.5, 0.3], size=40)
    alphas = RNG.uniform(0.1, 5.0, (6, 3))
    ours = dirichlet_multinomial(votes.astype(float), alphas)
    coefficient = gammaln(10) - gammaln(votes + 1).sum(axis=1)
    for g, alpha in enumerate(alphas):
        theirs = stats.dirichlet_multinomial(alpha, 9).logpmf(votes)
        np.testing.assert_allclose(ours[:, g] + coefficient, theirs, atol=1e-9)


def test_interpolated_likelihood_is_near_the_exact_one() -> None:
    votes = RNG.gamma(0.7, 4.0, (5_000, 4))  # far more distinct values than are computed exactly
    alphas = np.array([[0.02, 1.0, 3.0, 40.0], [0.3, 0.3, 0.3, 0.3], [100.0, 2.0, 0.01, 5.0]])
    A, N = alphas.sum(axis=1), votes.sum(axis=1)
    exact = gammaln(A) - gammaln(A + N[:, None])
    exact = exact + (gammaln(alphas + votes[:, None, :]) - gammaln(alphas)).sum(axis=2)
    assert np.abs(dirichlet_multinomial(votes, alphas) - exact).max() < 5e-3


def test_dirichlet_posterior_moments_are_the_closed_form() -> None:
    alpha = np.array([0.5, 2.0, 1.0])
    votes = np.array([[3.0, 0.0, 1.0], [0.0, 0.0, 0.0], [0.5, 7.25, 2.0]])
    mean, variance = single(alpha).posterior(votes).moments(np.eye(3))
    for i, n in enumerate(votes):
        posterior = stats.dirichlet(alpha + n)
        np.testing.assert_allclose(mean[i], posterior.mean(), atol=1e-12)
        np.testing.assert_allclose(variance[i], posterior.var(), atol=1e-12)


def test_mixture_moments_are_those_of_brute_force_integration() -> None:
    """Two Dirichlets on three labels: prior x likelihood integrated over the simplex."""
    alphas, weights = np.array([[1.5, 2.0, 4.0], [3.0, 1.2, 1.1]]), np.array([0.3, 0.7])
    votes, reward = np.array([2.0, 1.0, 3.5]), np.array([-1.0, 0.5, 2.0])
    components = Components(alphas / alphas.sum(axis=1, keepdims=True), alphas.sum(axis=1), weights)
    mean, variance = components.posterior(votes[None, :]).moments(reward[:, None])

    constants = gammaln(alphas.sum(axis=1)) - gammaln(alphas).sum(axis=1)

    def weight(x: float, y: float) -> float:
        p = np.array([x, y, 1.0 - x - y])
        prior = np.exp(constants + ((alphas - 1) * np.log(p)).sum(axis=1)) @ weights
        return float(prior * np.prod(p**votes))

    def moment(power: int) -> float:
        def inner(y: float, x: float) -> float:
            return weight(x, y) * float(np.dot([x, y, 1.0 - x - y], reward)) ** power

        return float(
            dblquad(inner, 1e-9, 1 - 1e-9, lambda x: 1e-9, lambda x: 1 - x - 1e-9, epsabs=1e-12, epsrel=1e-5)[0]
        )

    total = moment(0)
    assert mean[0, 0] == pytest.approx(moment(1) / total, rel=1e-4)
    assert variance[0, 0] == pytest.approx(moment(2) / total - (moment(1) / total) ** 2, rel=1e-3)


def test_second_moments_agree_with_draws() -> None:
    alphas = np.array([[1.0, 2.0, 3.0, 0.5], [4.0, 0.5, 0.5, 2.0]])
    components = Components(alphas / alphas.sum(axis=1, keepdims=True), alphas.sum(axis=1), np.array([0.4, 0.6]))
    votes = np.array([[1.0, 0.0, 2.0, 0.0]])
    posterior = components.posterior(votes)
    share = posterior.unnormalised[0] / posterior.total[0]
    rng = np.random.default_rng(1)
    chosen = rng.choice(2, 200_000, p=share)
    p = np.stack([rng.dirichlet(a + votes[0], 200_000) for a in alphas])[chosen, np.arange(200_000)]
    mean, square = posterior.second_moments()
    np.testing.assert_allclose(mean[0], p.mean(axis=0), atol=2e-3)
    np.testing.assert_allclose(square[0], p.T @ p / len(p), atol=2e-3)


def test_evidence_of_one_beta_binomial() -> None:
    a, b, n = 2.5, 1.5, np.array([[4.0, 3.0]])
    evidence = single(np.array([a, b])).posterior(n).log_evidence[0]
    integral = quad(lambda p: stats.beta(a, b).pdf(p) * p**4 * (1 - p) ** 3, 0, 1)[0]
    assert evidence == pytest.approx(np.log(integral), abs=1e-6)


def test_exact_components_are_the_limit_of_tight_ones() -> None:
    means, weights = RNG.dirichlet(np.ones(5), 30), np.full(30, 1 / 30)
    votes = RNG.multinomial(8, np.full(5, 0.2), 20).astype(float)
    exact = Components(means, np.full(30, np.inf), weights).posterior(votes).moments(np.eye(5))
    tight = Components(means, np.full(30, 1e8), weights).posterior(votes).moments(np.eye(5))
    np.testing.assert_allclose(exact[0], tight[0], atol=1e-5)
    np.testing.assert_allclose(exact[1], tight[1], atol=1e-5)


def test_misfit_and_few_items_only_widen() -> None:
    means, weights = RNG.dirichlet(np.ones(4), 25), np.full(25, 1 / 25)
    votes = RNG.multinomial(30, np.full(4, 0.25), 50).astype(float)
    votes[0] = 0.0
    plain = Components(means, np.full(25, np.inf), weights).posterior(votes).moments(np.eye(4))
    few = Components(means, np.full(25, np.inf), weights, items=20.0).posterior(votes).moments(np.eye(4))
    loose = Components(means, np.full(25, np.inf), weights, misfit=1e9).posterior(votes).moments(np.eye(4))
    np.testing.assert_array_equal(plain[0], few[0])
    assert (few[1] >= plain[1]).all()
    assert few[1][0] == pytest.approx(plain[1][0])  # without votes the raw mean says nothing
    np.testing.assert_allclose(loose[1], plain[1], rtol=1e-5, atol=1e-9)


finite = st.floats(0, 50, allow_nan=False).map(lambda x: round(x, 2))


@settings(deadline=None, max_examples=60)
@given(hnp.arrays(np.float64, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12), elements=finite))
def test_distinct_rows_give_the_rows_back(rows: Floats) -> None:
    found, where = distinct(rows)
    np.testing.assert_array_equal(found[where], rows)
    assert len(found) == len(np.unique(rows, axis=0))


@pytest.mark.parametrize("rows", [np.zeros((0, 3)), np.array([[0.0, -0.0], [-0.0, 0.0]])])
def test_distinct_of_nothing_and_of_two_zeros(rows: Floats) -> None:
    found, where = distinct(rows)
    assert len(found) == min(len(rows), 1)
    assert len(where) == len(rows)


def test_misfit_widens_as_its_formula_says() -> None:
    kappa, v = 20.0, np.arange(4.0)
    means, weights = RNG.dirichlet(np.ones(4), 25), np.full(25, 1 / 25)
    votes = RNG.multinomial(12, np.full(4, 0.25), 50).astype(float)
    exact = Components(means, np.full(25, np.inf), weights).posterior(votes)
    (mean, square), variance = exact.moments(np.stack([v, v**2], axis=1))[0].T, exact.moments(v[:, None])[1][:, 0]
    a, within, shift = kappa / (kappa + 12), square - mean**2 - variance, votes @ v / 12 - mean
    expected = a * variance + within / (kappa + 12 + 1) + (1 - a) ** 2 * shift**2
    widened = Components(means, np.full(25, np.inf), weights, misfit=kappa).posterior(votes).moments(v[:, None])[1]
    np.testing.assert_allclose(widened[:, 0], expected)
