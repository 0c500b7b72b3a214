"""Wasserstein-1 against an independent solver, and what every distance must keep."""

from __future__ import annotations

import sys

import numpy as np
import ot
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance

from dprm_data.labels.geometry import has_closed_form, line_positions, wasserstein, wasserstein_in_steps
from dprm_data.labels.space import LabelSpace

HH6 = LabelSpace.load("hh6")
STEPS = np.abs(np.subtract.outer(np.arange(4.0), np.arange(4.0)))
COSTS = {
    "rewards": HH6.ground_cost,
    "grid": LabelSpace.model_validate(HH6.model_dump() | {"cost": "axes"}).ground_cost,
    "scale": LabelSpace.ordinal(7).ground_cost,
    "no metric": LabelSpace.ordinal(5).ground_cost ** 2,
    "many labels": (STEPS[:, None, :, None] + STEPS[None, :, None, :]).reshape(16, 16),
}
ON_A_LINE = {"rewards", "scale"}


@pytest.mark.parametrize("name", COSTS)
def test_equals_the_transport_of_another_solver(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cost = COSTS[name]
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.full(len(cost), 0.5), size=(2, 40))
    exact = [ot.emd2(a / a.sum(), b / b.sum(), cost) for a, b in zip(p, q, strict=True)]
    np.testing.assert_allclose(wasserstein(p, q, cost), exact, atol=1e-8)
    monkeypatch.setitem(sys.modules, "ot", None)  # not installed
    np.testing.assert_allclose(wasserstein(p, q, cost), exact, atol=1e-8)


def test_unit_steps_in_an_order() -> None:
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(6), size=(2, 40))
    order = np.array([5, 4, 2, 3, 1, 0])
    for found, place in (
        (wasserstein_in_steps(p, q), np.arange(6)),
        (wasserstein_in_steps(p, q, order), np.argsort(order)),
    ):
        expected = [wasserstein_distance(place, place, a, b) for a, b in zip(p, q, strict=True)]
        np.testing.assert_allclose(found, expected, atol=1e-12)


def test_which_costs_have_a_closed_form() -> None:
    assert {name for name, cost in COSTS.items() if line_positions(cost) is not None} == ON_A_LINE
    assert {name for name, cost in COSTS.items() if has_closed_form(cost)} == ON_A_LINE | {"grid"}  # 3 by 2 steps


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["rewards", "grid", "scale"]))
def test_is_a_distance(seed: int, name: str) -> None:
    cost = COSTS[name]
    rng = np.random.default_rng(seed)
    p, q, r = rng.dirichlet(np.full(len(cost), 0.3), size=(3, 3))
    there = wasserstein(p, q, cost)
    np.testing.assert_allclose(there, wasserstein(q, p, cost), atol=1e-9)
    np.testing.assert_allclose(wasserstein(p, p, cost), 0.0, atol=1e-9)
    assert (there <= wasserstein(p, r, cost) + wasserstein(r, q, cost) + 1e-9).all()
    if name == "rewards":  # no less than the difference of the expected rewards
        assert (there >= np.abs((p - q) @ HH6.rewards) - 1e-9).all()
