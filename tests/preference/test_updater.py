from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dprm_data.core.arrays import Floats
from dprm_data.core.errors import InputError
from dprm_data.ingest.votes import Votes
from dprm_data.labels.space import LabelSpace
from dprm_data.preference.fitting import fit
from dprm_data.preference.model_selection import learn_prior
from dprm_data.preference.prior import Prior
from dprm_data.preference.shared_error import SharedError
from dprm_data.preference.updater import merge, update
from dprm_data.runs.published import read_published, write_fit

HH6 = LabelSpace.load("hh6")
RNG = np.random.default_rng(0)
OLD = Votes([f"i{n}" for n in range(40)], RNG.multinomial(6, np.full(6, 1 / 6), 40).astype(float))
PRIORS: dict[str, Prior] = {
    family: learn_prior(OLD.counts, HH6, family)[0] for family in ("beta", "dirichlet", "beta-dirichlet", "mixture")
}


def batch(seed: int, items: int = 15) -> Votes:
    """New votes on some old items and some new ones, in any order."""
    rng = np.random.default_rng(seed)
    ids = [f"i{n}" for n in rng.permutation(50)[:items]]
    return Votes(ids, rng.multinomial(3, rng.dirichlet(np.ones(6)), items).astype(float))


def by_item(votes: Votes, values: Floats) -> dict[str, Floats]:
    return dict(zip(votes.item_ids, values, strict=True))


@pytest.mark.parametrize("family", list(PRIORS))
def test_an_update_is_a_fit_of_all_votes_with_the_same_prior(family: str) -> None:
    prior, new = PRIORS[family], batch(1)
    updated = update(OLD, new, prior, HH6)
    total = {item: row.copy() for item, row in by_item(OLD, OLD.counts).items()}
    for item, row in by_item(new, new.counts).items():
        total[item] = total.get(item, np.zeros(6)) + row
    scratch = fit(Votes(list(total), np.array(list(total.values()))), HH6, prior=prior)
    assert updated.votes.item_ids == scratch.votes.item_ids
    for name in ("distribution", "alpha", "beta", "evidence", "expected_reward", "reward_low", "reward_high"):
        np.testing.assert_allclose(getattr(updated, name), getattr(scratch, name), rtol=1e-12)


@settings(deadline=None, max_examples=25)
@given(order=st.permutations([1, 2, 3, 4]))
def test_without_forgetting_the_order_of_updates_does_not_matter(order: list[int]) -> None:
    prior, one, other = PRIORS["beta"], OLD, OLD
    for seed in (1, 2, 3, 4):
        one = merge(one, batch(seed), HH6)
    for seed in order:
        other = merge(other, batch(seed), HH6)
    assert sorted(one.item_ids) == sorted(other.item_ids)
    a = by_item(one, fit(one, HH6, prior=prior).distribution)
    b = by_item(other, fit(other, HH6, prior=prior).distribution)
    for item, row in a.items():
        np.testing.assert_allclose(row, b[item], atol=1e-12)


def test_updates_through_the_published_table() -> None:
    """What travels with a dataset, float32 votes and the prior as JSON, is enough to go on."""
    import json

    published = fit(OLD, HH6)
    table = published.to_table()
    votes = Votes(table["item_id"].to_pylist(), np.array(table["votes"].to_pylist()))
    prior = Prior.from_dict(json.loads(json.dumps(published.prior.to_dict())))
    again = update(votes, batch(1), prior, HH6)
    direct = update(OLD, batch(1), published.prior, HH6)
    np.testing.assert_allclose(again.distribution, direct.distribution, atol=1e-6)


def test_forgetting_discounts_all_old_votes() -> None:
    new = batch(1)
    merged = merge(OLD, new, HH6, forgetting=0.5)
    old, latest = by_item(OLD, OLD.counts), by_item(new, new.counts)
    for item, row in by_item(merged, merged.counts).items():
        np.testing.assert_allclose(row, 0.5 * old.get(item, np.zeros(6)) + latest.get(item, np.zeros(6)))


def test_with_forgetting_evidence_stays_bounded_and_a_move_is_followed() -> None:
    forgetting, votes = 0.8, Votes(["a"], np.array([[50.0, 0, 0, 0, 0, 0]]))
    new = Votes(["a"], np.array([[0, 0, 0, 0, 0, 10.0]]))
    prior = PRIORS["dirichlet"]
    for _ in range(60):
        votes = merge(votes, new, HH6, forgetting=forgetting)
    assert votes.totals[0] == pytest.approx(10 / (1 - forgetting), rel=1e-3)
    assert fit(votes, HH6, prior=prior).distribution[0].argmax() == 5


def test_nothing_new_changes_nothing() -> None:
    nothing = Votes([], np.zeros((0, 6)))
    np.testing.assert_allclose(
        update(OLD, nothing, PRIORS["beta"], HH6).distribution,
        fit(OLD, HH6, prior=PRIORS["beta"]).distribution,
        rtol=1e-12,
    )


@pytest.mark.parametrize("forgetting", [0.0, -1.0, 1.5, float("nan")])
def test_a_bad_forgetting_factor(forgetting: float) -> None:
    with pytest.raises(InputError, match="forgetting"):
        merge(OLD, batch(1), HH6, forgetting=forgetting)


def test_an_item_that_is_published_twice() -> None:
    with pytest.raises(InputError, match="twice"):
        merge(Votes(["a", "a"], np.ones((2, 6))), batch(1), HH6)


def test_a_panels_votes_go_on_sharing_their_error(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    people = rng.integers(0, 4, 30).astype(float)
    old = Votes([f"i{i}" for i in range(30)], rng.multinomial(15, rng.dirichlet(np.ones(5), 30)).astype(float))
    shared = SharedError(0.39, people)
    space = LabelSpace.ordinal(5)
    first = fit(old, space, shared=shared)
    write_fit(first, space, tmp_path / "first.parquet")
    published = read_published(tmp_path / "first.parquet")
    assert published.shared is not None
    np.testing.assert_allclose(published.shared.people, people, atol=1e-4)
    new = Votes(["i3", "new"], np.array([[0, 0, 2, 1, 0], [1, 0, 0, 0, 0.0]]))
    found = update(published.votes, new, published.prior, space, shared=published.shared)
    all_people = np.append(people + 3.0 * (np.arange(30) == 3), 1.0)
    direct = fit(merge(old, new, space), space, prior=first.prior, shared=SharedError(0.39, all_people))
    np.testing.assert_allclose(found.reward_error, direct.reward_error, rtol=1e-4)
    np.testing.assert_allclose(found.evidence, direct.evidence, rtol=1e-4)
    assert found.evidence[3] - first.evidence[3] == pytest.approx(3.0, abs=1e-3)  # people are people
    assert found.evidence[0] < 15
