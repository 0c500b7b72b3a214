from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from dprm_data.core.errors import VotesError
from dprm_data.ingest.ratings import Ratings
from dprm_data.ingest.vote_tables import read_ratings
from dprm_data.labels.space import LabelSpace
from dprm_data.preference.groups import by_group
from dprm_data.preference.model_selection import learn_prior
from dprm_data.preference.posterior import evaluate
from tests.preference import real_votes

FIVE = LabelSpace.ordinal(5)


def two_groups(
    shift: float, items: int = 150, per_group: int = 6, seed: int = 0
) -> tuple[Ratings, dict[str, str], np.ndarray]:
    """Women see every item `shift` levels higher than men."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(2, 1, items)
    people = 2 * per_group
    x = (
        truth[:, None]
        + np.where(np.arange(people) < per_group, shift / 2, -shift / 2)
        + rng.normal(0, 0.8, (items, people))
    )
    label = np.clip(np.rint(x), 0, 4).astype(np.int64)
    item, who = (a.ravel() for a in np.meshgrid(np.arange(items), np.arange(people), indexing="ij"))
    names = [f"p{i}" for i in range(people)]
    ratings = Ratings(
        [f"i{i}" for i in range(items)],
        names,
        5,
        item,
        who,
        label.ravel(),
        np.ones(len(item)),
        np.zeros(len(item), dtype=np.int64),
    )
    return ratings, {name: "woman" if i < per_group else "man" for i, name in enumerate(names)}, truth


def test_a_group_that_differs_is_seen_and_one_that_does_not_is_pooled() -> None:
    apart, same = (
        by_group(r, FIVE, learn_prior(r.votes().counts, FIVE, "beta")[0], m)
        for r, m, _ in (two_groups(1.5), two_groups(0.0))
    )
    assert [group.name for group in apart] == ["man", "woman"]
    assert apart[1].difference > 1.0 > 10 * apart[1].difference_error
    assert apart[0].difference < -1.0
    assert abs(same[0].difference) < 4 * same[0].difference_error
    assert np.ptp(np.log(apart[1].leaning)) > 2.0 > 4 * np.ptp(np.log(same[1].leaning))
    assert apart[1].leaning.argmax() == 4  # women choose the highest level
    for group in apart:
        np.testing.assert_allclose(group.distribution.sum(axis=1), 1.0)
        assert (group.reward_error > 0).all()


def test_pooling_is_nearer_to_the_truth_than_the_groups_own_votes() -> None:
    ratings, membership, _ = two_groups(0.6, per_group=3)
    big, _, _ = two_groups(0.6, per_group=400)
    groups = by_group(ratings, FIVE, learn_prior(ratings.votes().counts, FIVE, "beta")[0], membership)
    women = big.take(np.flatnonzero(big.annotator < 400)).votes().counts
    truth = women @ FIVE.rewards / women.sum(axis=1)
    own = ratings.take(np.flatnonzero(ratings.annotator < 3)).votes().counts
    raw = own @ FIVE.rewards / own.sum(axis=1)
    assert ((groups[1].expected_reward - truth) ** 2).mean() < 0.9 * ((raw - truth) ** 2).mean()


def test_people_without_a_group_count_for_everyone_and_groups_may_miss_items() -> None:
    ratings, membership, _ = two_groups(0.5, items=20)
    prior, _ = learn_prior(ratings.votes().counts, FIVE, "beta")
    some = {name: value if name in ("p0", "p1") else None for name, value in membership.items()}
    groups = by_group(ratings.take(np.flatnonzero((ratings.annotator > 1) | (ratings.item < 5))), FIVE, prior, some)
    assert [group.name for group in groups] == ["woman"]
    assert (groups[0].votes[5:] == 0).all()
    assert np.isfinite(groups[0].distribution).all()
    with pytest.raises(VotesError, match="none of the annotators"):
        by_group(ratings, FIVE, prior, {})


def test_real_raters_by_sex() -> None:
    path = real_votes.path("faceratings")
    space = LabelSpace.ordinal(7)
    ratings = read_ratings(path, space)
    people = pq.read_table(path, columns=["rater_id", "rater_sex"]).to_pydict()
    membership = {
        name: value
        for name, value in zip(people["rater_id"], people["rater_sex"], strict=True)
        if value in ("female", "male")
    }
    groups = by_group(ratings, space, learn_prior(ratings.votes().counts, space, "beta")[0], membership)
    assert [group.name for group in groups] == ["female", "male"]
    assert sum(group.votes.sum() for group in groups) <= len(ratings)


def test_groups_that_do_not_differ_get_everyones_distribution() -> None:
    ratings, membership, _ = two_groups(0.0, items=120, per_group=12)
    prior, _ = learn_prior(ratings.votes().counts, FIVE, "beta")
    everyone = evaluate(prior, FIVE, ratings.votes().counts, np.eye(5)).mean
    for group in by_group(ratings, FIVE, prior, membership):
        assert np.abs(group.distribution - everyone).max() < 0.05


@pytest.mark.parametrize("shift", [0.0, 0.8])
def test_a_group_predicts_the_groups_other_raters_and_its_errors_hold(shift: float) -> None:
    big, _, _ = two_groups(shift, per_group=400, items=120, seed=3)
    rng = np.random.default_rng(0)
    asked = np.concatenate([rng.choice(400, 5, replace=False), 400 + rng.choice(400, 5, replace=False)])
    ratings = big.take(np.flatnonzero(np.isin(big.annotator, asked)))
    membership = {f"p{i}": "woman" if i < 400 else "man" for i in range(800)}
    prior, _ = learn_prior(ratings.votes().counts, FIVE, "beta")
    everyone = evaluate(prior, FIVE, ratings.votes().counts, FIVE.rewards[:, None]).mean[:, 0]
    women = big.take(np.flatnonzero(big.annotator < 400)).votes().counts
    truth = women @ FIVE.rewards / women.sum(axis=1)
    group = by_group(ratings, FIVE, prior, membership)[1]
    error = np.abs(group.expected_reward - truth)
    ignored = ((everyone - truth) ** 2).mean()
    assert (error**2).mean() < (0.6 if shift else 1.05) * ignored
    assert 0.8 < (error < 1.645 * group.reward_error).mean() <= 1.0


def test_opinions_that_are_opposite_on_items_make_the_others_votes_worth_little() -> None:
    """Women and men see every item on opposite sides: no severity, but a large item x group."""
    rng = np.random.default_rng(1)
    items, people = 150, 12
    side = np.where(np.arange(people) < 6, 1.0, -1.0)
    x = 2 + rng.normal(0, 1, items)[:, None] * side + rng.normal(0, 0.8, (items, people))
    ratings, membership, _ = two_groups(0.0, items=items)
    ratings = replace(ratings, label=np.clip(np.rint(x), 0, 4).astype(np.int64).ravel())
    prior, _ = learn_prior(ratings.votes().counts, FIVE, "beta")
    for group in by_group(ratings, FIVE, prior, membership):
        assert group.strength < 3.0
        own = ratings.take(np.flatnonzero((ratings.annotator < 6) == (group.name == "woman"))).votes().counts
        raw = own @ FIVE.rewards / own.sum(axis=1)
        assert np.corrcoef(group.expected_reward, raw)[0, 1] > 0.95


def test_a_categorical_prior_has_groups_too() -> None:
    ratings, membership, _ = two_groups(0.5, items=40)
    prior, _ = learn_prior(ratings.votes().counts, FIVE, "dirichlet")
    for group in by_group(ratings, FIVE, prior, membership):
        np.testing.assert_allclose(group.distribution.sum(axis=1), 1.0)
        assert (group.reward_error > 0).all()
