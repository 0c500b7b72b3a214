"""The fit of answers that name the best and the worst of four: against simulated people whose utilities are known, and against as many answers about pairs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.best_worst import PeopleWhoCompare, figures, of_pairs, of_sets
from dprm_data.preference.comparisons import fit_comparisons


@pytest.mark.parametrize(("size", "people", "differ"), [(4, 8, 0.0), (4, 8, 1.2), (6, 4, 1.2)])
def test_a_probability_is_right_as_often_as_it_says(size: int, people: int, differ: float) -> None:
    found = [figures(of_sets, PeopleWhoCompare(150, size, people, differ=differ, seed=seed)) for seed in range(2)]
    said, right = (np.concatenate([getattr(each, name) for each in found]) for name in ("said", "right"))
    for low, high in ((0.5, 0.75), (0.75, 0.9), (0.9, 1.01)):
        here = (said >= low) & (said < high)
        assert abs(said[here].mean() - right[here].mean()) < 0.03 + 2 * np.sqrt(0.25 / here.sum()), (low, here.sum())
    assert (said > 0.9).mean() > 0.15
    assert np.mean([each.inside.mean() for each in found]) > 0.85  # shares in their 90 % intervals
    assert abs(np.mean([(each.share - each.true_share).mean() for each in found])) < 0.03


def test_the_best_and_the_worst_say_more_than_as_many_pairs() -> None:
    people = PeopleWhoCompare(150, 6, 4, differ=1.0, seed=5)
    sets, pairs = figures(of_sets, people), figures(of_pairs, people)
    assert sets.answers == pairs.answers
    assert sets.right.mean() > pairs.right.mean() + 0.03


def test_the_effect_of_the_place_is_found_and_favours_no_response() -> None:
    people = PeopleWhoCompare(150, 4, 8, order=0.6, seed=6)
    data, utility = of_sets(people)
    found = fit_comparisons(data)
    assert found.learned.order.mean[0] > 4 * found.learned.order.error[0] > 0
    off = (found.mean - (utility - utility.mean(axis=1, keepdims=True)).ravel()).reshape(-1, 4)
    assert np.abs(off.mean(axis=0)).max() < 0.2


def test_five_comparisons_of_one_answer_are_not_five_people() -> None:
    people = PeopleWhoCompare(150, 4, 8, seed=7)
    data, utility = of_sets(people)
    alone = replace(
        data,
        reply=None,
        annotator=np.arange(len(data)),
        kind=np.zeros(len(data), dtype=np.int64),
        ordered=np.ones(len(data), dtype=bool),
    )
    pairs = np.array([(4 * g, 4 * g + 1) for g in range(150)])
    off = []
    for each in (data, alone):
        difference, error = fit_comparisons(each).differences(pairs)
        off.append(np.std((difference - (utility[:, 0] - utility[:, 1])) / error))
    assert 0.85 < off[0] < 1.1
    assert off[1] > 1.15 * off[0]
