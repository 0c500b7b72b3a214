"""Raters in the model: learned with the items, used where it helps, off where nobody comes back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dprm_data.core.arrays import Floats
from dprm_data.core.errors import InputError
from dprm_data.ingest.ratings import Ratings
from dprm_data.labels.space import LabelSpace
from dprm_data.preference.beta import cells
from dprm_data.preference.fitting import Fit, fit
from dprm_data.preference.scores import ranked_probability_score
from tests.helpers import dprm

FIVE, HH6 = LabelSpace.ordinal(5), LabelSpace.load("hh6")


def people(severities: Floats, items: int = 200, each: int = 4, seed: int = 0, K: int = 5) -> tuple[Ratings, Floats]:
    """Ratings by raters of these severities (logits), `each` of them an item, and the population's true distributions (items, K)."""
    rng = np.random.default_rng(seed)
    logit, s = rng.normal(0.3, 1.2, items), np.exp(rng.normal(1.6, 0.5, items))
    raters = len(severities)
    item = np.repeat(np.arange(items), each)
    who = np.concatenate([rng.permutation(raters)[:each] for _ in range(items)])
    p = cells(1 / (1 + np.exp(-(logit[item] + severities[who]))), s[item], K)
    label = (rng.random((len(item), 1)) > np.cumsum(p, axis=1)).sum(axis=1)
    tau = severities.std()
    shifts = tau * np.linspace(-2.5, 2.5, 21)
    weight = np.exp(-0.5 * (shifts / max(tau, 1e-9)) ** 2)
    truth = (
        sum(w * cells(1 / (1 + np.exp(-(logit + b))), s, K) for w, b in zip(weight, shifts, strict=True)) / weight.sum()
    )
    return rated(item, who, np.minimum(label, K - 1), items, [f"r{i}" for i in range(raters)], K), truth


def rated(item: Floats, who: Floats, label: Floats, items: int, names: list[str], K: int = 5) -> Ratings:
    n = len(item)
    zeros = np.zeros(n, dtype=np.int64)
    return Ratings([f"i{k}" for k in range(items)], names, K, item, who, label, np.ones(n), zeros)


@pytest.fixture(scope="module")
def severe() -> tuple[Ratings, Floats, Floats, Fit]:
    severities = np.random.default_rng(7).normal(0, 1.0, 30)
    ratings, truth = people(severities)
    return ratings, truth, severities, fit(ratings, FIVE)


def test_severities_are_found_and_the_populations_distributions_are_nearer_to_the_truth(
    severe: tuple[Ratings, Floats, Floats, Fit],
) -> None:
    ratings, truth, severities, found = severe
    assert found.raters is not None
    assert "raters are in the model" in found.raters_said
    assert np.corrcoef(found.raters.severity, severities)[0, 1] > 0.95
    crowd = fit(ratings, FIVE, raters="off")
    ours, theirs = (ranked_probability_score(each.posterior, truth).mean() for each in (found, crowd))
    assert ours < 0.9 * theirs
    assert 0.5 < found.raters.spread["scale"] < 1.5


def test_intervals_hold_the_truth_with_the_raters_shared_error(severe: tuple[Ratings, Floats, Floats, Fit]) -> None:
    """Eight raters judge everything: how severe they are on average is not known better than from eight people."""
    held = []
    for seed in range(4):
        severities = np.random.default_rng(100 + seed).normal(0, 0.8, 8)
        ratings, _ = people(severities, items=60, each=8, seed=seed)
        found = fit(ratings, FIVE)
        assert found.raters is not None
        _, truth = people(0.8 * np.random.default_rng(0).normal(0, 1, 100), items=60, each=8, seed=seed)
        mean = truth @ FIVE.rewards
        held.append((found.reward_low <= mean) & (mean <= found.reward_high))
    assert 0.8 < np.mean(held) < 0.99


def test_a_raters_own_votes_are_predicted_from_the_rater(severe: tuple[Ratings, Floats, Floats, Fit]) -> None:
    _ratings, _, severities, found = severe
    assert found.raters is not None
    rows = np.arange(40)
    strict, mild = (f"r{i}" for i in (int(severities.argmin()), int(severities.argmax())))
    means = {who: found.raters.predict(rows, who) @ FIVE.rewards for who in (strict, mild, None)}
    assert (means[strict] < means[None]).all()
    assert (means[mild] > means[None]).all()
    np.testing.assert_allclose(found.raters.predict(rows), found.posterior[rows], atol=1e-6)
    with pytest.raises(InputError, match="no annotator 'nobody'"):
        found.raters.predict(rows, "nobody")


def test_without_raters_that_differ_nothing_changes() -> None:
    ratings, _ = people(np.zeros(30))
    found, crowd = fit(ratings, FIVE), fit(ratings.votes(), FIVE)
    assert found.raters is None
    assert "does not help" in found.raters_said
    np.testing.assert_allclose(found.distribution, crowd.distribution, rtol=1e-12)
    np.testing.assert_allclose(found.reward_low, crowd.reward_low, rtol=1e-12)


