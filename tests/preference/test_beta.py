from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.integrate import dblquad

from dprm_data.preference import beta
from dprm_data.preference.components import Components
from dprm_data.preference.em import STEPS, Base, Sample, learn_beta, learn_dispersion, learn_kappa
from dprm_data.preference.prior import DirichletPart
from dprm_data.preference.scores import hold_out, ranked_probability_score
from tests.preference import real_votes


@settings(deadline=None, max_examples=80)
@given(st.floats(0.02, 0.98), st.floats(0.3, 200.0), st.integers(2, 12))
def test_cells_are_differences_of_scipys_distribution_function(mu: float, s: float, levels: int) -> None:
    ours = beta.cells(np.array([mu]), np.array([s]), levels)[0]
    theirs = np.diff(stats.beta(mu * s, (1 - mu) * s).cdf(np.linspace(0, 1, levels + 1)))
    np.testing.assert_allclose(ours, theirs, atol=2e-8)
    assert ours.sum() == pytest.approx(1.0)


@settings(deadline=None, max_examples=80)
@given(st.floats(0.01, 0.99), st.floats(0.001, 0.999))
def test_parameters_from_moments_have_these_moments(mean: float, share: float) -> None:
    variance = share * mean * (1 - mean)
    a, b = beta.from_moments(np.array([mean]), np.array([variance]))
    assert stats.beta(a[0], b[0]).mean() == pytest.approx(mean, rel=1e-6)
    assert stats.beta(a[0], b[0]).var() == pytest.approx(variance, rel=1e-5)


def test_level_weights_and_lapses_do_what_they_say() -> None:
    cells = beta.cells(np.array([0.3]), np.array([4.0]), 4)
    tilted = beta.weighted(cells, np.array([1.0, 2.0, 1.0, 1.0]))
    assert tilted[0, 1] / tilted[0, 0] == pytest.approx(2 * cells[0, 1] / cells[0, 0])
    lapsed = beta.weighted(cells, np.ones(4), 0.1)
    np.testing.assert_allclose(lapsed, 0.9 * cells + 0.1 / 4)


def test_posterior_mean_on_the_grid_is_that_of_integration() -> None:
    """A prior that is even in arcsin(sqrt(mu)) and log s, integrated numerically, against the finest grid."""
    votes, levels = np.array([1.0, 3.0, 2.0, 0.0, 1.0]), 5
    mu, s = np.meshgrid(beta.mean_grid(97), beta.concentration_grid(49), indexing="ij")
    P = beta.cells(mu.ravel(), s.ravel(), levels)
    grid = Components(P, np.full(len(P), np.inf), np.full(len(P), 1 / len(P)))
    ours = grid.posterior(votes[None, :]).moments(np.eye(levels))[0][0]

    def integrand(x: float, log_s: float, power: float) -> float:
        p = beta.cells(np.array([np.sin(x) ** 2]), np.array([np.exp(log_s)]), levels)[0]
        return float(np.prod(p**votes) * p[1] ** power)

    low, high = np.log(beta.SMALLEST), np.log(beta.LARGEST)
    half = 0.5 * (high - low) / 48  # a grid's outermost points stand for half a step beyond them
    limits = (low - half, high + half, 1e-4, np.pi / 2 - 1e-4)
    total, first = (dblquad(integrand, *limits, args=(power,), epsrel=1e-4, epsabs=0)[0] for power in (0.0, 1.0))
    assert ours[1] == pytest.approx(first / total, rel=5e-3)


def simulate(
    items: int, n: int, levels: int, seed: int, omega: np.ndarray | None = None, lapse: float = 0.0
) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mu = 1 / (1 + np.exp(-rng.normal(0.2, 1.0, items)))
    P = beta.weighted(
        beta.cells(mu, np.exp(rng.normal(1.5, 0.4, items)), levels), np.ones(levels) if omega is None else omega, lapse
    )
    return np.array([rng.multinomial(n, p) for p in P], dtype=float)


def test_level_weights_are_recovered() -> None:
    """Up to what a beta can itself take up: x^a (1 - x)^b times a beta's density is another beta's."""
    omega = np.array([1.0, 0.5, 1.0, 2.0, 1.0, 0.5])
    part = learn_beta(simulate(3_000, 12, 6, 0, omega))
    x = (np.arange(6) + 0.5) / 6
    taken = np.stack([np.ones(6), np.log(x), np.log(1 - x)], axis=1)

    def left(log_omega: np.ndarray) -> np.ndarray:
        return log_omega - taken @ np.linalg.lstsq(taken, log_omega, rcond=None)[0]

    truth, found = left(np.log(omega)), left(np.log(part.level_weights))
    np.testing.assert_allclose(found, truth, atol=0.2)
    assert np.corrcoef(found, truth)[0, 1] > 0.97


def test_a_scale_that_is_used_evenly_gets_even_weights() -> None:
    part = learn_beta(simulate(2_000, 12, 5, 1))
    np.testing.assert_allclose(part.level_weights, 1.0, atol=0.2)
    assert part.lapse < 0.02


