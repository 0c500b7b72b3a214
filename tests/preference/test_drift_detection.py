from __future__ import annotations

import numpy as np
import pytest

from dprm_data.core.arrays import Floats
from dprm_data.core.errors import InputError
from dprm_data.ingest.votes import Votes
from dprm_data.labels.space import LabelSpace
from dprm_data.preference.beta import cells
from dprm_data.preference.drift_detection import benjamini_hochberg, drift, log_bayes_factors
from dprm_data.preference.model_selection import learn_prior
from dprm_data.preference.posterior import evaluate
from dprm_data.preference.scores import hold_out
from tests.preference import real_votes

FIVE = LabelSpace.ordinal(5)


def population(items: int, seed: int) -> Floats:
    rng = np.random.default_rng(seed)
    return cells(1 / (1 + np.exp(-rng.normal(0, 1, items))), np.exp(rng.normal(1.3, 0.5, items)), 5)


def votes(p: Floats, n: int, seed: int) -> Votes:
    rng = np.random.default_rng(seed)
    return Votes([f"i{k}" for k in range(len(p))], np.array([rng.multinomial(n, row) for row in p], dtype=float))


def test_where_nothing_moved_alarms_are_as_rare_as_promised() -> None:
    p = population(600, 0)
    old, new = votes(p, 12, 1), votes(p, 8, 2)
    prior, _ = learn_prior(old.counts, FIVE, "beta")
    report = drift(old, new, prior, FIVE, simulations=199)
    share = (report.p_value <= 0.05).mean()
    assert 0.02 < share < 0.085  # 5 %, with a standard error of 0.9 %
    assert report.moved.sum() <= 2
    assert abs(report.shift) < 4 * report.shift_error


@pytest.mark.slow
def test_items_that_moved_are_found_and_hardly_any_others() -> None:
    p = population(300, 0)
    q = p.copy()
    q[:30] = p[:30, ::-1]
    asymmetric = np.abs(p[:30] @ np.arange(5) - q[:30] @ np.arange(5)) > 1.5
    old, new = votes(p, 40, 1), votes(q, 40, 2)
    prior, _ = learn_prior(old.counts, FIVE, "beta")
    report = drift(old, new, prior, FIVE)
    moved = {item for item, flag in zip(report.item_ids, report.moved, strict=True) if flag}
    truly = {f"i{k}" for k in range(30)}
    clearly = {f"i{k}" for k in np.flatnonzero(asymmetric)}
    assert len(moved & clearly) >= 0.9 * len(clearly)
    assert len(moved - truly) <= 4
    assert report.summary()["items_moved"] == len(moved)
    assert report.to_table().column_names[0] == "item_id"


def test_the_mean_bayes_factor_without_drift_is_one() -> None:
    """E B = 1 under the model: so P(B >= c) <= 1/c."""
    rng = np.random.default_rng(0)
    alpha = np.array([2.0, 1, 1, 1, 1])
    p = rng.dirichlet(alpha, 30_000)
    # new votes are exchangeable with old ones of the same item
    old, new = (np.array([rng.multinomial(2, row) for row in p], dtype=float) for _ in range(2))
    from dprm_data.preference.prior import DirichletPart, Prior

    prior = Prior("dirichlet", FIVE.name, tuple(FIVE.names), (DirichletPart(alpha[None, :], np.ones(1)),))
    factor = np.exp(log_bayes_factors(prior, FIVE, old, new))
    assert factor.mean() == pytest.approx(1.0, abs=4 * factor.std() / np.sqrt(len(factor)))


def test_a_population_that_moves_as_a_whole_shows_in_the_mean() -> None:
    p = population(200, 0)
    q = np.roll(p, 1, axis=1)
    q[:, -1] += q[:, 0]
    q[:, 0] = 0
    old, new = votes(p, 10, 1), votes(q / q.sum(axis=1, keepdims=True), 10, 2)
    report = drift(old, new, learn_prior(old.counts, FIVE, "beta")[0], FIVE, simulations=99)
    assert report.shift > 10 * report.shift_error


def test_only_items_with_votes_on_both_sides_are_compared() -> None:
    old = Votes(["a", "b", "c"], np.array([[3.0, 0, 0, 0, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]]))
    new = Votes(["c", "d", "b", "a"], np.array([[1.5, 1, 0, 0, 0], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0]]))
    prior, _ = learn_prior(old.counts, FIVE, "beta")
    assert drift(old, new, prior, FIVE).item_ids == ["c"]
    nothing = drift(old, Votes([], np.zeros((0, 5))), prior, FIVE)
    assert nothing.summary()["items_compared"] == 0
    with pytest.raises(InputError, match="rate"):
        drift(old, new, prior, FIVE, rate=0.0)


def test_benjamini_hochberg_by_hand() -> None:
    p = np.array([0.01, 0.9, 0.02, 0.03, 0.5])
    np.testing.assert_array_equal(benjamini_hochberg(p, 0.05), [True, False, True, True, False])
    np.testing.assert_array_equal(benjamini_hochberg(p, 0.01), [False] * 5)
    assert len(benjamini_hochberg(np.zeros(0), 0.1)) == 0


def test_real_votes_of_one_population_hardly_alarm() -> None:
    whole, space = real_votes.counts("chaosnli")
    _, train, held = hold_out(whole[:800], 50, np.random.default_rng(0))
    names = [f"i{k}" for k in range(len(train))]
    prior, _ = learn_prior(train, space, "beta")
    report = drift(Votes(names, train), Votes(names, held), prior, space, simulations=199)
    assert (report.p_value <= 0.05).mean() < 0.09
    assert report.moved.sum() <= 3


def test_simulated_votes_weigh_as_much_as_the_new_ones() -> None:
    """New votes that weigh 0.4 are compared with each label's 0.4 votes, not with whole ones."""
    prior, _ = learn_prior(votes(population(300, 0), 12, 1).counts, FIVE, "beta")
    old, new = Votes(["i"], np.array([[0.0, 3, 3, 0, 0]])), Votes(["i"], np.array([[0.0, 0, 0, 0.4, 0]]))
    each = log_bayes_factors(prior, FIVE, np.repeat(old.counts, 5, axis=0), 0.4 * np.eye(5))
    chance = evaluate(prior, FIVE, old.counts, np.eye(5)).mean[0]
    expected = chance[each >= each[3] - 1e-9].sum()
    assert each[3] > 0
    assert drift(old, new, prior, FIVE, simulations=4999).p_value[0] == pytest.approx(expected, abs=0.02)
