"""The messages against an enumeration of all states: exact where votes form a tree."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dprm_data.core.arrays import Floats
from dprm_data.preference.axes import Node
from dprm_data.preference.prior import BetaPart
from dprm_data.preference.rated_scale import RatedScale
from dprm_data.preference.rater_learning import complete, item_posteriors
from dprm_data.preference.rater_model import SEVERITY, RaterModel, start

LEVELS = 3
NODE = Node("scale", tuple((k,) for k in range(LEVELS)), (None,) * LEVELS)
PART = BetaPart(
    np.array([0.2, 0.5, 0.8]),
    np.array([1.0, 6.0]),
    np.array([0.1, 0.2, 0.3, 0.1, 0.2, 0.1]),
    np.ones(LEVELS),
    0.02,
    200.0,
)
SHIFTS = np.array([-1.0, 0.0, 1.0])
TREE = [(0, 0, 2), (0, 1, 0), (1, 1, 1), (1, 2, 2), (2, 2, 0)]  # item, rater, level: a path, no loop


def scale_of(votes: list[tuple[int, int, int]], items: int = 3, raters: int = 3) -> RatedScale:
    item, rater, level = (np.array(column) for column in zip(*votes, strict=True))
    counts = np.zeros((items, LEVELS))
    np.add.at(counts, (item, level), 1.0)
    return RatedScale.of(item, rater, level, np.ones(len(item)), counts, raters, NODE)


def settled(scale: RatedScale, passes: int = 8) -> RaterModel:
    """Messages until they no longer change, with weights that are given."""
    model = start(PART, scale.raters, SHIFTS, SEVERITY)
    first = np.tile(model.population, (scale.raters, 1))
    messages = np.ascontiguousarray(first.astype(np.float32)[scale.rater])
    from dprm_data.preference import rater_learning

    for _ in range(passes):
        _, model = rater_learning.pass_over(scale, model, messages)
    return complete_with(scale, model, messages)


def complete_with(scale: RatedScale, model: RaterModel, messages: Floats) -> RaterModel:
    from dataclasses import replace

    return replace(model, messages=messages, shared=np.zeros(scale.items))


def enumerated(votes: list[tuple[int, int, int]], model: RaterModel) -> tuple[Floats, Floats, float]:
    """Posteriors of items and raters and the probability of the votes, over all states of three items and three raters."""
    G, B = len(PART.weights), len(SHIFTS)
    items, raters, total = np.zeros((3, G)), np.zeros((3, B)), 0.0
    for state in product(range(G), range(G), range(G), range(B), range(B), range(B)):
        g, b = state[:3], state[3:]
        p = np.prod(PART.weights[list(g)]) * np.prod(model.population[list(b)])
        for item, rater, level in votes:
            p *= model.cells[level, b[rater], g[item]]
        total += p
        for i in range(3):
            items[i, g[i]] += p
            raters[i, b[i]] += p
    return items / total, raters / total, float(np.log(total))


def test_on_a_tree_posteriors_and_evidence_are_exact() -> None:
    scale = scale_of(TREE)
    model = settled(scale)
    items, raters, evidence = enumerated(TREE, model)
    np.testing.assert_allclose(item_posteriors(scale, model, 0, 3)[0], items, atol=1e-5)
    np.testing.assert_allclose(model.beliefs, raters, atol=1e-5)
    assert model.evidence == pytest.approx(evidence, abs=1e-4)


def test_on_a_loop_they_are_near() -> None:
    votes = [(i, r, (i + r) % LEVELS) for i in range(3) for r in range(3)]
    scale = scale_of(votes)
    model = settled(scale, 30)
    items, raters, evidence = enumerated(votes, model)
    np.testing.assert_allclose(item_posteriors(scale, model, 0, 3)[0], items, atol=0.03)
    np.testing.assert_allclose(model.beliefs, raters, atol=0.05)
    assert model.evidence == pytest.approx(evidence, abs=0.1)


@settings(deadline=None, max_examples=20)
@given(st.permutations(range(3)), st.permutations(range(3)), st.permutations(range(len(TREE))))
def test_names_and_order_of_items_raters_and_votes_do_not_matter(
    items: list[int], raters: list[int], order: list[int]
) -> None:
    model = settled(scale_of(TREE))
    named = [(items[i], raters[r], k) for i, r, k in (TREE[at] for at in order)]
    other = settled(scale_of(named))
    np.testing.assert_allclose(other.beliefs[raters], model.beliefs, atol=1e-5)
    assert other.evidence == pytest.approx(model.evidence, abs=1e-4)


def test_many_votes_through_one_table_say_what_messages_say(monkeypatch: pytest.MonkeyPatch) -> None:
    from dprm_data.preference import rater_learning

    rng = np.random.default_rng(0)
    votes = [(i, r, int(rng.integers(LEVELS))) for i in range(400) for r in rng.permutation(3)[:2]]
    scale = scale_of(votes, items=400)
    model = settled(scale)
    by_message = complete(scale, model)
    monkeypatch.setattr(rater_learning, "COMPLETED", 600)
    by_table = complete(scale, model)
    assert by_table.says is not None
    assert len(by_table.messages) == 0
    one, other = (item_posteriors(scale, each, 100, 300)[0] for each in (by_message, by_table))
    np.testing.assert_allclose(one, other, atol=0.02)