def test_with_one_vote_per_annotator_it_is_off_and_cannot_be_switched_on() -> None:
    ratings, _ = people(np.zeros(30))
    once = rated(ratings.item, np.arange(len(ratings)), ratings.label, 200, [f"x{i}" for i in range(len(ratings))])
    assert fit(once, FIVE).raters_said.endswith("hardly any annotator gave more than one vote")
    with pytest.raises(InputError, match="raters: on, but hardly any annotator gave more than one vote"):
        fit(once, FIVE, raters="on")
    with pytest.raises(InputError, match="the family dirichlet has no rater effects"):
        fit(ratings, FIVE, raters="on", family="dirichlet")
    assert fit(ratings.votes(), FIVE).raters_said == ""


def test_the_order_of_raters_and_of_items_does_not_matter(severe: tuple[Ratings, Floats, Floats, Fit]) -> None:
    ratings, _, _, found = severe
    rng = np.random.default_rng(1)
    items, raters, votes = rng.permutation(200), rng.permutation(30), rng.permutation(len(ratings))
    names = [""] * 30
    for old, new in enumerate(raters):
        names[new] = f"r{old}"
    other = fit(
        rated(items[ratings.item][votes], raters[ratings.annotator][votes], ratings.label[votes], 200, names), FIVE
    )
    assert other.raters is not None and found.raters is not None
    np.testing.assert_allclose(other.posterior[items], found.posterior, atol=2e-4)
    np.testing.assert_allclose(other.raters.severity[raters], found.raters.severity, atol=2e-3)


def test_weight_zero_is_absence(severe: tuple[Ratings, Floats, Floats, Fit]) -> None:
    from dataclasses import replace

    ratings, _, _, _ = severe
    weight = np.ones(len(ratings))
    weight[::7] = 0.0
    without = fit(ratings.take(np.flatnonzero(weight > 0)), FIVE)
    weighted = fit(replace(ratings, weight=weight), FIVE)
    np.testing.assert_allclose(weighted.posterior, without.posterior, rtol=1e-12)


def test_scales_of_several_axes_have_raters_each() -> None:
    severities = np.random.default_rng(3).normal(0, 1.0, 25)
    ratings, _ = people(severities, items=150, K=6)
    found = fit(ratings, HH6)
    assert found.raters is not None
    np.testing.assert_allclose(found.distribution.sum(axis=1), 1.0)
    p = found.raters.predict([0, 1, 2], "r3")
    np.testing.assert_allclose(p.sum(axis=1), 1.0)
    np.testing.assert_allclose(found.raters.predict([0, 1, 2]), found.posterior[:3], atol=1e-6)


def test_stated_votes_and_others_without_a_name_count_too(severe: tuple[Ratings, Floats, Floats, Fit]) -> None:
    ratings, _, _, found = severe
    stated = np.tile([0.0, 0, 0, 0, 1.0], (200, 1))
    high = fit(ratings, FIVE, stated=stated, stated_strength=4.0)
    assert high.raters is not None
    assert (high.expected_reward > found.expected_reward).all()
    np.testing.assert_array_equal(high.raters.severity, found.raters.severity)  # stated votes are not about raters


def test_the_command_says_what_it_found(tmp_path: Path, severe: tuple[Ratings, Floats, Floats, Fit]) -> None:
    ratings, _, _, _found = severe
    rows = zip(ratings.item, ratings.annotator, ratings.label, strict=True)
    (tmp_path / "votes.csv").write_text("item_id,rater_id,label\n" + "".join(f"i{i},r{r},{k}\n" for i, r, k in rows))
    done = dprm("fit", "votes.csv", "--labels", 5, "--out", "a.parquet", "--json", cwd=tmp_path)
    said = json.loads(done.stdout)
    assert said["raters"]["annotators"] == 30
    off = dprm("fit", "votes.csv", "--labels", 5, "--out", "b.parquet", "--raters", "off", "--json", cwd=tmp_path)
    assert json.loads(off.stdout)["raters"] is None
    assert "raters are in the model: 30 annotators" in said["raters_said"]


def test_a_soft_label_counts_once_as_votes_by_people_nobody_knows() -> None:
    ratings, _ = people(np.random.default_rng(7).normal(0, 1.0, 30))
    shares = np.eye(5)[ratings.label]
    shares[::2] = 0.6 * shares[::2] + 0.08
    mixed = replace(ratings, shares=shares)
    found = fit(mixed, FIVE).raters
    assert found is not None
    assert found.votes.sum() == len(ratings) / 2
    np.testing.assert_allclose(found.scales[0].votes(), mixed.votes().counts)
    none = fit(replace(ratings, shares=0.6 * np.eye(5)[ratings.label] + 0.08), FIVE)
    assert none.raters is None
