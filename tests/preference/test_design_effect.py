"""Weighted panels: intervals hold when weights count as an effective number of votes."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from dprm_data.core.tables import ANNOTATIONS
from dprm_data.ingest.votes import votes_from_annotations
from dprm_data.labels.space import LabelSpace
from dprm_data.preference.design_effect import by_design
from dprm_data.preference.fitting import fit

FIVE = LabelSpace.ordinal(5)


def table(labels: np.ndarray, weights: np.ndarray, kind: str = "persona") -> pa.Table:  # type: ignore[type-arg]
    rows = [
        dict.fromkeys(ANNOTATIONS.names)
        | {"item_id": f"i{i}", "annotator_id": f"p{a}", "annotator_kind": kind, "elicitation": "choice"}
        | {"label": FIVE.names[labels[i, a]], "status": "ok", "weight": float(weights[a])}
        for i in range(len(labels))
        for a in range(labels.shape[1])
    ]
    return pa.Table.from_pylist(rows, schema=ANNOTATIONS)


def test_the_design_effect_is_in_the_intervals() -> None:
    rng = np.random.default_rng(0)
    weights = np.exp(rng.normal(0.0, 1.1, 15))
    weights /= weights.mean()
    centre = rng.normal(2.0, 1.0, 400)
    p = np.exp(-0.5 * (centre[:, None] - np.arange(5)) ** 2)
    p /= p.sum(axis=1, keepdims=True)
    labels = (p.cumsum(axis=1)[:, None, :] > rng.random((400, 15, 1))).argmax(axis=2)
    plain = table(labels, weights)
    held = []
    for one in (plain, by_design(plain)):
        found = fit(votes_from_annotations(one, FIVE), FIVE)
        reward = p @ FIVE.rewards
        held.append(((found.reward_low <= reward) & (reward <= found.reward_high)).mean())
    assert held[0] < 0.84  # as many votes of equal weight would hold .9
    assert 0.86 <= held[1] <= 0.95
    effective = votes_from_annotations(by_design(plain), FIVE).totals
    np.testing.assert_allclose(effective, weights.sum() ** 2 / (weights**2).sum())


def test_equal_weights_are_a_vote_each_and_people_are_left_alone() -> None:
    labels = np.zeros((3, 4), dtype=int)
    np.testing.assert_allclose(votes_from_annotations(by_design(table(labels, np.full(4, 2.5))), FIVE).totals, 4.0)
    ones = table(labels, np.ones(4))
    assert by_design(ones) is ones
    people = table(labels, np.array([1.0, 2.0, 3.0, 4.0]), "human")
    assert by_design(people).equals(people)


@pytest.mark.parametrize("factor", [0.1, 7.0])
def test_only_proportions_count(factor: float) -> None:
    labels, weights = np.zeros((3, 4), dtype=int), np.array([1.0, 2.0, 3.0, 0.0])
    some, other = (
        votes_from_annotations(by_design(table(labels, w)), FIVE).counts for w in (weights, factor * weights)
    )
    np.testing.assert_allclose(some, other)
    np.testing.assert_allclose(some.sum(axis=1), 36 / 14)  # weight zero is absence
