"""Agreement of models, and of stated distributions with votes, against plain loops and known truths."""

from __future__ import annotations

import numpy as np
import pytest

from dprm_data.core.arrays import Floats, Ints
from dprm_data.labels.geometry import wasserstein
from dprm_data.labels.space import LabelSpace
from dprm_data.labels.statistics import Resamples, by_reward
from dprm_data.preference.model_agreement import ModelPair, ModelSums, stated_check

SPACE = LabelSpace.ordinal(5)


def ratings(
    items: int, personas: int, shifts: list[float], rng: np.random.Generator, kept: float = 1.0
) -> tuple[Ints, Ints, Ints, Floats]:
    """item, model, half, probs (one-hot) of models that differ by these shifts of a latent scale."""
    position = rng.normal(size=items)
    item, persona, model = np.indices((items, personas, len(shifts))).reshape(3, -1)
    chosen = rng.random(len(item)) < kept
    item, persona, model = item[chosen], persona[chosen], model[chosen]
    latent = position[item] + np.array(shifts)[model] + rng.normal(scale=0.8, size=len(item))
    return item, model, persona % 2, np.eye(5)[np.digitize(latent, [-1.2, -0.4, 0.4, 1.2])]


def pairs(items: int, models: int, *rows: object) -> list[ModelPair]:
    item, model, half, probs = rows
    assert isinstance(item, np.ndarray)
    assert isinstance(model, np.ndarray)
    assert isinstance(half, np.ndarray)
    assert isinstance(probs, np.ndarray)
    sums = ModelSums(items, [f"m{i}" for i in range(models)], SPACE)
    for part in (item % 2 == 0, item % 2 == 1):  # two batches, items numbered anew in each
        found, local = np.unique(item[part], return_inverse=True)
        sums.add(item[part], local, model[part], half[part], probs[part])
        assert len(found) <= items
    return sums.pairs(Resamples.of(np.arange(items)), np.arange(items))


def test_figures_are_those_of_plain_loops() -> None:
    rng = np.random.default_rng(0)
    item, model, half, probs = ratings(30, 4, [0.0, 0.7, -0.3], rng, kept=0.6)
    found = pairs(30, 3, item, model, half, probs)
    assert [pair.models for pair in found] == [("m0", "m1"), ("m0", "m2"), ("m1", "m2")]
    for pair, (a, b) in zip(found, [(0, 1), (0, 2), (1, 2)], strict=True):
        p, q, distance, floor = [], [], [], []
        for i in range(30):
            one, two = (probs[(item == i) & (model == m)] for m in (a, b))
            if len(one) and len(two):
                p.append(one.mean(0))
                q.append(two.mean(0))
            halves = [probs[(item == i) & (model == m) & (half == h)] for m in (a, b) for h in (0, 1)]
            if all(len(some) for some in halves):
                a0, a1, b0, b1 = (some.mean(0)[None] for some in halves)
                w = [
                    float(wasserstein(x, y, SPACE.ground_cost)[0]) for x, y in ((a0, b1), (a1, b0), (a0, a1), (b0, b1))
                ]
                distance.append((w[0] + w[1]) / 2)
                floor.append((w[2] + w[3]) / 2)
        P, Q, d = np.array(p), np.array(q), by_reward(SPACE.rewards)
        observed = float(np.mean([x @ d @ y for x, y in zip(P, Q, strict=True)]))
        assert pair.items == len(p)
        assert pair.reward_difference.value == pytest.approx(float(((P - Q) @ SPACE.rewards).mean()))
        assert pair.alpha.value == pytest.approx(1 - observed / float(P.mean(0) @ d @ Q.mean(0)))
        assert pair.distance.value == pytest.approx(np.mean(distance))
        assert pair.floor.value == pytest.approx(np.mean(floor))


def test_equal_models_lie_on_the_floor_and_others_above() -> None:
    rng = np.random.default_rng(1)
    same, other, _ = pairs(200, 3, *ratings(200, 6, [0.0, 0.0, 0.8], rng))
    assert (same.beyond.low or 0) < 0 < (same.beyond.high or 0)
    assert (same.distance.value or 0) > 0.3  # of means of three votes: distance alone would tell two models apart
    assert (other.beyond.low or 0) > 0.2
    assert not same.reward_difference.excludes_zero()
    assert other.reward_difference.excludes_zero()


def test_one_persona_an_item_has_no_halves() -> None:
    (pair,) = pairs(20, 2, *ratings(20, 1, [0.0, 0.5], np.random.default_rng(2)))
    assert pair.alpha.value is not None
    assert pair.distance.value is None
    assert pair.floor.value is None


def test_a_stated_distribution_is_held_against_half_of_the_votes() -> None:
    rng = np.random.default_rng(3)
    truth = rng.dirichlet([0.5] * 5, size=300)
    halves = np.stack([rng.multinomial(6, truth) / 6 for _ in range(2)], axis=1)
    groups = [str(i) for i in range(300)]
    good = stated_check(truth, halves, groups, SPACE)
    bad = stated_check(truth[::-1], halves, groups, SPACE)
    flat = stated_check(np.full((300, 5), 0.2), halves, groups, SPACE)
    assert good
    assert bad
    assert flat
    assert good.other_half == bad.other_half == flat.other_half
    assert (good.worse_than_half.high or 0) < 0  # the truth is closer to votes than other votes are
    assert (good.better_than_everyone.low or 0) > 0
    assert (bad.worse_than_half.low or 0) > 0
    assert (bad.better_than_everyone.high or 0) < 0
    assert stated_check(truth[:0], halves[:0], [], SPACE) is None
