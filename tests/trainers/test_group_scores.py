"""Models against groups of people: by counting on invented groups, and by the command on a run."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from dprm_data.core.errors import DprmError
from dprm_data.labels.statistics import Resamples
from dprm_data.preference.groups import Group
from dprm_trainers.data.group_rows import GroupViews
from dprm_trainers.data.rows import Rows
from dprm_trainers.evaluation.group_scores import EVERYONE, GroupScores, score_groups
from dprm_trainers.reward.reward_model import Judgement
from tests.trainers import tiny

SPACE = tiny.SPACE
RNG = np.random.default_rng(3)
N, GROUPS = 30, ("a", "b", "c")
TARGETS = {name: RNG.dirichlet(np.ones(6), N) for name in GROUPS}
VOTES = {name: RNG.integers(0, 3, N).astype(float) for name in GROUPS}
EVERYONES = np.mean(list(TARGETS.values()), axis=0)
PAIRS = np.array([pair for i in range(0, N, 3) for pair in itertools.combinations(range(i, i + 3), 2)])
ROWS = Rows(
    [[{"role": "user", "content": "x"}]] * N,
    [[{"role": "assistant", "content": "y"}]] * N,
    np.repeat(np.arange(N // 3), 3).astype(str),
    EVERYONES,
    np.ones(N),
    items=np.array([f"item-{i}" for i in range(N)]),
)
DRAWS = Resamples.of(ROWS.groups, resamples=100)


def views(names: tuple[str, ...] = GROUPS, shuffled: bool = True) -> GroupViews:
    """The groups on the items, in another order, with an item that is not evaluated."""
    order = np.random.default_rng(0).permutation(N) if shuffled else np.arange(N)
    zeros = np.zeros(N + 1)
    groups = []
    for name in names:
        p, votes = np.vstack([TARGETS[name][order], np.full((1, 6), 1 / 6)]), np.append(VOTES[name][order], 9.0)
        groups.append(Group(name, p, p @ SPACE.rewards, zeros, votes, 1.0, np.ones(6), 0.0, 1.0, 1.0))
    return GroupViews("side", [*(f"item-{i}" for i in order), "item-elsewhere"], groups)


def judgement(p: np.ndarray) -> Judgement:
    return Judgement(p @ SPACE.rewards, np.zeros(len(p)), p)


def scored(**judged: Judgement) -> GroupScores:
    return score_groups(judged, views(), ROWS, PAIRS, SPACE, DRAWS)


def test_each_group_is_scored_where_it_has_votes_and_the_worst_is_named() -> None:
    p = RNG.dirichlet(np.ones(6), N)
    found = scored(m=judgement(p))
    order = np.argsort(SPACE.rewards, kind="stable")
    rps = {}
    for name in GROUPS:
        there = VOTES[name] > 0
        gap = np.cumsum((p - TARGETS[name])[:, order], axis=1)[:, :-1]
        rps[name] = (gap**2).mean(axis=1)[there].mean()
        assert found.figures["m"][name]["rps"].value == pytest.approx(rps[name])
        assert found.groups[name].votes == VOTES[name].sum()
        expected = TARGETS[name] @ SPACE.rewards
        right = [
            ((p @ SPACE.rewards)[i] > (p @ SPACE.rewards)[j]) == (expected[i] > expected[j])
            for i, j in PAIRS
            if there[i] and there[j]
        ]
        assert found.groups[name].pairs == len(right)
        assert found.figures["m"][name]["pairs"].value == pytest.approx(np.mean(right))
    worst = found.worst["m"]["rps"]
    assert worst.group == max(rps, key=lambda name: rps[name])
    assert 0 < worst.resamples <= 1
    assert worst.figure == found.figures["m"][worst.group]["rps"]


def test_the_jury_is_counted_pair_by_pair() -> None:
    reward = RNG.normal(size=N).round(0)  # with ties
    found = scored(m=Judgement(reward, np.full(N, np.nan), None)).jury["m"]
    wins, majorities = [], []
    for i, j in PAIRS:
        votes = []
        for name in GROUPS:
            if VOTES[name][i] and VOTES[name][j]:
                expected = TARGETS[name] @ SPACE.rewards
                votes.append(1 if expected[i] > expected[j] else -1)
        if len(votes) >= 2:
            side = np.sign(reward[i] - reward[j])
            wins.append(np.mean([(1 + side * vote) / 2 for vote in votes]))
            majorities.append((1 + side * np.sign(sum(votes))) / 2)
    assert found.pairs == len(wins)
    assert found.win.value == pytest.approx(np.mean(wins))
    assert found.majority.value == pytest.approx(np.mean(majorities))


def test_a_model_of_one_group_is_best_for_it_and_a_mirror_loses_what_it_wins() -> None:
    own, other = judgement(TARGETS["a"]), Judgement(-(TARGETS["a"] @ SPACE.rewards), np.zeros(N), None)
    found = scored(own=own, other=other)
    assert found.figures["own"]["a"]["rps"].value == pytest.approx(0)
    assert found.figures["own"]["a"]["pairs"].value == 1
    assert found.worst["own"]["rps"].group != "a"
    assert (found.jury["own"].win.value or 0) + (found.jury["other"].win.value or 0) == pytest.approx(1)
    assert "rps" not in found.figures["other"]["a"]
    assert EVERYONE in found.figures


def test_groups_that_are_alike_have_no_worst_and_a_constant_has_no_jury() -> None:
    everyone = judgement(np.tile(EVERYONES.mean(axis=0), (N, 1)))
    seen = views(("a", "b"))
    same = GroupViews("side", seen.item_ids, [seen.groups[0], Group("b", *list(vars(seen.groups[0]).values())[1:])])
    found = score_groups({"m": everyone}, same, ROWS, PAIRS, SPACE, DRAWS)
    assert found.worst["m"] == {}
    assert "m" not in found.jury


def test_one_group_alone_is_refused() -> None:
    with pytest.raises(DprmError, match="only the group a has votes on the 30 rows"):
        score_groups({}, views(("a",)), ROWS, PAIRS, SPACE, DRAWS)
