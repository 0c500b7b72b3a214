"""Wasserstein-1 against an independent solver, and what every distance must keep."""

from __future__ import annotations

import numpy as np
import ot
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dprm_data.labels.geometry import line, wasserstein
from dprm_data.labels.space import LabelSpace

HH6 = LabelSpace.load("hh6")
SPACES = {
    "rewards": HH6,
    "grid": LabelSpace.model_validate(HH6.model_dump() | {"cost": "axes"}),
    "scale": LabelSpace.ordinal(7),
    "unordered": LabelSpace.load(
        {"name": "unordered", "labels": [{"name": f"l{reward}", "reward": reward} for reward in (3, 1, 4, 2)]}
    ),
}


@pytest.mark.parametrize("name", SPACES)
def test_equals_the_transport_of_another_solver(name: str) -> None:
    space = SPACES[name]
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.full(space.K, 0.5), size=(2, 40))
    exact = [ot.emd2(a / a.sum(), b / b.sum(), space.ground_cost) for a, b in zip(p, q, strict=True)]
    np.testing.assert_allclose(wasserstein(p, q, space), exact, atol=1e-8)


def test_which_costs_are_lines() -> None:
    assert line(HH6.ground_cost) is not None
    assert line(LabelSpace.ordinal(5).ground_cost) is not None
    assert line(SPACES["grid"].ground_cost) is None  # 3 by 2 steps


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(sorted(SPACES)))
def test_is_a_distance(seed: int, name: str) -> None:
    space = SPACES[name]
    rng = np.random.default_rng(seed)
    p, q, r = rng.dirichlet(np.full(space.K, 0.3), size=(3, 3))
    there = wasserstein(p, q, space)
    np.testing.assert_allclose(there, wasserstein(q, p, space), atol=1e-9)
    np.testing.assert_allclose(wasserstein(p, p, space), 0.0, atol=1e-9)
    assert (there <= wasserstein(p, r, space) + wasserstein(r, q, space) + 1e-9).all()
    # No less than the difference of the expected rewards, where the cost is that of rewards.
    if name != "grid":
        assert (there >= np.abs((p - q) @ space.rewards) - 1e-9).all()
