"""Predicted shares of pairs against held-out ones: by counting, by SciPy, by the loss that trains them, and by properties."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from scipy.stats import entropy

from dprm_data.labels.statistics import Resamples
from dprm_trainers.evaluation.pair_calibration import HeldOutPairs, predicted_shares
from dprm_trainers.reward.pair_losses import log_shares
from dprm_trainers.reward.reward_model import Judgement
from tests.trainers import tiny

SPACE = tiny.SPACE
RNG = np.random.default_rng(0)
P, Q = RNG.dirichlet(np.ones(6), 40), RNG.dirichlet(np.ones(6), 40)
PAIRS = np.array([[i, j] for i in range(0, 40, 4) for j in range(i + 1, i + 4)])
GROUPS = np.repeat(np.arange(10), 4)


def judgement(p: Any) -> Judgement:
    return Judgement(p @ SPACE.rewards, np.zeros(len(p)), p)


def held_out(q: Any, pairs: Any = PAIRS) -> HeldOutPairs:
    return HeldOutPairs.of(q, GROUPS, pairs, SPACE, Resamples.of(GROUPS, resamples=100))


def test_the_share_is_counted_over_all_two_people_and_is_what_the_ordinal_loss_trains() -> None:
    found = predicted_shares(judgement(P), PAIRS, SPACE)
    for share, (a, b) in zip(found, PAIRS, strict=True):
        counted = sum(
            P[a, k] * P[b, m] * (1.0 if mine > theirs else 0.5 if mine == theirs else 0.0)
            for k, mine in enumerate(SPACE.rewards)
            for m, theirs in enumerate(SPACE.rewards)
        )
        assert share == pytest.approx(counted)
    first, second = (torch.tensor(np.log(P[PAIRS[:, side]])) for side in (0, 1))
    above, _ = log_shares(first, second, torch.tensor(SPACE.rewards))
    assert np.allclose(found, above.exp().numpy())


def test_a_scalar_model_says_the_sigmoid_of_the_difference() -> None:
    reward = RNG.normal(size=40) * 300
    found = predicted_shares(Judgement(reward, np.full(40, np.nan), None), PAIRS, SPACE)
    assert np.allclose(found, expit(reward[PAIRS[:, 0]] - reward[PAIRS[:, 1]]))


def test_the_figures_are_their_definitions() -> None:
    said, true = (predicted_shares(judgement(each), PAIRS, SPACE) for each in (P, Q))
    figures = held_out(Q).figures(judgement(P))
    assert figures["pair brier"].value == pytest.approx(np.mean((said - true) ** 2))
    beyond = [entropy([t, 1 - t], [s, 1 - s]) for s, t in zip(said, true, strict=True)]
    assert figures["pair kl"].value == pytest.approx(np.mean(beyond))
    both = [*zip(said, true, strict=True), *zip(1 - said, 1 - true, strict=True)]
    bins = [[(s, t) for s, t in both if min(int(s * 10), 9) == k] for k in range(10)]
    gaps = [len(b) / len(both) * abs(np.mean([s for s, _ in b]) - np.mean([t for _, t in b])) for b in bins if b]
    assert figures["pair ece"].value == pytest.approx(sum(gaps))
    assert sum(n for _, _, n in held_out(Q).curve(judgement(P))) == 2 * len(PAIRS)


def test_a_perfect_prediction_and_one_that_tells_nothing() -> None:
    perfect = held_out(Q).figures(judgement(Q))
    assert max(figure.high or 0.0 for figure in perfect.values()) == pytest.approx(0, abs=1e-9)
    expected = Q @ SPACE.rewards
    ordered = np.where((expected[PAIRS[:, 0]] > expected[PAIRS[:, 1]])[:, None], PAIRS, PAIRS[:, ::-1])
    for base in RNG.dirichlet(np.ones(6), 20):  # of which many have a share of one half less a rounding error
        nothing = held_out(Q, ordered).figures(judgement(np.tile(base, (40, 1))))
        assert nothing["pair ece"].value == pytest.approx(0, abs=1e-12)  # calibrated, and yet
        assert (nothing["pair brier"].low or 0.0) > 0.001
    assert held_out(Q, PAIRS[:0]).figures(judgement(Q)) == {}


@settings(max_examples=25, deadline=None)
@given(st.lists(st.booleans(), min_size=len(PAIRS), max_size=len(PAIRS)))
def test_which_of_two_is_first_does_not_matter(turned: list[bool]) -> None:
    other = np.where(np.array(turned)[:, None], PAIRS[:, ::-1], PAIRS)
    before, after = (held_out(Q, pairs).figures(judgement(P)) for pairs in (PAIRS, other))
    for name in before:
        assert after[name].value == pytest.approx(before[name].value, abs=1e-9)