def test_single_votes_set_level_weights_that_expect_every_level_as_often_as_it_was_chosen() -> None:
    rng = np.random.default_rng(2)
    votes = np.eye(5)[rng.choice(5, 2000, p=[0.4, 0.1, 0.05, 0.1, 0.35])]
    components = learn_beta(votes).components()
    np.testing.assert_allclose(components.weights @ components.means, votes.mean(axis=0), atol=0.02)
    np.testing.assert_array_equal(learn_beta(votes, free=True).level_weights, 1.0)


def test_lapses_are_recovered() -> None:
    assert learn_beta(simulate(1_500, 60, 7, 3, lapse=0.06)).lapse == pytest.approx(0.06, abs=0.02)


def test_two_levels_have_neither_weights_nor_misfit() -> None:
    part = learn_beta(np.array([[3.0, 1.0], [0.0, 4.0], [2.0, 2.0]]))
    np.testing.assert_array_equal(part.level_weights, 1.0)
    assert learn_kappa(np.array([[3.0, 1.0], [0.0, 4.0]]), part).kappa is None


def test_kappa_is_small_where_items_do_not_keep_to_betas_and_large_where_they_do() -> None:
    rng = np.random.default_rng(4)
    kept = simulate(400, 200, 6, 4)
    strayed = np.array([rng.multinomial(200, rng.dirichlet(30 * (n + 0.5) / 203)) for n in kept], dtype=float)
    close, loose = (learn_kappa(votes, learn_beta(votes)).kappa for votes in (kept, strayed))
    assert close is not None and loose is not None
    assert 15 < loose < 80
    assert close > 500


def test_em_without_a_base_climbs_the_likelihood(monkeypatch: pytest.MonkeyPatch) -> None:
    from dprm_data.preference import em

    monkeypatch.setattr(em, "BASE_ITEMS", 0.0)
    monkeypatch.setattr(em, "EVEN_ITEMS", 0.0)
    votes = simulate(300, 8, 5, 5)
    sample = Sample.of(votes)
    mu, s = (grid.ravel() for grid in np.meshgrid(beta.mean_grid(15), beta.concentration_grid(7), indexing="ij"))
    likelihood = np.exp(sample.votes @ np.log(beta.cells(mu, s, 5)).T)
    weights, last = np.full(len(mu), 1 / len(mu)), -np.inf
    for _ in range(15):
        weights = em.em(likelihood, sample.items, sample.items, weights, Base(mu, s), 1)
        now = float(sample.items @ np.log(likelihood @ weights))
        assert now >= last - 1e-9
        last = now
    assert STEPS > 0


def test_thinning_keeps_at_most_so_many_rows_and_is_always_the_same() -> None:
    sample = Sample.of(simulate(2_000, 10, 6, 6))
    thin = sample.thinned(200)
    assert len(thin.votes) <= 200 < len(sample.votes)
    assert thin.items.min() >= 1
    np.testing.assert_array_equal(thin.votes, sample.thinned(200).votes)
    assert sample.thinned(10**6) is sample


def test_shuffled_levels_make_the_plain_beta_worse_on_a_real_scale() -> None:
    """The control: if the ordinal structure did not help, the order of the levels would not matter."""
    whole, space = real_votes.counts("faceratings")
    order = np.array([3, 0, 5, 2, 6, 1, 4])
    gains = []
    for seed in range(4):
        _, train, held = hold_out(whole, 10, np.random.default_rng(seed))
        scores = []
        for columns in (np.arange(space.K), order):
            part = learn_beta(train[:, columns], level_weights=False)
            p = part.components().posterior(train[:, columns]).moments(np.eye(space.K))[0]
            scores.append(ranked_probability_score(p[:, np.argsort(columns)], held))
        gains.append(scores[1] - scores[0])
    gain = np.mean(gains, axis=0)
    assert gain.mean() > 2 * gain.std() / np.sqrt(len(gain))


def test_kappa_is_the_usual_one_where_few_votes_say_nothing() -> None:
    votes = np.array([[2.0, 0, 0], [0, 2.0, 0], [0, 1.0, 1.0]])
    found = learn_kappa(votes, learn_beta(votes)).kappa
    assert found is not None
    assert 100 < found < 400


def test_dispersion_weighs_items_by_their_votes() -> None:
    """Of 30 items with 2 votes and 30 with 10, under a flat prior of two labels: by the Dirichlet's own formulas."""
    rows = np.array([[1.0, 1.0], [6.0, 4.0]])
    N = rows.sum(axis=1)
    mean = (1 + rows[:, 0]) / (2 + N)
    claimed = mean * (1 - mean) / (2 + N + 1)
    found = (mean * (1 - mean) - claimed) / N - (rows[:, 0] / N - mean) ** 2
    ratio = (N @ found) / (N @ claimed)
    assert 1 < ratio < 4
    flat = DirichletPart(np.ones((1, 2)), np.ones(1)).components()
    dispersion = learn_dispersion(np.repeat(rows, 30, axis=0), flat, ordered=False)
    assert dispersion == pytest.approx(1 + 60 / 65 * (ratio - 1))


def test_dispersion_is_four_at_most() -> None:
    certain = DirichletPart(np.full((1, 2), 1e4), np.ones(1)).components()
    votes = np.tile([2.0, 2.0], (95, 1))
    assert learn_dispersion(votes, certain, ordered=False) == pytest.approx(1 + 95 / 100 * 3)
