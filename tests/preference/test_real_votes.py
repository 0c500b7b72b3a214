"""The claims of `docs/statistics.md` on real votes, in small: fit on a few raters of every item, score on the others."""

from __future__ import annotations

import numpy as np
import pytest

from dprm_data.core.arrays import Floats
from dprm_data.ingest.votes import Votes
from dprm_data.labels.space import LabelSpace
from dprm_data.preference.fitting import fit
from dprm_data.preference.intervals import interval
from dprm_data.preference.model_selection import learn_prior
from dprm_data.preference.posterior import evaluate
from dprm_data.preference.sampling import predictive_means
from dprm_data.preference.scores import hold_out, log_likelihood, ranked_probability_score
from tests.preference import real_votes


def fitted(family: str, train: Floats, space: LabelSpace) -> Floats:
    if family == "raw":
        return np.asarray(train / train.sum(axis=1, keepdims=True))
    if family == "jeffreys":
        return np.asarray((train + 0.5) / (train + 0.5).sum(axis=1, keepdims=True))
    prior, _ = learn_prior(train, space, family.removesuffix("-plain"), plain=family.endswith("-plain"))  # type: ignore[arg-type]
    return evaluate(prior, space, train, np.eye(space.K)).mean


def gains(name: str, n: int, other: str, splits: int) -> tuple[Floats, Floats]:
    """What the default gains over another, per item, in ranked probability score and log-likelihood."""
    whole, space = real_votes.counts(name)
    score, likelihood = [], []
    for seed in range(splits):
        _, train, held = hold_out(whole, n, np.random.default_rng(seed))
        ours, theirs = fitted("beta", train, space), fitted(other, train, space)
        score.append(ranked_probability_score(theirs, held) - ranked_probability_score(ours, held))
        likelihood.append(log_likelihood(ours, held) - log_likelihood(theirs, held))
    return np.mean(score, axis=0), np.mean(likelihood, axis=0)


@pytest.mark.parametrize("other", ["raw", "jeffreys", "dirichlet"])
@pytest.mark.parametrize(
    ("name", "n"), [("faceratings", 5), ("faceratings", 50), ("convabuse", 2), ("polis", 5), ("chaosnli", 10)]
)
def test_the_default_is_better_than_the_simple_estimators_or_level_with_them(name: str, n: int, other: str) -> None:
    for gain in gains(name, n, other, splits=2):
        assert gain.mean() > -gain.std() / np.sqrt(len(gain))


def test_level_weights_and_lapses_help_on_real_scales() -> None:
    for name, n in (("faceratings", 20), ("convabuse", 2)):
        score, likelihood = gains(name, n, "beta-plain", splits=3)
        assert score.mean() > 0
        assert likelihood.mean() > 0


@pytest.mark.parametrize("n", [5, 20, 50])
def test_intervals_hold_the_mean_of_many_held_out_raters(n: int) -> None:
    whole, space = real_votes.counts("faceratings")
    held_in = []
    for seed in range(15):
        _, train, held = hold_out(whole, n, np.random.default_rng(seed))
        result = fit(Votes([str(i) for i in range(len(train))], train), space)
        mean = held @ space.rewards / held.sum(axis=1)
        low, high = result.reward_interval(space, raters=held.sum(axis=1))
        held_in.append((low <= mean) & (mean <= high))
    assert 0.86 < np.mean(held_in) < 0.95


def test_intervals_hold_the_mean_of_few_held_out_raters() -> None:
    """Where one or two raters are held out their mean has few values: calibrated is its rank among simulated means, ties at random."""
    whole, space = real_votes.counts("convabuse")
    rng = np.random.default_rng(0)
    _, train, held = hold_out(whole, 2, rng)
    prior, _ = learn_prior(train, space, "beta")
    means = predictive_means(prior, space, train, held.sum(axis=1), 300, rng)
    truth = held @ space.rewards / held.sum(axis=1)
    below, equal = (means < truth - 1e-9).mean(axis=0), (np.abs(means - truth) < 1e-9).mean(axis=0)
    rank = below + rng.random(len(truth)) * (equal + 1 / 300)
    assert 0.88 < ((rank > 0.05) & (rank < 0.95)).mean() < 0.94


def test_an_exact_interval_level() -> None:
    low, high = interval(np.array([0.5]), np.array([1 / 12]), 0.9)  # the uniform distribution
    np.testing.assert_allclose([low[0], high[0]], [0.05, 0.95])
