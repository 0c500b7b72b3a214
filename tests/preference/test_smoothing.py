from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dprm_data.core.arrays import Floats
from dprm_data.labels.space import LabelSpace
from dprm_data.preference.smoothing import smooth
from dprm_data.recipe.fit_config import SmoothingConfig

HH6 = LabelSpace.load("hh6")
TARGETED = SmoothingConfig()

raw = hnp.arrays(np.float64, st.tuples(st.integers(1, 6), st.just(6)), elements=st.floats(0, 1))
sharp = st.floats(0.0, 40.0)


@st.composite
def distributions(draw: st.DrawFn) -> Floats:
    """Any distributions, many of them nearly certain."""
    p = np.maximum(draw(raw), 1e-300) ** (1 + draw(sharp))
    p[:, draw(st.integers(0, 5))] += draw(st.sampled_from([0.0, 1e-6, 10.0]))
    p[p < 1e-12] = 0.0
    p[p.sum(axis=1) == 0] = 1.0
    return np.asarray(p / p.sum(axis=1, keepdims=True))


@settings(deadline=None, max_examples=200)
@given(p=distributions(), kind=st.sampled_from(["targeted", "uniform", "cost", "none"]), epsilon=st.floats(0, 0.5))
def test_it_stays_a_distribution(p: Floats, kind: str, epsilon: float) -> None:
    q = smooth(p, HH6, SmoothingConfig(kind=kind, epsilon=epsilon))
    assert (q >= -1e-15).all()
    np.testing.assert_allclose(q.sum(axis=1), 1.0, atol=1e-9)


@settings(deadline=None, max_examples=200)
@given(p=distributions(), threshold=st.floats(0.5, 0.999), epsilon=st.floats(0.001, 0.5))
def test_targeted_smoothing_keeps_its_promises(p: Floats, threshold: float, epsilon: float) -> None:
    q = smooth(p, HH6, SmoothingConfig(threshold=threshold, epsilon=epsilon))
    top = p.argmax(axis=1)
    peak = p.max(axis=1)
    touched = (q != p).any(axis=1)
    # only the near-certain are touched, and these end at 1 - epsilon
    assert (peak[touched] > threshold).all()
    np.testing.assert_allclose(q.max(axis=1)[touched], 1 - epsilon, atol=1e-12)
    # the order of the probabilities is kept
    for before, after in zip(p, q, strict=True):
        order = np.argsort(-before, kind="stable")
        assert (np.diff(after[order]) <= 1e-9).all() or (np.sort(before)[:-1] == 0).all() or _tied(before)
    # one label gains what the top one loses, and the expected reward moves by that much of their difference
    lost = peak - q[np.arange(len(q)), top]
    assert ((q - p > 1e-15).sum(axis=1) <= 1).all()
    widest = np.abs(HH6.rewards[None, :] - HH6.rewards[top][:, None]).max(axis=1)
    assert (np.abs((q - p) @ HH6.rewards) <= lost * widest + 1e-9).all()
    assert (lost <= epsilon + 1e-12).all()


def _tied(before: Floats) -> bool:
    """Of equally likely runners-up only one can gain."""
    rest = np.sort(before)[:-1]
    return bool((rest == rest.max()).sum() > 1)


def test_the_excess_goes_to_the_next_most_likely_label() -> None:
    p = np.array([[0.98, 0.004, 0.0, 0.016, 0.0, 0.0]])
    q = smooth(p, HH6, SmoothingConfig(threshold=0.95, epsilon=0.05))
    np.testing.assert_allclose(q, [[0.95, 0.004, 0.0, 0.046, 0.0, 0.0]], atol=1e-12)


def test_with_no_other_mass_it_goes_to_the_nearest_label() -> None:
    # From neutral_harmful (-1.5) the nearest rewards are -1 twice: the first of them takes it.
    q = smooth(np.eye(6), HH6, TARGETED)
    takers = [HH6.names[int(np.argsort(-row, kind="stable")[1])] for row in q]
    assert takers == [
        "neutral_harmless",
        "helpful_harmless",
        "helpful_harmful",
        "unhelpful_harmless",
        "unhelpful_harmless",
        "neutral_harmful",
    ]
    np.testing.assert_allclose(np.sort(q, axis=1)[:, -2:], np.tile([0.05, 0.95], (6, 1)))


def test_what_is_less_certain_is_left_alone() -> None:
    p = np.array([[0.95, 0.05, 0, 0, 0, 0], [0.5, 0.1, 0.1, 0.1, 0.1, 0.1]])
    np.testing.assert_array_equal(smooth(p, HH6, TARGETED), p)
    np.testing.assert_array_equal(smooth(np.eye(6), HH6, SmoothingConfig(epsilon=0.0)), np.eye(6))


def test_uniform_and_cost_smoothing() -> None:
    p = np.eye(6)[:1]
    np.testing.assert_allclose(smooth(p, HH6, SmoothingConfig(kind="uniform", epsilon=0.12))[0, 1:], 0.02)
    near = smooth(p, HH6, SmoothingConfig(kind="cost", epsilon=0.2))[0]
    # the nearer a label's reward, the more it gets
    assert (np.diff(near[np.argsort(HH6.ground_cost[0], kind="stable")]) <= 1e-12).all()
