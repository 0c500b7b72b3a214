"""One vote an item: how far items differ is stated, not guessed; it is said; and it does not travel."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dprm_data.core.arrays import Floats
from dprm_data.ingest.vote_tables import read_ratings
from dprm_data.ingest.votes import Votes
from dprm_data.labels.space import LabelSpace
from dprm_data.preference.beta import cells
from dprm_data.preference.drift_detection import drift
from dprm_data.preference.fitting import fit
from dprm_data.preference.prior import Prior
from dprm_data.preference.scores import hold_out, ranked_probability_score
from dprm_data.preference.updater import update
from dprm_data.recipe.fit_config import SmoothingConfig
from tests.preference import real_votes
from tests.processes import environ

RAW = SmoothingConfig(kind="none")
FIVE = LabelSpace.ordinal(5)


def named(counts: Floats) -> Votes:
    return Votes([f"i{i}" for i in range(len(counts))], counts)


def one_each(items: int = 300, K: int = 5, seed: int = 0) -> Votes:
    rng = np.random.default_rng(seed)
    return named(rng.multinomial(1, np.linspace(1, 2, K) / np.linspace(1, 2, K).sum(), items).astype(float))


def not_worse(votes: Floats, truth: Floats, space: LabelSpace) -> None:
    """The default is not worse than a Dirichlet, nor than one distribution for all items, by more than two standard errors."""
    ours, dirichlet = (fit(named(votes), space, family=family, smoothing=RAW).posterior for family in ("beta", "dirichlet"))  # fmt: skip
    marginal = np.tile(votes.sum(axis=0) / votes.sum(), (len(votes), 1))
    for rival in (dirichlet, marginal):
        gap = ranked_probability_score(ours, truth) - ranked_probability_score(rival, truth)
        assert gap.mean() < 2 * gap.std(ddof=1) / np.sqrt(len(gap))


@pytest.mark.parametrize("name", ["faceratings", "convabuse", "chaosnli", "polis"])
def test_on_real_single_votes_the_default_is_not_worse_than_the_simplest_rivals(name: str) -> None:
    whole, space = real_votes.counts(name)
    _, train, held = hold_out(whole, 1, np.random.default_rng(0))
    not_worse(train, held, space)


def test_items_that_differ_little_are_not_pulled_apart_by_single_votes() -> None:
    rng = np.random.default_rng(0)
    p = cells(1 / (1 + np.exp(-rng.normal(0.5, 0.6, 500))), np.exp(rng.normal(1.0, 0.3, 500)), 3)
    not_worse(np.array([rng.multinomial(1, row) for row in p], dtype=float), p, LabelSpace.ordinal(3))


def test_a_few_second_votes_are_learned_from() -> None:
    """Items of one mind and items that are all alike are told apart by every tenth item's second vote."""
    rng = np.random.default_rng(0)
    spread = []
    for p in (rng.dirichlet(0.3 * np.ones(5), 600), np.full((600, 5), 0.2)):
        votes = np.array([rng.multinomial(1 + (i % 10 == 0), row) for i, row in enumerate(p)], dtype=float)
        spread.append(fit(named(votes), FIVE, smoothing=RAW).expected_reward.std())
    assert spread[0] > 1.5 * spread[1]


def test_auto_does_not_choose_on_single_votes_and_says_so() -> None:
    chosen = fit(one_each(), FIVE, family="auto")
    assert chosen.family == "beta" and "without a comparison" in chosen.notes[0]
    unordered = LabelSpace.load({"name": "n", "labels": [{"name": n, "reward": 1} for n in ("a", "b", "c")]})
    assert fit(one_each(K=3), unordered, family="auto").family == "dirichlet"


def test_a_mixture_of_single_votes_is_one_dirichlet() -> None:
    mixture, dirichlet = (fit(one_each(), FIVE, family=family).distribution for family in ("mixture", "dirichlet"))
    np.testing.assert_allclose(mixture, dirichlet)


def test_a_prior_of_single_votes_is_learned_again_by_an_update() -> None:
    old, rng = one_each(60), np.random.default_rng(1)
    more = named(np.array([rng.multinomial(9, p) for p in rng.dirichlet(np.ones(5), 60)], dtype=float))
    published = fit(old, FIVE)
    older = json.loads(json.dumps(published.prior.to_dict()))
    del older["learned_from"]["several"]  # as older versions wrote it
    for prior in (published.prior, Prior.from_dict(older)):
        updated = update(old, more, prior, FIVE)
        np.testing.assert_array_equal(updated.distribution, fit(named(old.counts + more.counts), FIVE).distribution)
        assert "a new one was learned from old and new votes" in updated.notes[-1]
        assert not updated.prior.assumed
        assert "assumed" in fit(more, FIVE, prior=prior).notes[0]
    moved, as_relearned = (drift(old, more, prior, FIVE, simulations=9) for prior in (published.prior, updated.prior))
    np.testing.assert_allclose(moved.log_bayes_factor, as_relearned.log_bayes_factor, rtol=1e-12)


def test_a_neighbour_with_a_million_votes_does_not_rule_single_votes() -> None:
    votes = one_each(200).counts
    moved = []
    for n in (1.0, 1e6):
        found = fit(named(np.vstack([votes, n * np.eye(5)[0]])), FIVE, smoothing=RAW)
        moved.append(found.expected_reward[:-1])
    assert np.abs(moved[1] - moved[0]).max() <= 0.02


def test_raters_who_come_back_tell_how_far_items_differ() -> None:
    """On real votes, one an item, by eight raters; the same votes with the raters' ids shuffled tell nothing."""
    space = LabelSpace.ordinal(5)
    whole, rng = read_ratings(real_votes.path("convabuse"), space), np.random.default_rng(0)
    _, kept = np.unique(whole.item[order := rng.permutation(len(whole))], return_index=True)
    held = whole.take(np.delete(np.arange(len(whole)), order[kept])).votes().counts
    ratings = whole.take(order[kept])
    scored = held.sum(axis=1) > 0
    crowd, rated = (fit(ratings, space, raters=use, smoothing=RAW).posterior[scored] for use in ("off", "auto"))
    gain = ranked_probability_score(crowd, held[scored]) - ranked_probability_score(rated, held[scored])
    assert gain.mean() > 5 * gain.std(ddof=1) / np.sqrt(len(gain))
    assert fit(replace(ratings, annotator=rng.permutation(ratings.annotator)), space).raters is None


@pytest.mark.slow
def test_the_number_of_threads_changes_no_byte_of_what_is_published(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [f"i{i},p{j},{rng.binomial(6, q)}" for i, q in enumerate(rng.random(80)) for j in range(60)]
    (tmp_path / "votes.csv").write_text("item_id,annotator_id,label\n" + "\n".join(rows) + "\n")
    files = []
    for threads in ("1", "2"):
        out = tmp_path / f"{threads}.parquet"
        given = [str(tmp_path / "votes.csv"), "--labels", "7", "--base", "0", "--raters", "off", "--output", str(out)]
        # A process of its own: OpenBLAS counts its threads once.
        command = [sys.executable, "-m", "dprm_data", "ratings", "fit", *given]
        said = subprocess.run(command, env=environ(OPENBLAS_NUM_THREADS=threads), capture_output=True, text=True)
        assert said.returncode == 0, said.stderr
        files.append(out.read_bytes())
    assert files[0] == files[1]
