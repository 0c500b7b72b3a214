from __future__ import annotations

import numpy as np
import ot
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from dprm_data.ingest.votes import Votes
from dprm_data.labels.geometry import reward_steps
from dprm_data.labels.space import LabelSpace
from dprm_data.preference.fitting import fit
from dprm_data.preference.intervals import (
    _exact_quantile,
    _tabled_quantile,
    expected_wasserstein,
    interval,
    mean_absolute_deviation,
)
from dprm_data.preference.model_selection import learn_prior
from dprm_data.preference.sampling import draw


@settings(deadline=None, max_examples=100)
@given(mean=st.floats(0.02, 0.98), share=st.floats(0.001, 0.9), level=st.floats(0.1, 0.99))
def test_ends_are_quantiles_of_scipys_beta(mean: float, share: float, level: float) -> None:
    variance = share * mean * (1 - mean)
    c = 1 / share - 1
    low, high = interval(np.array([10 * mean - 3]), np.array([100 * variance]), level, -3.0, 7.0)
    a, b = mean * c, (1 - mean) * c
    theirs = stats.beta(a, b).interval(level)
    assert low[0] == pytest.approx(10 * theirs[0] - 3, abs=1e-6)
    assert high[0] == pytest.approx(10 * theirs[1] - 3, abs=1e-6)


@settings(deadline=None, max_examples=60)
@given(mean=st.floats(0.02, 0.98), share=st.floats(0.002, 0.7))
def test_mean_absolute_deviation_is_scipys(mean: float, share: float) -> None:
    c = 1 / share - 1
    frozen = stats.beta(mean * c, (1 - mean) * c)
    ours = mean_absolute_deviation(np.array([mean]), np.array([frozen.var()]))[0]
    # E|X - m| = 2 (m F(m) - integral of x f(x) below m), the integral a beta's distribution function again
    below = stats.beta(mean * c + 1, (1 - mean) * c).cdf(mean)
    assert ours == pytest.approx(2 * mean * (frozen.cdf(mean) - below), rel=1e-5, abs=1e-9)


def test_the_table_of_quantiles_is_near_the_exact_ones() -> None:
    rng = np.random.default_rng(0)
    mean = 1 / (1 + np.exp(-rng.normal(0, 2, 30_000)))
    variance = mean * (1 - mean) / (1 + np.exp(rng.uniform(-2, 9, 30_000)))
    for tail in (0.05, 0.975):
        error = np.abs(_exact_quantile(mean, variance, tail) - _tabled_quantile(mean, variance, tail)) / np.sqrt(
            variance
        )
        assert np.quantile(error, 0.999) < 0.02
        assert error.max() < 0.05


def test_certainty_and_a_single_reward() -> None:
    low, high = interval(np.array([0.3, 0.0, 1.0]), np.zeros(3), 0.9)
    np.testing.assert_allclose(low, [0.3, 0.0, 1.0], atol=1e-3)
    np.testing.assert_allclose(high, [0.3, 0.0, 1.0], atol=1e-3)
    low, high = interval(np.array([2.0]), np.array([0.1]), 0.9, 2.0, 2.0)
    assert low[0] == high[0] == 2.0


def test_expected_distance_is_what_transport_finds_for_draws() -> None:
    """POT on draws from the posterior, against the formula, on the paper's rewards."""
    space = LabelSpace.load("hh6")
    rng = np.random.default_rng(0)
    votes = Votes([str(i) for i in range(500)], rng.multinomial(7, rng.dirichlet(np.ones(6), 500)).astype(float))
    prior, _ = learn_prior(votes.counts, space, "dirichlet")
    result = fit(votes, space, prior=prior)
    p = draw(prior, space, votes.counts[:3], 300, rng)
    for i in range(3):
        distances = [
            ot.emd2(result.posterior[i] / result.posterior[i].sum(), q / q.sum(), space.ground_cost) for q in p[:, i]
        ]
        assert result.expected_distance[i] == pytest.approx(np.mean(distances), rel=0.08)


def test_expected_distance_of_certainty_is_zero() -> None:
    space = LabelSpace.load("hh6")
    below, widths = reward_steps(space.rewards)
    assert widths.sum() == pytest.approx(4.0)
    assert below.shape == (6, 4)  # -1 stands there twice
    assert expected_wasserstein(np.full((1, 4), 0.5), np.zeros((1, 4)), widths)[0] == pytest.approx(0.0, abs=1e-4)
