"""Means of people over all items, by a panel and a few answers: coverage by simulation, against the mean that people really have."""

from __future__ import annotations

import numpy as np
import pytest

from dprm_data.core.errors import ReviewError
from dprm_data.review.powered import powered_difference, powered_mean

N, PEOPLE = 800, 40


def world(
    seed: int, *, reviewed: int = 120, each: int = 3, good: float = 1.0, severity: float = 0.5, twin: bool = False
):  # type: ignore[no-untyped-def]
    """A panel with a bias and an error of its own, and people with severities: f, side, item, person, answer, and the difference that people really have."""
    rng = np.random.default_rng(seed)
    side = np.arange(N) % 2
    position = rng.normal(0.0, 1.0, N) + 0.3 * side
    f = 0.7 + 0.8 * good * position + rng.normal(0.0, 0.4, N) + 0.5 * side  # it flatters side 1
    own = rng.normal(0.0, severity, PEOPLE)
    rows = rng.choice(N, reviewed, replace=False)
    item = np.repeat(rows, each)
    person = np.concatenate([rng.choice(PEOPLE, each, replace=False) for _ in rows])
    answer = position[item] + own[person] + rng.normal(0.0, 0.8, len(item))
    return f, side, item, person, answer, position


@pytest.mark.parametrize("good", [1.0, 0.0])
def test_intervals_hold_and_the_panel_makes_them_narrow(good: float) -> None:
    held, widths, alone, worth = [], [], [], []
    for seed in range(500):
        f, _, item, person, answer, _ = world(seed, good=good)
        found = powered_mean(f, item, person, answer)
        assert found.both.low is not None and found.both.high is not None
        assert found.people_alone.low is not None and found.people_alone.high is not None
        # People's mean over all people: their severities have mean 0.
        held.append(found.both.low <= 0.15 <= found.both.high)
        widths.append(found.both.high - found.both.low)
        alone.append(found.people_alone.high - found.people_alone.low)
        worth.append(found.worth)
    assert 0.86 <= np.mean(held) <= 0.95
    if good:
        assert np.mean(widths) < 0.9 * np.mean(alone)
        assert np.mean(worth) > 1.3
    else:
        assert np.mean(widths) == pytest.approx(np.mean(alone), rel=0.03)


def test_a_difference_is_peoples_however_the_panel_flatters() -> None:
    held, panel, worth = [], [], []
    for seed in range(500):
        f, side, item, person, answer, _ = world(seed, severity=0.8)
        found = powered_difference(f, side, item, person, answer)
        assert found.both.low is not None and found.both.high is not None
        held.append(found.both.low <= 0.3 <= found.both.high)
        panel.append(found.panel_alone)
        worth.append(found.worth)
    assert 0.86 <= np.mean(held) <= 0.95
    assert np.mean(panel) == pytest.approx(0.3 * 0.8 + 0.5, abs=0.05)  # wrong, and never believed
    assert np.mean(worth) > 1.2


def test_the_power_is_the_closed_form_for_one_answer_an_item() -> None:
    """Independent answers, one person each: lambda = Cov(y, f) / ((1 + n / N) Var f) (Angelopoulos et al. 2023), and the plain variance."""
    rng = np.random.default_rng(0)
    f = rng.normal(size=N)
    item = rng.choice(N, 200, replace=False)
    answer = 0.6 * f[item] + rng.normal(0.0, 0.7, 200)
    found = powered_mean(f, item, np.arange(200), answer)
    at = f[item]
    expected = np.cov(answer, at)[0, 1] / (at.var(ddof=1) + 200 / N * f.var(ddof=1))
    assert found.power == pytest.approx(expected, rel=0.02)
    residual = answer - found.power * at
    error = np.sqrt(residual.var(ddof=1) / 200 + found.power**2 * f.var(ddof=1) / N)
    assert found.both.high is not None and found.both.value is not None
    assert (found.both.high - found.both.value) / 1.6525 == pytest.approx(error, rel=0.02)


def test_weights_of_a_stratified_selection_and_order_of_answers() -> None:
    """Half of the items are reviewed four times as often: weighted back, nothing is biased. The order of answers changes nothing."""
    rng = np.random.default_rng(1)
    values = []
    for seed in range(60):
        f, _, _, _, _, position = world(seed)
        high = position > 0
        chosen = rng.random(N) < np.where(high, 0.4, 0.1)
        item = np.repeat(np.flatnonzero(chosen), 2)
        person = rng.integers(PEOPLE, size=len(item))
        answer = position[item] + rng.normal(0.0, 0.5, len(item))
        stands_for = np.where(high, 2.5, 10.0)
        found = powered_mean(f, item, person, answer, stands_for=stands_for)
        values.append((found.both.value or 0.0) - position.mean())
        order = rng.permutation(len(item))
        again = powered_mean(f, item[order], person[order], answer[order], stands_for=stands_for)
        assert again.both.value == pytest.approx(found.both.value)
        assert again.both.low == pytest.approx(found.both.low)
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(60)


def test_too_few() -> None:
    with pytest.raises(ReviewError, match="1 items reviewed by 2 people"):
        powered_mean(np.zeros(5), np.array([0, 0]), np.array([0, 1]), np.array([1.0, 2.0]))
