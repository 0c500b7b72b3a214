"""Readings of a distribution, the paper's theory, and the temperature."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dprm_data.labels.space import LabelSpace
from dprm_trainers.core.errors import TrainingError
from dprm_trainers.reward.losses import Transport, ce_loss
from dprm_trainers.reward.reward_model import softmax
from dprm_trainers.reward.risk_measures import RiskMeasure, reward_std
from dprm_trainers.reward.temperature import temperature

SPACE = LabelSpace.load("hh6")
R = SPACE.rewards
P = np.random.default_rng(0).dirichlet(np.full(6, 0.5), size=200)


def test_expected_reward_and_transport_to_the_best_label_are_the_same_thing() -> None:
    best = int(R.argmax())
    one_hot = torch.eye(6, dtype=torch.float64)[[best] * len(P)]
    to_best = Transport(SPACE.ground_cost)(torch.from_numpy(P), one_hot).numpy()
    assert np.allclose(to_best, R[best] - P @ R, atol=1e-12)
    # Under a cost that is only given for the best label, r_best - r_i, every other plan is excluded: the whole mass must arrive there.
    assert np.array_equal(np.argsort(to_best, kind="stable"), np.argsort(-(P @ R), kind="stable"))


def test_unanimous_labels_of_two_categories_are_a_scalar_model() -> None:
    """Cross-entropy on one-hot labels of two categories is logistic regression on z_1 - z_0, and the expected reward ranks by it."""
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(200, 5)))
    y = (x @ torch.from_numpy(rng.normal(size=5)) > 0).long()
    rewards = np.array([-1.0, 2.0])
    two = torch.zeros(5, 2, dtype=torch.float64, requires_grad=True)
    one = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    for _ in range(50):
        loss = ce_loss(x @ two, torch.eye(2, dtype=torch.float64)[y]).mean()
        scalar = torch.nn.functional.binary_cross_entropy_with_logits(x @ one, y.double())
        (g2,), (g1,) = torch.autograd.grad(loss, [two]), torch.autograd.grad(scalar, [one])
        with torch.no_grad():
            two -= g2
            one -= 2 * g1  # z_1 - z_0 moves twice as fast: both heads move
    logits = (x @ two).detach().numpy()
    assert np.allclose(logits[:, 1] - logits[:, 0], (x @ one).detach().numpy(), atol=1e-9)
    expected = RiskMeasure.of("mean")(softmax(logits), rewards)
    assert np.array_equal(np.argsort(expected), np.argsort((x @ one).detach().numpy()))


def test_one_voice_is_read_the_same_by_all() -> None:
    for spec in ("mean", "quantile:0.3", "cvar:0.2", "std:2", "entropic:3"):
        assert np.allclose(RiskMeasure.of(spec)(np.eye(6), R), R, atol=1e-9), spec


def test_quantile_and_cvar_are_those_of_a_sample() -> None:
    """A distribution in hundredths is a sample of a hundred people."""
    counts = np.random.default_rng(1).multinomial(100, np.full(6, 1 / 6), size=20)
    for row in counts:
        people = np.sort(np.repeat(R, row))
        for share in (0.05, 0.25, 0.5, 1.0):
            n = round(100 * share)
            assert RiskMeasure.of(f"quantile:{share}")(row[None] / 100, R)[0] == people[n - 1]
            assert RiskMeasure.of(f"cvar:{share}")(row[None] / 100, R)[0] == pytest.approx(people[:n].mean())


def test_limits() -> None:
    mean = P @ R
    assert np.allclose(RiskMeasure.of("cvar:1")(P, R), mean)
    assert np.allclose(RiskMeasure.of("std:0")(P, R), mean)
    assert np.allclose(RiskMeasure.of("entropic:0.0001")(P, R), mean - 0.00005 * reward_std(P, R) ** 2, atol=1e-6)
    lowest = np.array([R[row > 1e-12].min() for row in P])
    assert np.allclose(RiskMeasure.of("entropic:5000")(P, R), lowest, atol=0.02)


def test_caution_never_exceeds_the_mean_and_likes_better_labels() -> None:
    mean = P @ R
    better = P.copy()
    worst, best = int(R.argmin()), int(R.argmax())
    moved = 0.5 * better[:, worst]
    better[:, worst] -= moved
    better[:, best] += moved
    for spec in ("cvar:0.3", "entropic:2", "mean"):
        reading = RiskMeasure.of(spec)
        assert (reading(P, R) <= mean + 1e-9).all()
        assert (reading(better, R) >= reading(P, R) - 1e-9).all()


@pytest.mark.parametrize(
    "spec", ["median", "cvar:0", "cvar:2", "quantile:x", "entropic:0", "std:-1", "cvar:nan", "mean:1"]
)
def test_readings_that_are_none(spec: str) -> None:
    with pytest.raises(TrainingError, match=f"reading .{spec.partition(chr(58))[0]}"):
        RiskMeasure.of(spec)


def test_the_temperature_is_found_again() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(400, 6)) * 2
    assert temperature(logits * 3.0, softmax(logits)) == pytest.approx(3.0, rel=1e-3)
    assert temperature(np.zeros((0, 6)), np.zeros((0, 6))) == 1.0
