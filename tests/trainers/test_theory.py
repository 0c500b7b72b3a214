"""What the method claims, as statements that a wrong loss or reading would break."""

from __future__ import annotations

import numpy as np
import ot
import pytest
import torch

from dprm_data.core.registry import LOSSES
from dprm_data.labels.space import LabelSpace
from dprm_trainers.reward.objective import Objective
from dprm_trainers.reward.risk_measures import RiskMeasure

HH6 = LabelSpace.load("hh6")
AXES = LabelSpace.model_validate(HH6.model_dump() | {"cost": "axes"})
P = np.random.default_rng(0).dirichlet(np.full(6, 0.5), size=100)


def to_best(p: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """Transport from every row of p to the best label, by POT."""
    best = np.eye(len(cost))[int(HH6.rewards.argmax())]
    return np.array([ot.emd2(row, best, cost) for row in p])


# -- a reading and the transport that belongs to it -------------------------------------------------------------------


def utility_cost(utility: np.ndarray) -> np.ndarray:
    return np.abs(utility[:, None] - utility)


def test_the_mean_belongs_to_the_cost_of_rewards() -> None:
    mean = RiskMeasure.of("mean")(P, HH6.rewards)
    assert np.allclose(mean, HH6.rewards.max() - to_best(P, HH6.ground_cost), atol=1e-9)


@pytest.mark.parametrize("b", [0.5, 1.0, 3.0])
def test_an_entropic_reading_belongs_to_the_cost_of_its_utility(b: float) -> None:
    """It is -(1/b) log of the mean of exp(-b r): the mean of the utility -exp(-b r), seen through a monotone function."""
    utility = -np.exp(-b * HH6.rewards)
    reading = RiskMeasure.of(f"entropic:{b}")(P, HH6.rewards)
    through = -np.log(to_best(P, utility_cost(utility)) - utility.max()) / b
    assert np.allclose(reading, through, atol=1e-9)
    by_rewards = to_best(P, HH6.ground_cost)
    assert reading.argsort().tolist() != (-by_rewards).argsort().tolist()  # it is not the mean's


@pytest.mark.parametrize("t", [0.1, 0.25, 0.7])
def test_cvar_belongs_to_the_transport_of_the_least_satisfied(t: float) -> None:
    """r_best - CVaR_t is the transport of the share t that has it farthest to the best label."""
    order = HH6.rewards.argsort()
    left = np.clip(t - np.cumsum(P[:, order], axis=1) + P[:, order], 0, None)
    worst = np.zeros_like(P)
    worst[:, order] = np.minimum(P[:, order], left) / t
    assert np.allclose(worst.sum(axis=1), 1)
    reading = RiskMeasure.of(f"cvar:{t}")(P, HH6.rewards)
    assert np.allclose(reading, HH6.rewards.max() - to_best(worst, HH6.ground_cost), atol=1e-9)


def test_no_reading_of_rewards_belongs_to_the_cost_of_axes() -> None:
    """Two steps to the best label cost the same there, also where one of the two labels is worth more."""
    one = np.eye(6)
    middle, worst_help = HH6.names.index("neutral_harmful"), HH6.names.index("unhelpful_harmless")
    steps = to_best(one, AXES.ground_cost)
    assert steps[middle] == steps[worst_help]
    assert HH6.rewards[middle] < HH6.rewards[worst_help]
    # A mixture turns the order around: a higher expected reward, and farther from the best label.
    a, b = 0.9 * one[worst_help] + 0.1 * one[5], one[middle]
    for reading in ("mean", "std:0", "entropic:0.01"):
        higher, lower = RiskMeasure.of(reading)(np.stack([a, b]), HH6.rewards)
        assert higher > lower
    farther, nearer = to_best(np.stack([a, b]), AXES.ground_cost)
    assert farther > nearer


# -- unanimous votes --------------------------------------------------------------------------------------------------

SPACES = [LabelSpace.ordinal(2), LabelSpace.ordinal(5), HH6, AXES]
DISTRIBUTIONAL = [name for name in LOSSES.names() if not LOSSES.get(name).scalar and not LOSSES.get(name).paired]


@pytest.mark.parametrize("space", SPACES, ids=["two", "five", "rewards", "axes"])
@pytest.mark.parametrize("spec", [*DISTRIBUTIONAL, "ot+0.1*ce"])
def test_unanimous_votes_lead_every_loss_to_the_label_s_reward(spec: str, space: LabelSpace) -> None:
    objective, K = Objective(spec, space), space.K
    target = torch.eye(K)
    logits = torch.zeros(K, K, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.2)
    for _ in range(300):
        optimizer.zero_grad()
        objective(logits, target).sum().backward()
        optimizer.step()
    expected = logits.detach().softmax(-1).double().numpy() @ space.rewards
    spread = space.rewards.max() - space.rewards.min()
    assert np.abs(expected - space.rewards).max() < 0.01 * spread


# -- two labels and cross-entropy -------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [1.0, 0.7])
def test_two_labels_and_cross_entropy_are_bradley_terry(share: float) -> None:
    """The labels say which of two responses is better, their logits are the rewards of the two: values and gradients.

    With a share of people on each side it is the pair counted both ways, each with its share.
    """
    rejected, chosen = torch.randn(2, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float32) * 2
    logits = torch.stack([rejected, chosen], 1).requires_grad_()
    target = torch.tensor([[1 - share, share]]).expand(64, 2)
    ce = Objective("ce", LabelSpace.ordinal(2))(logits, target)
    ce.sum().backward()
    scores = [x.clone().requires_grad_() for x in (chosen, rejected)]
    bt = Objective("bt", LabelSpace.ordinal(2))
    both = [bt(torch.cat(pair)[:, None], target) for pair in (scores, scores[::-1])]
    value = share * both[0] + (1 - share) * both[1]
    value.sum().backward()
    assert torch.allclose(ce, value, atol=1e-6)
    assert logits.grad is not None
    by_rewards = torch.stack([score.grad for score in scores[::-1]], 1)  # type: ignore[misc]
    assert torch.allclose(logits.grad, by_rewards, atol=1e-6)
    assert torch.allclose(by_rewards[:, 1], torch.sigmoid(chosen - rejected) - share, atol=1e-6)
