"""How a panel is read: the algorithm against its objective, against another optimiser, and against known truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize

from dprm_data.labels.space import LabelSpace
from dprm_data.review.annotator_model import LAPSE, AnnotatorModel, PanelAnswers, Strength, climb, learn

Array = NDArray[np.float64]


def panel_of(labels: NDArray[np.int64], K: int, weights: Array | None = None) -> PanelAnswers:
    """Labels (items, personas), -1 for an item that a persona did not judge."""
    N, A = labels.shape
    there = labels.ravel() >= 0
    weight = np.tile(np.ones(A) if weights is None else weights, N)[there]
    item, who = np.repeat(np.arange(N), A)[there], np.tile(np.arange(A), N)[there]
    return PanelAnswers(N, [f"p{a}" for a in range(A)], item, who, np.eye(K)[labels.ravel()[there]], weight)


def people_of(rng: np.random.Generator, y: Array, count: int) -> Array:
    return rng.multinomial(count, y).astype(float)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(
        [Strength(5.0), Strength(shared=2.0), Strength(3.0, shared=5.0), Strength(3.0, own=5.0), Strength(own=1.0)]
    ),
)
def test_no_step_lowers_the_objective(seed: int, strength: Strength) -> None:
    rng = np.random.default_rng(seed)
    K, A, N = 4, 5, 30
    labels = rng.integers(-1, K, size=(N, A))
    labels[:, 0] = np.maximum(labels[:, 0], 0)
    panel = panel_of(labels, K, rng.uniform(0.2, 3.0, size=A))
    people = people_of(rng, rng.dirichlet(np.ones(K), size=N), 3)
    reading, path = climb(panel, people, AnnotatorModel.literal(panel.personas, K), strength, np.eye(K), steps=25)
    assert (np.diff(path) >= -1e-7 * abs(path[0])).all()
    np.testing.assert_allclose(reading.bias.sum(axis=2), 1.0)
    assert (reading.ratio > 0).all()


def test_the_weights_are_the_optimum() -> None:
    """Against SciPy on the penalised likelihood, with the weights on the simplex."""
    rng = np.random.default_rng(3)
    K, A, N, kappa = 3, 4, 60, 15.0
    labels = rng.integers(K, size=(N, A))
    given_weights = np.array([1.0, 2.0, 1.0, 0.5])
    w0 = given_weights / given_weights.sum()
    truth = np.array([0.6, 0.1, 0.25, 0.05])
    people = people_of(rng, np.einsum("a,nak->nk", truth, np.eye(K)[labels]), 5)
    panel = panel_of(labels, K, given_weights)
    reading, _ = climb(panel, people, AnnotatorModel.literal(panel.personas, K), Strength(kappa), np.eye(K), steps=3000)
    found = w0 * reading.ratio / (w0 @ reading.ratio)

    def loss(w: Array) -> float:  # on the simplex, log rho - rho is log w + constant at the best common factor
        y = (1 - LAPSE) * np.einsum("a,nak->nk", w, np.eye(K)[labels]) + LAPSE / K
        return float(-(people * np.log(y)).sum() - kappa * (w0 * np.log(w)).sum())

    other = minimize(
        loss, w0, method="SLSQP", bounds=[(1e-9, 1)] * A, constraints={"type": "eq", "fun": lambda w: w.sum() - 1}
    )
    np.testing.assert_allclose(found, other.x, atol=2e-3)
    assert loss(found) <= other.fun + 1e-4


def test_known_truth_is_found() -> None:
    """A persona that always answers one step too kindly, one that rolls dice, and two that are people."""
    rng = np.random.default_rng(0)
    K, N = 5, 3000
    truth = rng.dirichlet(np.full(K, 0.7), size=N)
    drawn = np.stack([(truth.cumsum(axis=1) > rng.random((N, 1))).argmax(axis=1) for _ in range(4)], axis=1)
    labels = drawn.copy()
    labels[:, 2] = np.minimum(drawn[:, 2] + 1, K - 1)
    labels[:, 3] = rng.integers(K, size=N)
    panel = panel_of(labels, K)
    people = people_of(rng, truth, 3)
    reading = learn(panel, people, Strength(weights=30.0, shared=10.0, own=10.0), K)
    kind = reading.bias[2]
    assert all(kind[k].argmax() == k - 1 for k in range(1, K - 1))
    before = ((AnnotatorModel.literal(panel.personas, K).read(panel) / 4 - truth) ** 2).sum(axis=1).mean()
    after = ((reading.read(panel) / 4 - truth) ** 2).sum(axis=1).mean()
    assert after < 0.7 * before
    # The one that rolls dice says nothing: whatever it says is read as much the same.
    spread = np.abs(reading.bias[:, :, None, :] - reading.bias[:, None, :, :]).sum(axis=3).max(axis=(1, 2))
    assert reading.ratio[3] < 0.5 * reading.ratio[:2].mean() or spread[3] < 0.5 * spread[:2].min()


def test_strong_penalties_leave_the_panel_at_its_word() -> None:
    rng = np.random.default_rng(1)
    K = 3
    panel = panel_of(rng.integers(K, size=(40, 4)), K)
    people = people_of(rng, rng.dirichlet(np.ones(K), size=40), 4)
    for strength in (Strength(1e9), Strength(shared=1e9), Strength(1e9, shared=1e9, own=1e9)):
        reading = learn(panel, people, strength, K)
        np.testing.assert_allclose(reading.ratio, 1.0, atol=1e-4)
        np.testing.assert_allclose(reading.bias, np.tile(np.eye(K), (4, 1, 1)), atol=1e-3)
    assert np.array_equal(learn(panel, people, Strength(), K).bias, AnnotatorModel.literal(panel.personas, K).bias)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_reading_is_what_its_formula_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    K, A, N = 3, 4, 6
    labels = rng.integers(-1, K, size=(N, A))
    panel = panel_of(labels, K, rng.uniform(0.1, 2.0, size=A))
    reading = AnnotatorModel(
        panel.personas, rng.uniform(0.2, 5.0, size=A), rng.dirichlet(np.ones(K), size=(A, K)), np.eye(K)
    )
    votes = reading.read(panel)
    for i in range(N):
        rows = np.flatnonzero(panel.item == i)
        u, who = panel.weight[rows], panel.who[rows]
        w = u * reading.ratio[who]
        expected = sum(
            (w[j] / w.sum() * u.sum() * reading.bias[who[j]].T @ panel.said[rows[j]] for j in range(len(rows))),
            np.zeros(K),
        )
        np.testing.assert_allclose(votes[i], expected, atol=1e-12)
    space = LabelSpace.ordinal(K)
    again = AnnotatorModel.from_dict(reading.to_dict(space), [*panel.personas, "new"])
    np.testing.assert_allclose(again.bias[:A], reading.bias)
    np.testing.assert_allclose(again.bias[A], reading.shared)
    assert again.ratio[A] == 1.0


@pytest.mark.parametrize("order", [[2, 0, 1], [0, 2]])
def test_taking_items_keeps_their_answers(order: list[int]) -> None:
    panel = panel_of(np.array([[0, 1], [1, -1], [2, 2]]), 3)
    votes = AnnotatorModel.literal(panel.personas, 3).read(panel)
    part = panel.of_items(np.array(order))
    np.testing.assert_array_equal(AnnotatorModel.literal(panel.personas, 3).read(part), votes[order])
