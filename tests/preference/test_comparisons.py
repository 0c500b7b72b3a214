"""The fit of comparisons: against likelihoods written down anew, and against simulated people whose utilities are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize

from dprm_data.preference.comparisons import Comparisons, UtilityFit, fit_comparisons

PERSONA, HUMAN = 0, 1


def answers(logits, scores, ties, draw):
    """Steps drawn by Davidson's model (3 steps) or Bradley and Terry's (2): `scores` are the steps, `ties` the log of the tie parameter."""
    weight = np.exp(0.5 * logits[:, None] * scores + np.where(scores == 0, ties, 0.0))
    share = weight / weight.sum(axis=1, keepdims=True)
    return scores[(draw.random(len(logits))[:, None] > share.cumsum(axis=1)[:, :-1]).sum(axis=1)]


def simulated(prompts, size, people, *, spread=1.0, differ=0.0, order=0.0, ties=-0.5, steps=3, seed=0, asked=1.0):
    """People who compare all pairs of each prompt in both orders. Returns the comparisons and the true utilities (prompts, size)."""
    draw = np.random.default_rng(seed)
    utility = draw.normal(0, spread, (prompts, size))
    own = utility[:, None, :] + draw.normal(0, differ, (prompts, people, size))
    g, j, a, b = (axis.ravel() for axis in np.indices((prompts, people, size, size)))
    kept = (a != b) & (draw.random(len(a)) < asked)
    g, j, a, b = g[kept], j[kept], a[kept], b[kept]
    scores = np.array([-1, 1]) if steps == 2 else np.array([-1, 0, 1])
    given = answers(own[g, j, a] - own[g, j, b] + order, scores, ties, draw)
    return made(np.repeat(np.arange(prompts), size), g * size + a, g * size + b, j, given, steps), utility


def made(group, first, second, annotator, answer, steps=3, kind=None):
    people = int(annotator.max()) + 1
    kind = np.zeros(people, dtype=np.int64) if kind is None else kind
    count = len(first)
    return Comparisons(
        *(group, first, second, annotator, answer, np.full(count, steps), np.ones(count), kind),
        np.ones(people, dtype=bool),
    )


def pairs_of(prompts, size):
    g, a, b = (axis.ravel() for axis in np.indices((prompts, size, size)))
    return np.stack([g * size + a, g * size + b], axis=1)[a < b]


@pytest.mark.parametrize("steps", [2, 3])
def test_with_many_answers_the_fit_is_maximum_likelihood(steps: int) -> None:
    data, _ = simulated(1, 5, 300, order=0.4, steps=steps, seed=3)
    data = made(data.group, data.first, data.second, np.arange(len(data)), data.answer, steps)  # nobody answers twice
    found = fit_comparisons(data)

    def loss(x):  # Bradley and Terry (1952) with an order effect; Davidson (1970) with ties
        d = np.append(x[:4], 0.0)[data.first] - np.append(x[:4], 0.0)[data.second] + x[4]
        first, second, tie = np.exp(d / 2), np.exp(-d / 2), np.exp(x[5]) * (steps == 3)
        chosen = np.select([data.answer > 0, data.answer < 0], [first, second], tie)
        return -np.log(chosen / (first + second + tie)).sum()

    best = minimize(loss, np.zeros(6), method="BFGS").x
    utility = np.append(best[:4], 0.0)
    assert found.mean == pytest.approx(utility - utility.mean(), abs=0.03)
    assert found.learned.order.mean[0] == pytest.approx(best[4], abs=0.03)
    if steps == 3:
        assert found.scale.theta[0] == pytest.approx(best[5], abs=0.03)


def test_with_two_steps_utilities_are_those_of_choix() -> None:
    import choix

    data, _ = simulated(1, 6, 100, steps=2, seed=11)
    data = made(data.group, data.first, data.second, np.arange(len(data)), data.answer, 2)  # nobody answers twice
    won = data.answer > 0
    better, worse = np.where(won, data.first, data.second), np.where(won, data.second, data.first)
    likely = choix.opt_pairwise(6, np.stack([better, worse], axis=1))
    found = fit_comparisons(data)
    assert found.mean == pytest.approx(likely - likely.mean(), abs=0.03)


@pytest.mark.parametrize(("size", "people", "differ"), [(2, 8, 0.0), (2, 8, 1.2), (4, 3, 1.2), (4, 2, 4.0)])
def test_a_probability_is_right_as_often_as_it_says(size: int, people: int, differ: float) -> None:
    said, right = [], []
    for seed in range(3):
        data, utility = simulated(150, size, people, spread=max(1.0, differ), differ=differ, order=0.5, seed=seed)
        pairs, truth = pairs_of(150, size), utility.ravel()
        probability = fit_comparisons(data).probability(pairs)
        above = truth[pairs[:, 0]] > truth[pairs[:, 1]]
        said.append(np.maximum(probability, 1 - probability))
        right.append(np.where(probability > 0.5, above, ~above))
    said, right = np.concatenate(said), np.concatenate(right)
    for low, high in ((0.5, 0.75), (0.75, 0.9), (0.9, 1.01)):
        here = (said >= low) & (said < high)
        error = np.sqrt(0.25 / here.sum())
        assert abs(said[here].mean() - right[here].mean()) < 0.03 + 2 * error, (low, here.sum())
    assert (said > 0.9).mean() > 0.2


def test_people_who_differ_make_the_population_less_certain() -> None:
    data, _ = simulated(200, 2, 6, differ=1.5, seed=1)
    found = fit_comparisons(data)
    assert found.learned.correlation > 0.15
    alone = fit_comparisons(simulated(200, 2, 6, differ=0.0, seed=1)[0])
    assert alone.learned.correlation < 0.06


def test_shares_are_those_of_the_people() -> None:
    data, utility = simulated(300, 3, 6, differ=1.0, order=0.6, seed=4)
    found, pairs = fit_comparisons(data), pairs_of(300, 3)
    share, low, high, tie = found.shares(pairs)
    draw = np.random.default_rng(9)
    own = utility.ravel()[pairs][:, None, :] + draw.normal(0, 1.0, (len(pairs), 800, 2))
    d = own[..., 0] - own[..., 1]
    total = np.exp(d / 2) + np.exp(-d / 2) + np.exp(-0.5)
    true_share, true_tie = (np.exp(d / 2) / total).mean(axis=1), (np.exp(-0.5) / total).mean(axis=1)
    assert abs((share - true_share).mean()) < 0.01
    assert abs((tie - true_tie).mean()) < 0.02
    assert 0.85 < ((low <= true_share) & (true_share <= high)).mean() < 0.96


def test_the_order_effect_is_found_and_taken_out() -> None:
    data, _ = simulated(120, 3, 5, order=1.0, seed=5)
    found = fit_comparisons(data)
    mean, error = found.learned.order.mean[0], found.learned.order.error[0]
    assert abs(mean - 1.0) < 0.2
    assert error < 0.2
    half = data.take(
        np.flatnonzero((data.annotator % 2 == 0) == (data.first < data.second))
    )  # each pair once, half each way
    utilities = fit_comparisons(half).mean
    assert np.corrcoef(utilities, found.mean)[0, 1] > 0.9
    assert abs(utilities.reshape(-1, 3).mean(axis=0)).max() < 0.25  # no place in the prompt is favoured


def test_who_always_says_the_first_moves_nothing() -> None:
    data, _ = simulated(60, 2, 6, seed=6, asked=0.7)
    first = np.tile([0, 1], 60) + 2 * np.repeat(np.arange(60), 2)
    stubborn = np.full(120, 6)
    more = made(
        data.group,
        np.concatenate([data.first, first]),
        np.concatenate([data.second, first ^ 1]),
        np.concatenate([data.annotator, stubborn]),
        np.concatenate([data.answer, np.ones(120, dtype=np.int64)]),
    )
    before, after = fit_comparisons(data), fit_comparisons(more)
    assert np.abs(after.mean - before.mean).max() < 0.25
    assert after.learned.order.of_annotator[6] > 2


def test_one_annotator_counts_as_one_person_however_often_they_answer() -> None:
    data, _ = simulated(100, 2, 4, differ=2.0, seed=7)
    rounds = 15
    one = data.annotator == 0
    often = data.take(np.concatenate([np.arange(len(data)), *[np.flatnonzero(one)] * rounds]))
    _, error = fit_comparisons(data).differences(pairs_of(100, 2))
    _, less = fit_comparisons(often).differences(pairs_of(100, 2))
    assert less.mean() > 0.6 * error.mean()  # 15 more independent people would halve it


def test_ratings_and_comparisons_are_joined() -> None:
    draw = np.random.default_rng(8)
    data, utility = simulated(300, 3, 3, seed=8, asked=0.5)
    truth = (utility - utility.mean(axis=1, keepdims=True)).ravel()
    noise = np.full(900, 0.4)
    measured = 5 + 0.7 * truth + np.repeat(draw.normal(0, 1, 300), 3) + draw.normal(0, 0.4, 900)
    total = measured.var()
    posterior = measured.mean() + (measured - measured.mean()) * (1 - noise**2 / total)
    error = np.sqrt(1 / (1 / (total - noise**2) + 1 / noise**2))
    joint, alone = fit_comparisons(data, posterior, error), fit_comparisons(data)
    assert joint.learned.reward is not None
    assert joint.learned.reward.slope == pytest.approx(0.7, abs=0.12)
    off = [np.mean((each.mean - truth) ** 2) for each in (joint, alone)]
    assert off[0] < 0.75 * off[1]
    z = (joint.differences(pairs_of(300, 3))[0] - np.diff(truth[pairs_of(300, 3)[:, ::-1]])[:, 0]) / joint.differences(
        pairs_of(300, 3)
    )[1]
    assert 0.85 < z.std() < 1.15

    third = np.arange(900) % 3 == 2  # not compared with anything, only rated
    kept = data.take(np.flatnonzero(~third[data.first] & ~third[data.second]))
    partly = fit_comparisons(kept, posterior, error)
    there = third & np.isfinite(partly.mean)
    assert there.sum() > 250
    assert np.corrcoef(partly.mean[there], truth[there])[0, 1] > 0.6
    joint_pairs = pairs_of(300, 3)
    joint_pairs = joint_pairs[partly.has(joint_pairs)]
    assert np.isfinite(partly.probability(joint_pairs)).all()


def test_names_and_sides_do_not_matter() -> None:
    data, _ = simulated(40, 3, 4, differ=1.0, order=0.5, seed=10, asked=0.6)
    found = fit_comparisons(data)
    draw = np.random.default_rng(0)

    rows, people, items = draw.permutation(len(data)), draw.permutation(4), draw.permutation(120)
    group = np.empty(120, dtype=np.int64)
    group[items] = data.group
    other = data.take(rows)
    other = replace(
        other, group=group, first=items[other.first], second=items[other.second], annotator=people[other.annotator]
    )
    assert fit_comparisons(other).mean[items] == pytest.approx(found.mean, abs=1e-6)

    turned = fit_comparisons(replace(data, first=data.second, second=data.first, answer=-data.answer))
    assert turned.mean == pytest.approx(found.mean, abs=1e-6)
    assert turned.learned.order.mean == pytest.approx(-found.learned.order.mean, abs=1e-6)


def test_contradictions_are_a_tie() -> None:
    group, first = np.zeros(2, dtype=np.int64), np.array([0, 1] * 20)
    data = made(group, first, 1 - first, np.arange(40), np.ones(40, dtype=np.int64), steps=2)
    found: UtilityFit = fit_comparisons(data)
    assert found.probability(np.array([[0, 1]]))[0] == pytest.approx(0.5, abs=1e-6)
