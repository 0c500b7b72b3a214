"""Which judgement next: expected gains against simulation, and what a choice must satisfy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dprm_data.preference.comparisons import Comparisons, fit_comparisons
from dprm_data.preference.next_judgement import Prompts, compared, next_judgements, rated, wrong


def _prompts(mean: list[float], variance: list[float], noise: float = 4.0) -> list[Prompts]:
    return rated(np.zeros(len(mean), dtype=np.int64), np.array(mean), np.array(variance), np.full(len(mean), noise))


def _simulated(part: Prompts, kinds: list[int], draws: int = 400_000) -> tuple[float, float]:
    """How many pairs are the wrong way round before and after one judgement of each of these kinds, counted in drawn worlds."""
    rng = np.random.default_rng(0)
    mean, C = part.mean[0], part.covariance[0]
    truth = rng.multivariate_normal(mean, C, draws)
    X, s = part.judged[0][kinds], part.noise[0][kinds]
    said = truth @ X.T + rng.normal(size=(draws, len(kinds))) * np.sqrt(s)
    found = mean + (said - X @ mean) @ np.linalg.inv(X @ C @ X.T + np.diag(s)) @ X @ C
    D = part.pairs[0]
    right = np.sign(truth @ D.T)
    return float((np.sign(mean @ D.T) != right).sum(1).mean()), float((np.sign(found @ D.T) != right).sum(1).mean())


@pytest.mark.parametrize("kinds", [[0], [1, 1, 2], [0, 1, 2, 3, 3, 3]])
def test_the_expected_number_of_wrong_pairs_is_that_of_a_simulation(kinds: list[int]) -> None:
    [part] = _prompts([0.0, 0.3, 0.5, 2.0], [1.0, 0.5, 0.8, 1.5])
    before = float(part.wrong()[0])
    for kind in kinds:
        part.choose(np.array([0]), np.array([kind]), 1)
    assert (before, float(part.wrong()[0])) == pytest.approx(_simulated(part, kinds), abs=0.006)


def test_comparisons_of_utilities_that_go_together_are_as_in_a_simulation() -> None:
    [part] = _prompts([0.0, 0.2, 0.9], [1.0, 1.0, 1.0])
    C = np.array([[1.0, 0.6, 0.1], [0.6, 1.2, -0.3], [0.1, -0.3, 0.9]])[None]
    part = Prompts(part.items, part.mean, C, part.pairs, part.pairs, np.full((1, 3), 2.0), part.kinds)
    part.choose(np.array([0]), np.array([2]), 1)
    assert float(part.wrong()[0]) == pytest.approx(_simulated(part, [2])[1], abs=0.006)


def test_the_ends_of_the_formula() -> None:
    one = np.ones(1)
    assert wrong(0.7 * one, one, one) == pytest.approx(0.24196, abs=1e-5)  # Phi(-0.7): nothing is learned
    assert wrong(0.7 * one, one, 0 * one) == pytest.approx(0.0)
    assert wrong(0 * one, one, 0.75 * one) == pytest.approx(1 / 3)  # arccos(1/2) / pi


def test_a_settled_pair_gains_nothing_and_an_open_one_is_rated() -> None:
    groups = np.array([0, 0, 1, 1])
    mean, variance = np.array([0.0, 9.0, 1.0, 1.2]), np.full(4, 0.2)
    parts = rated(groups, mean, variance, np.full(4, 2.0))
    assert parts[0].worth(np.arange(2))[0] == pytest.approx([0.0, 0.0], abs=1e-12)
    assert set(next_judgements(parts, 10).ravel()) == {2, 3}


def test_one_answer_that_could_turn_nothing_round_is_worth_what_a_few_would_be() -> None:
    [part] = _prompts([0.0, 0.5], [0.1, 0.1])
    before = float(part.wrong()[0])
    worth = float(part.worth(np.array([0])).max())
    part.choose(np.array([0]), np.array([0]), 1)
    assert before - float(part.wrong()[0]) < 1e-9 < 1e-6 < worth


def test_a_batch_is_spread_as_its_judgements_gain_less_and_less() -> None:
    mean, variance = np.tile([1.0, 1.1], 5), np.full(10, 0.5)
    chosen = next_judgements(rated(np.repeat(np.arange(5), 2), mean, variance, np.full(10, 2.0)), 20)
    assert np.bincount(chosen.ravel(), minlength=10).max() <= 3


def test_the_order_of_items_does_not_matter() -> None:
    rng = np.random.default_rng(3)
    groups, mean, variance = np.repeat(np.arange(6), 4), rng.normal(size=24), rng.uniform(0.1, 1.0, 24)
    noise, mixed = rng.uniform(1.0, 3.0, 24), rng.permutation(24)
    one = next_judgements(rated(groups, mean, variance, noise), 40)
    other = next_judgements(rated(groups[mixed], mean[mixed], variance[mixed], noise[mixed]), 40)
    assert sorted(one.ravel()) == sorted(mixed[other.ravel()])


def test_each_item_once_is_an_order_of_all() -> None:
    [part] = _prompts([0.0, 0.3, 0.5, 50.0], [1.0, 0.5, 0.8, 0.1])
    chosen = next_judgements([part], 10, each=3, once=True, settled=True).ravel()
    assert sorted(chosen) == [0, 1, 2, 3] and chosen[-1] == 3


def test_the_comparison_that_is_open_is_next() -> None:
    first, second = np.array([0, 1, 2] * 20), np.array([1, 2, 3] * 20)
    answer = np.array([1, 0, 1] * 20)  # the one in the middle is as good as undecided
    annotator = np.repeat(np.arange(20), 3)
    data = Comparisons(
        np.zeros(4, dtype=np.int64),
        first,
        second,
        annotator,
        answer,
        np.full(60, 3),
        np.ones(60),
        np.zeros(20, dtype=np.int64),
        np.ones(20, dtype=bool),
    )
    chosen = next_judgements(compared(fit_comparisons(data)), 1)
    assert sorted(chosen[0]) == [1, 2]


def test_of_many_responses_the_best_is_settled_first() -> None:
    mean = np.concatenate([[5.0, 4.9], np.zeros(100)])
    chosen = next_judgements(_prompts(list(mean), [0.3] * 102), 2)
    assert sorted(chosen.ravel()) == [0, 1]


def test_pairs_that_were_chosen_do_not_make_responses_look_alike() -> None:
    """A chain through 200 prompts, then many answers to the pair that is closest: how much responses differ is learned as from the chain."""
    rng = np.random.default_rng(5)
    utility = rng.normal(0.0, 1.5, 800)
    rows = [(4 * p + i, 4 * p + i + 1, False) for p in range(200) for i in range(3) for _ in range(3)]
    for p in range(200):
        a, b = min(
            ((4 * p + i, 4 * p + j) for i in range(4) for j in range(i)),
            key=lambda ab: abs(utility[ab[0]] - utility[ab[1]]),
        )
        rows += [(a, b, True)] * 20
    first, second, chosen = np.array(rows).T
    difference = utility[first] - utility[second]
    answer = np.where(rng.random(len(rows)) < 1 / (1 + np.exp(-difference)), 1, -1)
    n = len(rows)
    data = Comparisons(
        np.repeat(np.arange(200), 4),
        first,
        second,
        np.arange(n),
        answer,
        np.full(n, 2),
        np.ones(n),
        np.zeros(n, dtype=np.int64),
        np.ones(n, dtype=bool),
    )
    spread = [fit_comparisons(replace(data, chosen=each)).learned.spread for each in (None, chosen.astype(bool))]
    assert spread[0] < 0.3 < 1.0 < spread[1] < 3.0  # it is 2.25
