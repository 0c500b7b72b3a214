"""Which items people see."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dprm_data.core.errors import InputError
from dprm_data.ingest.votes import Votes
from dprm_data.labels.space import LabelSpace
from dprm_data.preference.fitting import Fit, fit
from dprm_data.review.selection import select

SPACE = LabelSpace.load("hh6")


@pytest.fixture(scope="module")
def fitted() -> Fit:
    rng = np.random.default_rng(0)
    counts = rng.multinomial(6, rng.dirichlet([2.0, 1.0, 0.6, 0.2, 0.1, 0.1], size=300)).astype(float)
    return fit(Votes([f"{i:032x}" for i in range(300)], counts), SPACE, family="dirichlet")


def test_divided_and_uncertain_take_the_extremes(fitted: Fit) -> None:
    divided = select(fitted, "divided", 20).rows
    assert fitted.disagreement[divided].min() >= np.delete(fitted.disagreement, divided).max()
    width = fitted.reward_high - fitted.reward_low
    uncertain = select(fitted, "uncertain", 20).rows
    assert width[uncertain].min() >= np.delete(width, uncertain).max()
    assert (select(fitted, "divided", 20).weights == 1).all()


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(["divided", "uncertain", "random", "stratified"]),
    st.integers(1, 300),
    st.integers(1, 300),
    st.integers(0, 9),
)
def test_more_only_adds(fitted: Fit, purpose: str, a: int, b: int, seed: int) -> None:
    few, many = sorted((a, b))
    small, large = select(fitted, purpose, few, seed=seed).rows, select(fitted, purpose, many, seed=seed).rows
    assert len(small) == few
    assert list(large[:few]) == list(small)
    assert len(set(large.tolist())) == many
    # In two pushes as in one.
    ids = [fitted.votes.item_ids[row] for row in small]
    rest = select(fitted, purpose, many, seed=seed, already=ids).rows
    assert list(small) + list(rest) == list(large)


def test_random_gives_every_item_the_same_chance(fitted: Fit) -> None:
    counts = Counter(row for seed in range(600) for row in select(fitted, "random", 60, seed=seed).rows.tolist())
    expected = 600 * 60 / 300
    chi_squared = sum((counts[row] - expected) ** 2 / expected for row in range(300)) / (1 - 60 / 300)
    assert chi_squared < 299 + 4 * (2 * 299) ** 0.5


def test_stratified_sees_rare_labels_and_its_weights_undo_that(fitted: Fit) -> None:
    mode = fitted.distribution.argmax(axis=1)
    sizes = np.bincount(mode, minlength=6)
    estimates = []
    for seed in range(200):
        chosen = select(fitted, "stratified", 30, seed=seed)
        taken = np.bincount(mode[chosen.rows], minlength=6)
        there = sizes > 0
        assert (taken[there] >= np.minimum(sizes[there], 30 // int(there.sum()))).all()
        weights = chosen.weights[chosen.rows]
        assert weights.sum() == pytest.approx(300)  # they stand for all items
        estimates.append(weights @ fitted.expected_reward[chosen.rows] / weights.sum())
    error = np.std(estimates) / 200**0.5
    assert np.mean(estimates) == pytest.approx(fitted.expected_reward.mean(), abs=4 * error)


def test_ids_and_mistakes(fitted: Fit) -> None:
    one = fitted.votes.item_ids[17]
    assert select(fitted, "ids", 1, ids=[one, one]).rows.tolist() == [17]
    for wrong in (
        {"purpose": "ids", "ids": []},
        {"purpose": "ids", "ids": ["00"]},
        {"purpose": "ids", "ids": ["zz"]},
        {"purpose": "random", "ids": [one]},
        {"purpose": "best"},
    ):
        with pytest.raises(InputError):
            select(fitted, count=5, **wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError):
        select(fitted, "random", 0)
