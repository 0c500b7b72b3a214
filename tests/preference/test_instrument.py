"""The panel as an instrument: simulated panels of every kind, and the exact posterior by brute force."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.special import ndtr

from dprm_data.core.arrays import Floats
from dprm_data.ingest.votes import Votes
from dprm_data.labels.space import LabelSpace
from dprm_data.preference.fitting import Fit, fit
from dprm_data.preference.instrument import LITERAL, Instrument, has_scales
from dprm_data.preference.model_selection import learn_prior
from dprm_data.preference.prior import BetaPart
from dprm_data.preference.shared_error import (
    SHARED,
    SharedError,
    between_models,
    jury_error,
    people_worth,
)
from dprm_data.review.read_panel import Reading

FIVE = LabelSpace.ordinal(5)
HH6 = LabelSpace.load("hh6")
CUTS = np.array([-np.inf, -1.2, -0.4, 0.4, 1.2, np.inf])
ITEMS, REVIEWED, PERSONAS = 240, 100, 15
# What the panel makes of an item's position: shift, stretch, s.d. of its shared error, its spread beside people's.
PANELS = {
    "useless": (0.0, 0.0, 1.0, 1.0),
    "unbiased": (0.0, 1.0, 0.0, 1.0),
    "narrow": (0.4, 0.6, 0.4, 0.4),
    "wide": (0.0, 1.6, 0.6, 1.6),
    "shared error": (0.4, 0.8, 0.6, 0.7),
}


def counted(labels: Floats) -> Floats:
    return np.stack([(labels == k).sum(axis=1) for k in range(5)], axis=1).astype(float)


def world(kind: str, seed: int) -> tuple[Floats, Floats, Floats]:
    """True distributions, the panel's votes, and three people's votes on some of the items: all (ITEMS, 5)."""
    shift, stretch, error, spread = PANELS[kind]
    rng = np.random.default_rng(seed)
    at, own = rng.normal(0.0, 1.0, ITEMS), np.exp(rng.normal(0.0, 0.25, ITEMS))
    truth = np.diff(ndtr((CUTS - at[:, None]) / own[:, None]), axis=1)
    seen = shift + stretch * (at + rng.normal(0.0, error, ITEMS))
    panel = seen[:, None] + spread * own[:, None] * rng.normal(size=(ITEMS, PERSONAS))
    people = (truth.cumsum(axis=1)[:, None, :] > rng.random((ITEMS, 3, 1))).argmax(axis=2)
    people[REVIEWED:] = -1
    return truth, counted(np.digitize(panel, CUTS[1:-1])), counted(people)


def named(counts: Floats) -> Votes:
    return Votes([str(i) for i in range(len(counts))], counts)


def read(panel: Floats, people: Floats) -> Fit:
    reading = Reading.learn(panel, learn_prior(panel, FIVE, "beta")[0], people, FIVE)
    again = Reading.from_dict(json.loads(json.dumps(reading.to_dict())))
    return again.fit(panel, named(people), FIVE)


@pytest.mark.parametrize("kind", PANELS)
def test_no_panel_does_harm_and_intervals_hold(kind: str) -> None:
    """Items that nobody reviewed: never worse than people alone or the panel alone by more than a standard error."""
    truth, panel, people = world(kind, 1)
    found, crowd, plain = read(panel, people), fit(named(people), FIVE), fit(named(panel), FIVE)
    rewards = (truth @ FIVE.rewards)[REVIEWED:]

    def squared(one: Fit) -> Floats:
        return np.asarray((one.posterior @ FIVE.rewards)[REVIEWED:] - rewards) ** 2

    for rival in (crowd, plain):
        worse = squared(found) - squared(rival)
        assert worse.mean() <= worse.std() / np.sqrt(len(worse)), kind
    inside = (found.reward_low[REVIEWED:] <= rewards) & (rewards <= found.reward_high[REVIEWED:])
    assert 0.84 <= inside.mean() <= 0.99


def test_a_literal_reading_is_the_panels_own_votes() -> None:
    _, panel, people = world("unbiased", 2)
    prior, _ = learn_prior(panel, FIVE, "beta")
    literal = Instrument(LITERAL[None], 7.5, 7.5, 7.5, float(PERSONAS), 100, 300, prior)
    np.testing.assert_allclose(literal.read(panel, people, prior, FIVE), panel / 2.0, atol=0.02)


def test_the_votes_that_say_the_same_give_the_posterior_of_the_panels_own_likelihood() -> None:
    """By brute force over all components."""
    from dprm_data.preference.instrument import _bent

    _, panel, people = world("shared error", 3)
    own, _ = learn_prior(panel, FIVE, "beta")
    reading = Reading.learn(panel, own, people, FIVE)
    [part], [mine], seen = reading.prior.parts, own.parts, reading.instrument
    assert isinstance(part, BetaPart)
    assert isinstance(mine, BetaPart)
    P, seen_as = part.components().means, _bent(part, seen.bends[0], mine)
    exact = np.empty_like(panel)
    for i in range(ITEMS):
        log = np.log(part.weights + 1e-300) + people[i] @ np.log(P).T
        log += seen.powers(panel.sum(axis=1))[i] * panel[i] @ np.log(seen_as).T
        R = np.exp(log - log.max())
        exact[i] = R @ P / R.sum()
    found = reading.fit(panel, named(people), FIVE).posterior
    assert np.abs((found - exact) @ FIVE.rewards).mean() < 0.05
    assert np.abs(found - exact).mean() < 0.015


def test_an_item_with_fewer_votes_is_worth_less() -> None:
    prior, _ = learn_prior(np.ones((5, 5)), FIVE, "beta")
    seen = Instrument(LITERAL[None], 3.0, 1.0, 6.0, 15.0, 100, 300, prior)
    totals = np.array([0.0, 1.0, 5.0, 15.0, 40.0])
    worth = seen.powers(totals) * totals
    assert worth[0] == 0.0
    assert (np.diff(worth[:4]) > 0).all()
    assert worth[1] < 1.0
    np.testing.assert_allclose(worth[3:], 3.0)


def test_the_papers_space_is_read_scale_by_scale() -> None:
    rng = np.random.default_rng(0)
    truth = rng.dirichlet(np.full(6, 0.8), 150)
    panel, people = (np.array([rng.multinomial(n, p) for p in truth]).astype(float) for n in (10, 4))
    people[60:] = 0.0
    reading = Reading.learn(panel, learn_prior(panel, HH6, "beta")[0], people, HH6)
    assert reading.instrument.bends.shape == (3, 4)
    found = reading.fit(panel, named(people), HH6)
    crowd = fit(named(people), HH6)
    errors = [np.abs(one.expected_reward - truth @ HH6.rewards)[60:].mean() for one in (found, crowd)]
    assert errors[0] < 0.7 * errors[1]
    assert has_scales(HH6)


# -- without people -------------------------------------------------------------------------------------------------------


def test_votes_of_a_panel_saturate() -> None:
    np.testing.assert_allclose(people_worth(np.array([0.0, 9.0, 15.0, 1e9])), [0.0, 2.0, 2.19, 1 / SHARED], atol=0.01)
    shared = SharedError(SHARED, np.array([0.0, 3.0, 3.0]))
    added, worth = shared.of(np.array([15.0, 18.0, 3.0]))
    np.testing.assert_allclose(added, [SHARED, SHARED * (15 / 18) ** 2, 0.0])
    np.testing.assert_allclose(worth, [2.19, 5.19, 3.0], atol=0.01)


def test_what_a_panel_shares_widens_its_intervals_and_moves_nothing() -> None:
    _, panel, _ = world("unbiased", 4)
    votes = named(panel)
    plain, wide = fit(votes, FIVE), fit(votes, FIVE, shared=SharedError(SHARED, np.zeros(ITEMS)))
    np.testing.assert_allclose(wide.distribution, plain.distribution, rtol=1e-12)  # sums round by how memory is aligned
    np.testing.assert_allclose(wide.evidence, people_worth(15.0))
    np.testing.assert_array_equal(plain.evidence, 15.0)
    rewards = FIVE.rewards
    within = plain.posterior @ rewards**2 - (plain.posterior @ rewards) ** 2
    np.testing.assert_allclose(wide.reward_error**2 - plain.reward_error**2, SHARED * within, rtol=1e-6)
    nobody = fit(votes, FIVE, shared=SharedError(SHARED, panel.sum(axis=1)))  # all of them people: nothing is shared
    np.testing.assert_allclose(nobody.reward_low, plain.reward_low)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_several_models_show_their_own_part(share: float) -> None:
    rng = np.random.default_rng(0)
    items, models, each = 1500, 3, 5
    position = rng.normal(size=(items, 1, 1)) + np.sqrt(share) * rng.normal(size=(items, models, 1))
    reward = (position + np.array([0.0, 1.0, -1.0])[:, None] + rng.normal(size=(items, models, each))).ravel()
    item, model = np.repeat(np.arange(items), models * each), np.tile(np.repeat(np.arange(models), each), items)
    found, number = between_models(item, model, reward)
    assert number == 3
    assert found == pytest.approx(share, abs=0.06)
    assert jury_error(found, 3) == pytest.approx(SHARED + found * (1 / 3 - 1 / 9))
    assert between_models(item[model == 0], np.zeros(items * each, int), reward[model == 0]) == (0.0, 1)
