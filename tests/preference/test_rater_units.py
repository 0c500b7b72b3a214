"""Figures over items take the rater as their unit: where nothing differs, they say so as often as they promise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dprm_data.core.arrays import Floats, Ints
from dprm_data.ingest.ratings import Ratings
from dprm_data.labels.space import LabelSpace
from dprm_data.preference.drift_detection import drift
from dprm_data.preference.groups import by_group
from dprm_data.preference.model_selection import learn_prior
from dprm_data.preference.rater_units import change, components, difference, rater_units

FIVE = LabelSpace.ordinal(5)


def judged(
    raters: int, items: int, share: float, rng: np.random.Generator, tau: float = 0.7
) -> tuple[Floats, Ints, Ints]:
    """Rewards by raters who judge a share of the items each, with their severities: (reward, item, rater)."""
    item, rater = np.nonzero(rng.random((items, raters)) < share)
    mean, severity = rng.normal(0, 1, items), rng.normal(0, tau, raters)
    return mean[item] + severity[rater] + rng.normal(0, 1, len(item)), item, rater


@pytest.mark.parametrize(("raters", "items", "share"), [(8, 40, 1.0), (40, 60, 0.2), (12, 80, 0.4)])
def test_groups_that_do_not_differ_are_found_to_in_five_of_a_hundred(raters: int, items: int, share: float) -> None:
    rng = np.random.default_rng(raters)
    alarms = []
    for _ in range(300):
        reward, item, rater = judged(raters, items, share, rng)
        kind = (rng.permutation(raters) < raters // 2).astype(float)[rater]
        found = difference(reward, item, rater, kind)
        assert (found.p_value < 0.05) == (abs(found.value) > 1.96 * found.wide_error)
        alarms.append(found.p_value < 0.05)
    assert np.mean(alarms) < 0.085  # 5 %, with a standard error of 1.3 %
    assert np.mean(alarms) > 0.015


def test_a_shift_between_other_people_is_found_in_five_of_a_hundred() -> None:
    rng = np.random.default_rng(0)
    alarms = []
    for _ in range(300):
        reward, item, rater = judged(16, 30, 1.0, rng)
        alarms.append(change(reward, item, rater, (rater < 8).astype(float)).p_value < 0.05)
    assert 0.015 < np.mean(alarms) < 0.085


def test_people_who_judge_again_cancel() -> None:
    rng = np.random.default_rng(0)
    reward, item, rater = judged(6, 50, 1.0, rng, tau=2.0)
    again = reward + 0.5 + rng.normal(0, 0.1, len(reward))
    twice = (np.r_[reward, again], np.r_[item, item], np.r_[rater, rater], np.r_[np.zeros(300), np.ones(300)])
    same = change(*twice)
    others = change(twice[0], twice[1], np.r_[rater, rater + 6], twice[3])
    assert same.value == pytest.approx(0.5, abs=0.03)
    assert same.p_value < 1e-3 < others.p_value


def test_the_components_are_those_of_the_analysis_of_variance() -> None:
    """Where everybody judges everything, Henderson's estimates are the classical mean squares."""
    rng = np.random.default_rng(1)
    reward, item, rater = judged(7, 30, 1.0, rng)
    table = reward.reshape(30, 7)
    residual = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + table.mean()
    within = (residual**2).sum() / (29 * 6)
    between = (table.mean(axis=0).var(ddof=1) * 30 - within) / 30
    found = components(reward, item, rater)
    np.testing.assert_allclose([found.between, found.within], [between, within])


def test_the_order_of_votes_and_names_does_not_matter() -> None:
    rng = np.random.default_rng(2)
    reward, item, rater = judged(9, 40, 0.5, rng)
    kind = (rater % 2).astype(float)
    order, items, raters = rng.permutation(len(reward)), rng.permutation(40), rng.permutation(9)
    one = difference(reward, item, rater, kind)
    other = difference(reward[order], items[item][order], raters[rater][order], kind[order])
    np.testing.assert_allclose([other.value, other.error, other.freedom], [one.value, one.error, one.freedom])


def rated(rng: np.random.Generator, raters: int, first: int = 0) -> Ratings:
    item, who = (a.ravel() for a in np.meshgrid(np.arange(25), np.arange(raters), indexing="ij"))
    severity = rng.normal(0, 0.9, raters)
    label = np.clip(
        np.rint(np.random.default_rng(0).normal(2, 1, 25)[item] + severity[who] + rng.normal(0, 0.6, len(who))), 0, 4
    )
    zeros, names = np.zeros(len(who), dtype=np.int64), [f"r{first + i}" for i in range(raters)]
    return Ratings([f"i{k}" for k in range(25)], names, 5, item, who, label.astype(np.int64), np.ones(len(who)), zeros)


def test_a_drift_knows_its_raters_as_far_as_they_are_known() -> None:
    rng = np.random.default_rng(5)
    old, new = rated(rng, 6), rated(rng, 6, first=6)
    prior, _ = learn_prior(old.votes().counts, FIVE, "beta")
    both = drift(old, new, prior, FIVE, simulations=9)
    one = drift(old.votes(), new, prior, FIVE, simulations=9)
    none = drift(old.votes(), new.votes(), prior, FIVE, simulations=9)
    told = drift(
        old.votes(),
        new.votes(),
        prior,
        FIVE,
        simulations=9,
        before=rater_units(old, FIVE),
        after=rater_units(new, FIVE),
    )
    assert [each.unit for each in (both, one, none, told)] == ["rater", "assumed", "vote", "rater"]
    assert both.shift == pytest.approx(none.shift)
    for each in (both, one, told):
        assert each.shift_error > 2 * none.shift_error


def test_figures_of_soft_labels_are_of_expected_rewards() -> None:
    rng = np.random.default_rng(5)
    old, new = rated(rng, 6), rated(rng, 6, first=6)
    vague = [replace(side, shares=0.5 * np.eye(5)[side.label] + 0.1) for side in (old, new)]  # half of every spread
    prior, _ = learn_prior(old.votes().counts, FIVE, "beta")
    plain, soft = (drift(*sides, prior, FIVE, simulations=9) for sides in ((old, new), vague))
    assert soft.shift == pytest.approx(0.5 * plain.shift)
    assert soft.shift_error == pytest.approx(0.5 * plain.shift_error)
    one, half = rater_units(old, FIVE), rater_units(vague[0], FIVE)
    assert one is not None and half is not None
    np.testing.assert_allclose([half.between, half.within], [0.25 * one.between, 0.25 * one.within])
    membership = {name: "odd" if i % 2 else "even" for i, name in enumerate(old.annotator_ids)}
    for hard, other in zip(
        by_group(old, FIVE, prior, membership), by_group(vague[0], FIVE, prior, membership), strict=True
    ):
        assert other.difference == pytest.approx(0.5 * hard.difference)
        assert other.difference_error == pytest.approx(0.5 * hard.difference_error)
