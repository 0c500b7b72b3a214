"""How many people prefer one response to another: against SciPy's bivariate normal distribution, simulated people, and by properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal, norm

from dprm_data.core.arrays import Floats
from dprm_data.ingest.ratings import Ratings
from dprm_data.labels.space import LabelSpace
from dprm_data.preference.coupling import learn_coupling
from dprm_data.preference.pair_shares import Coupling, Side, pair_shares

REWARDS = np.arange(1.0, 6.0)


def side(*p: float, error: float = 0.0) -> Side:
    return Side(np.array([p]), np.array([error]))


@pytest.mark.parametrize("r", [0.0, 0.3, 0.8])
def test_shares_are_those_of_a_bivariate_normal(r: float) -> None:
    x, y = np.array([0.1, 0.2, 0.3, 0.25, 0.15]), np.array([0.3, 0.3, 0.2, 0.1, 0.1])
    ends = [norm.ppf(np.minimum(np.cumsum(p), 1)).clip(-8, 8) for p in (x, y)]
    joint = np.zeros((6, 6))
    normal = multivariate_normal([0, 0], [[1, r], [r, 1]])
    joint[1:, 1:] = [[normal.cdf([h, k]) for k in ends[1]] for h in ends[0]]
    cells = np.diff(np.diff(joint, axis=0), axis=1)
    found = pair_shares(side(*x), side(*y), REWARDS, Coupling(r, 0.0))
    assert found.share[0] == pytest.approx(np.tril(cells, -1).sum(), abs=1e-5)
    assert found.tie[0] == pytest.approx(np.trace(cells), abs=1e-5)
    near = pair_shares(side(*x), side(*y), REWARDS, Coupling(r, 0.25))
    assert near.share[0] == pytest.approx(found.share[0] - 0.25 * np.trace(cells, -1), abs=1e-5)
    assert near.tie[0] == pytest.approx(found.tie[0] + 0.25 * (np.trace(cells, -1) + np.trace(cells, 1)), abs=1e-5)


def test_without_correlation_it_is_a_sum_over_pairs_of_labels() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.dirichlet(np.ones(4), (2, 50))
    rewards = np.array([0.0, 2.0, 2.0, -1.0])  # no order of their own, and two that tie
    found = pair_shares(Side(x, np.zeros(50)), Side(y, np.zeros(50)), rewards, Coupling(0.0, 0.0))
    above = rewards[:, None] > rewards
    np.testing.assert_allclose(found.share, np.einsum("pa,pb,ab->p", x, y, above), atol=1e-9)
    np.testing.assert_allclose(found.tie, np.einsum("pa,pb,ab->p", x, y, rewards[:, None] == rewards), atol=1e-9)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(0.01, 1.0), min_size=10, max_size=10),
    st.floats(0.0, 0.9),
    st.floats(0.0, 1.0),
    st.floats(0.0, 2.0),
)
def test_the_two_sides_are_alike(weights: list[float], r: float, v: float, error: float) -> None:
    p = np.array(weights).reshape(2, 5)
    p /= p.sum(axis=1, keepdims=True)
    one, other = side(*p[0], error=error), side(*p[1], error=0.3)
    there = pair_shares(one, other, REWARDS, Coupling(r, v))
    back = pair_shares(other, one, REWARDS, Coupling(r, v))
    assert there.share + there.tie + back.share == pytest.approx(1.0, abs=1e-6)
    assert there.tie == pytest.approx(back.tie, abs=1e-9)
    assert 0 <= there.low[0] <= there.share[0] <= there.high[0] <= 1
    wider = pair_shares(side(*p[0], error=error), side(*p[1], error=0.6), REWARDS, Coupling(0.0, v))
    narrow = pair_shares(one, other, REWARDS, Coupling(0.0, v))
    # With another error the move is shared out anew between the two sides, whose ends are at different distances: nearly wider.
    assert wider.high - wider.low >= narrow.high - narrow.low - 0.05


def rated(rng: np.random.Generator, severity: float, raters: int = 300, items: int = 40) -> tuple[Ratings, Floats]:
    """Everybody's ratings of all items, and the population's distributions."""
    place, person = rng.normal(0, 1, items), severity * rng.normal(size=raters)
    own = np.sqrt(1 - severity**2)
    latent = place + person[:, None] + own * rng.normal(size=(raters, items))
    cuts = np.array([-1.2, -0.4, 0.4, 1.2])
    label = np.digitize(latent, cuts)
    edges = norm.cdf(np.r_[-np.inf, cuts, np.inf] - place[:, None])
    who, what = np.indices(label.shape)
    ids = [f"i{i}" for i in range(items)], [f"r{i}" for i in range(raters)]
    ones = np.ones(label.size)
    ratings = Ratings(*ids, 5, what.ravel(), who.ravel(), label.ravel(), ones, np.zeros(label.size, np.int64))
    return ratings, np.diff(edges, axis=1)


def test_severe_people_are_severe_with_both() -> None:
    ratings, truth = rated(np.random.default_rng(1), severity=0.7)
    learned = learn_coupling(ratings, truth, np.zeros(len(truth)), LabelSpace.ordinal(5))
    assert learned is not None
    assert learned.correlation == pytest.approx(0.49, abs=0.1)
    assert learned.indifference < 0.1  # none was simulated
    label = ratings.label.reshape(300, 40)
    first, second = np.triu_indices(40, 1)
    zero = np.zeros(len(first))
    found = pair_shares(Side(truth[first], zero), Side(truth[second], zero), REWARDS, learned)
    real = (label[:, first] > label[:, second]).mean(axis=0)
    apart = pair_shares(Side(truth[first], zero), Side(truth[second], zero), REWARDS, Coupling(0.0, 0.0))
    assert np.abs(found.share - real).mean() < 0.03 < np.abs(apart.share - real).mean()


def test_nothing_is_learned_where_nobody_rates_twice() -> None:
    ratings, truth = rated(np.random.default_rng(2), severity=0.7, items=1)
    assert learn_coupling(ratings, truth, np.zeros(1), LabelSpace.ordinal(5)) is None
