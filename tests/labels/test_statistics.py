"""Intervals and agreement: against a library, by hand, and by simulation."""

from __future__ import annotations

import krippendorff
import numpy as np
import pytest

from dprm_data.ingest.votes import Votes
from dprm_data.labels.space import LabelSpace
from dprm_data.labels.statistics import Interval, Resamples, by_rank, by_reward, nominal
from dprm_data.preference.agreement import Level, krippendorff_alpha

SPACE = LabelSpace.load("hh6")
NOMINAL = {"level_of_measurement": "nominal"}


def resamples(groups: list[str], **settings: float) -> Resamples:
    given = {"resamples": 400, "level": 0.9, "seed": 0} | settings
    return Resamples.of(groups, np.ones(len(groups)), **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval"])
def test_alpha_is_that_of_the_library(level: Level) -> None:
    rng = np.random.default_rng(0)
    points, rank = np.unique(SPACE.rewards, return_inverse=True)
    for _ in range(5):
        counts = rng.multinomial(4, rng.dirichlet(np.ones(6)), size=50).astype(float)
        counts[:5] = 0
        counts[:5, 0] = 1  # a single vote says nothing about agreement
        # On a line of rewards, the two labels of equal reward are one value to the library.
        merged = np.stack([counts[:, rank == r].sum(axis=1) for r in range(len(points))], axis=1)
        line = {"value_counts": merged.astype(int), "value_domain": points, "level_of_measurement": level}
        expected = krippendorff.alpha(**line if level != "nominal" else {"value_counts": counts.astype(int)} | NOMINAL)
        ids = [str(i) for i in range(50)]
        assert krippendorff_alpha(Votes(ids, counts), SPACE, level) == pytest.approx(expected)
        squared = {
            "nominal": nominal(6),
            "ordinal": by_rank(counts, SPACE.rewards),
            "interval": by_reward(SPACE.rewards),
        }
        found = resamples(ids).alpha(counts, squared[level])
        assert found.value == pytest.approx(expected)
        assert found.low is not None
        assert found.high is not None
        assert found.low < expected < found.high


def test_alpha_between_two_groups() -> None:
    one = np.eye(3)[[0, 1, 2, 0, 1, 2]]
    draw = resamples(list("abcdef"))
    assert draw.alpha_between(one, one, nominal(3)).value == pytest.approx(1.0)
    assert draw.alpha_between(one, one[:, [1, 2, 0]], nominal(3)).value == pytest.approx(1.0 - 1.0 / (1.0 - 1.0 / 3.0))
    rng = np.random.default_rng(1)
    p, q = rng.dirichlet(np.ones(3), size=(2, 4000))
    groups = [str(i) for i in range(4000)]
    assert resamples(groups).alpha_between(p, q, nominal(3)).value == pytest.approx(0.0, abs=0.01)
    # Brute force: every cross pair, each item once.
    few = slice(0, 7)
    pairs = np.mean([sum(p[u, c] * q[u, k] for c in range(3) for k in range(3) if c != k) for u in range(7)])
    chance = 1.0 - p[few].mean(axis=0) @ q[few].mean(axis=0)
    assert resamples(groups[few]).alpha_between(p[few], q[few], nominal(3)).value == pytest.approx(1.0 - pairs / chance)


def test_nothing_to_differ_about() -> None:
    everybody = np.tile([3.0, 0.0], (4, 1))
    draw = resamples(list("abcd"))
    assert draw.alpha(everybody, nominal(2)).value == 1.0
    assert draw.alpha(np.eye(2)[[0, 1, 0, 1]], nominal(2)).value is None  # no item has two votes


def test_intervals_cover_what_they_say() -> None:
    """Of items in groups that share half of their variance; the truth is 0."""
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        group = np.repeat(np.arange(40), 3)
        values = rng.normal(size=40)[group] + rng.normal(size=120)
        found = resamples([str(g) for g in group], seed=trial).mean(values)
        hits += found.low <= 0 <= found.high  # type: ignore[operator]
    assert 0.82 <= hits / 200 <= 0.95  # nominal 0.90; the percentile bootstrap is a little narrow with 40 groups


def test_weighted_and_missing_values() -> None:
    draw = Resamples.of(list("abc"), np.array([1.0, 1.0, 2.0]), resamples=50, level=0.9, seed=0)
    assert draw.mean(np.array([1.0, np.nan, 4.0])).value == pytest.approx(3.0)
    assert draw.mean(np.array([np.nan] * 3)).value is None
    assert draw.mean(np.array([1.0, 4.0]), np.array([0, 2])).value == pytest.approx(3.0)


def test_an_items_weight_is_shared_among_its_answers() -> None:
    """Of two items, the second stands for three times as many: (1 x 2 + 3 x 10) / 4, however many answers each has."""
    draw = Resamples.of(["a", "b"], np.array([1.0, 3.0]), resamples=20, level=0.9, seed=0)
    item, person = np.array([0, 0, 0, 1]), np.array([0, 1, 2, 0])
    answers = draw.with_people(item, person, seed=0)
    assert answers.weights.shape == (21, 4)
    assert answers.level == draw.level
    assert answers.mean(np.array([1.0, 2.0, 3.0, 10.0])).value == pytest.approx(8.0)


def test_every_resample_draws_people_beside_items() -> None:
    groups, people = 5, 5
    draw = resamples([str(g) for g in range(groups)])
    item, person = (axis.ravel() for axis in np.indices((groups, people)))
    weights = draw.with_people(item, person, seed=0).weights.reshape(-1, groups, people) * people
    np.testing.assert_allclose(weights[0], 1.0)
    # Everybody answered every item once: a resample's weights are (times an item was drawn) x (times a person was).
    of_item, of_person = weights.sum(axis=2) / people, weights.sum(axis=1) / groups
    np.testing.assert_allclose(weights, of_item[:, :, None] * of_person[:, None, :])
    np.testing.assert_allclose(of_item, draw.weights)
    np.testing.assert_allclose(of_person, np.rint(of_person), atol=1e-9)
    np.testing.assert_allclose(of_person.sum(axis=1), people)
    # Multinomial counts: mean 1, variance 1 - 1 / 5; and the people are not drawn as the items were.
    assert of_person[1:].mean() == pytest.approx(1.0)
    assert of_person[1:].var() == pytest.approx(1 - 1 / people, abs=0.1)
    assert abs(np.corrcoef(of_item[1:].ravel(), of_person[1:].ravel())[0, 1]) < 0.1


def test_of_the_items_weights_only_the_proportions_count() -> None:
    counts, stands_for = np.array([[3.0, 1.0], [0.0, 4.0], [2.0, 2.0]]), np.array([1.0, 2.0, 3.0])
    found = [
        Resamples.of(list("abc"), scale * stands_for, resamples=20, level=0.9, seed=0).alpha(counts, nominal(2))
        for scale in (1.0, 100.0)
    ]
    assert found[0].value == pytest.approx(found[1].value)


@pytest.mark.parametrize(
    ("low", "high", "excluded"), [(0.1, 0.2, True), (-0.2, -0.1, True), (-0.1, 0.1, False), (0.0, 0.1, False)]
)
def test_an_interval_excludes_zero_on_either_side(low: float, high: float, excluded: bool) -> None:
    assert Interval(0.5 * (low + high), low, high).excludes_zero() is excluded
    assert not Interval(None, None, None).excludes_zero()
