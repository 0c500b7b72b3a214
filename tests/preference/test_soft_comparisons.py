"""Answers that give each step a probability: against the likelihood weighted by them, and against people who draw their answer from the same probabilities."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize

from dprm_data.preference.comparisons import Comparisons, fit_comparisons
from tests.preference.test_comparisons import made, pairs_of


def soft(
    prompts: int,
    size: int,
    people: int,
    *,
    differ: float = 0.0,
    order: float = 0.0,
    ties: float = -0.5,
    seed: int = 0,
    spread: float = 1.0,
):
    """People who give each answer to each pair of a prompt, in both orders, its probability. Returns the comparisons, with these and with answers drawn from them, and the true utilities."""
    draw = np.random.default_rng(seed)
    utility = draw.normal(0, spread, (prompts, size))
    own = utility[:, None, :] + draw.normal(0, differ, (prompts, people, size))
    g, j, a, b = (axis.ravel() for axis in np.indices((prompts, people, size, size)))
    g, j, a, b = (axis[a != b] for axis in (g, j, a, b))
    d = own[g, j, a] - own[g, j, b] + order
    probs = np.zeros((len(d), 7))
    probs[:, 2:5] = np.exp(np.stack([-d / 2, np.full(len(d), ties), d / 2], axis=1))
    probs /= probs.sum(axis=1, keepdims=True)
    drawn = (draw.random(len(d))[:, None] > probs[:, 2:4].cumsum(axis=1)).sum(axis=1) - 1
    hard = made(np.repeat(np.arange(prompts), size), g * size + a, g * size + b, j, drawn)
    return replace(hard, answer=probs.argmax(axis=1) - 3, probs=probs), hard, utility


def test_with_many_answers_the_fit_is_maximum_likelihood_weighted_by_them() -> None:
    data, *_ = soft(1, 5, 60, differ=1.0, order=0.4, seed=3)
    data = _alone(data)
    found = fit_comparisons(data)

    def loss(x: np.ndarray) -> float:  # Davidson (1970), with an order effect
        d = np.append(x[:4], 0.0)[data.first] - np.append(x[:4], 0.0)[data.second] + x[4]
        logs = np.stack([-d / 2, np.full(len(d), x[5]), d / 2], axis=1)
        logs -= np.logaddexp.reduce(logs, axis=1, keepdims=True)
        return -float((data.probs[:, 2:5] * logs).sum())

    best = minimize(loss, np.zeros(6), method="BFGS").x
    utility = np.append(best[:4], 0.0)
    assert found.mean == pytest.approx(utility - utility.mean(), abs=0.03)
    assert found.learned.order.mean[0] == pytest.approx(best[4], abs=0.03)
    assert found.scale.theta[0] == pytest.approx(best[5], abs=0.03)


def _alone(data: Comparisons) -> Comparisons:
    """The same, each answer by somebody else."""
    count = len(data)
    return replace(
        data, annotator=np.arange(count), kind=np.zeros(count, dtype=np.int64), ordered=np.ones(count, dtype=bool)
    )


def test_certain_probabilities_are_answers() -> None:
    _, hard, _ = soft(30, 3, 4, differ=1.0, seed=1)
    certain = np.zeros((len(hard), 7))
    certain[np.arange(len(hard)), 3 + hard.answer] = 1.0
    assert fit_comparisons(replace(hard, probs=certain)).mean == pytest.approx(fit_comparisons(hard).mean, abs=1e-9)


@pytest.mark.parametrize(("size", "people", "differ"), [(4, 3, 1.0), (6, 3, 2.0), (2, 8, 1.0)])
def test_probabilities_say_more_than_answers_drawn_from_them_and_no_more_than_that(
    size: int, people: int, differ: float
) -> None:
    found: dict[str, list[np.ndarray]] = {"soft": [], "hard": [], "said": []}
    for seed in range(2):
        given, hard, utility = soft(150, size, people, differ=differ, order=0.5, spread=max(1.0, differ), seed=seed)
        pairs = pairs_of(150, size)
        above = utility.ravel()[pairs[:, 0]] > utility.ravel()[pairs[:, 1]]
        for name, data in (("soft", given), ("hard", hard)):
            probability = fit_comparisons(data).probability(pairs)
            found[name].append(np.where(probability > 0.5, above, ~above))
            if name == "soft":
                found["said"].append(np.maximum(probability, 1 - probability))
    right, said = np.concatenate(found["soft"]), np.concatenate(found["said"])
    assert right.mean() > np.concatenate(found["hard"]).mean() + 0.005
    for low, high in ((0.5, 0.7), (0.7, 0.9), (0.9, 1.01)):
        here = (said >= low) & (said < high)
        error = 0.04 + 2 * np.sqrt(0.25 / here.sum())
        assert abs(right[here].mean() - said[here].mean()) < error, (low, here.sum())
