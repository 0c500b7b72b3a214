from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dprm_data.core import registry
from dprm_data.core.arrays import Floats
from dprm_data.core.errors import InputError, VotesError
from dprm_data.core.tables import DISTRIBUTIONS
from dprm_data.ingest.votes import Votes
from dprm_data.labels.space import LabelSpace
from dprm_data.preference import fitting
from dprm_data.preference.axes import chain, flat, nodes
from dprm_data.preference.fitting import TABLE_COLUMNS, fit
from dprm_data.preference.intervals import interval
from dprm_data.preference.model_selection import learn_prior
from dprm_data.preference.posterior import evaluate
from dprm_data.preference.prior import Prior
from dprm_data.preference.sampling import draw, predictive_interval, predictive_means
from dprm_data.recipe.fit_config import SmoothingConfig

FAMILIES = [name for name in registry.FAMILIES.names() if name != "auto"]
HH6 = LabelSpace.load("hh6")
FIVE = LabelSpace.ordinal(5)
RAW = SmoothingConfig(kind="none")


def named(counts: Any) -> Votes:
    counts = np.asarray(counts, dtype=float)
    return Votes([f"item{i}" for i in range(len(counts))], counts)


def nominal(*rewards: float) -> LabelSpace:
    return LabelSpace.load({"name": "n", "labels": [{"name": f"l{i}", "reward": r} for i, r in enumerate(rewards)]})


def some_votes(K: int, items: int = 60, n: int = 8, seed: int = 0) -> Votes:
    rng = np.random.default_rng(seed)
    return named(rng.multinomial(n, rng.dirichlet(np.ones(K), items)))


# -- every family, any votes --------------------------------------------------------------------------------------------

weights = st.one_of(st.just(0.0), st.integers(0, 20).map(float), st.floats(0.0, 30.0).map(lambda x: round(x, 2)))


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(
    counts=hnp.arrays(np.float64, st.tuples(st.integers(1, 8), st.just(6)), elements=weights),
    family=st.sampled_from(FAMILIES),
)
def test_any_votes_give_distributions(counts: Floats, family: str) -> None:
    result = fit(named(counts), HH6, family=family)
    assert np.isfinite(result.distribution).all()
    assert (result.distribution >= 0).all()
    np.testing.assert_allclose(result.distribution.sum(axis=1), 1.0, atol=1e-9)
    assert (result.reward_low <= result.expected_reward + 1e-9).all()
    assert (result.reward_high >= result.expected_reward - 1e-9).all()
    assert (result.reward_low >= HH6.rewards.min() - 1e-9).all()
    assert (result.reward_high <= HH6.rewards.max() + 1e-9).all()
    assert (result.alpha > 0).all() and (result.beta > 0).all()
    assert (result.entropy >= -1e-9).all() and (result.entropy <= np.log(6) + 1e-9).all()
    assert (result.disagreement >= -1e-9).all() and (result.disagreement <= 1).all()
    assert (result.expected_distance >= 0).all()
    np.testing.assert_allclose(result.evidence, counts.sum(axis=1))
    for name in ("reward_std", "probability_std", "divided", "log_evidence"):
        assert np.isfinite(getattr(result, name)).all(), name


@pytest.mark.parametrize("family", FAMILIES)
def test_identical_votes_get_identical_distributions_whatever_their_place(family: str) -> None:
    votes = some_votes(5)
    order = np.random.default_rng(1).permutation(len(votes))
    prior, _ = learn_prior(votes.counts, FIVE, family)
    straight, shuffled = fit(votes, FIVE, prior=prior), fit(votes.take(order), FIVE, prior=prior)
    np.testing.assert_allclose(straight.distribution[order], shuffled.distribution, atol=1e-12)
    alone = fit(votes.take([7]), FIVE, prior=prior)
    np.testing.assert_allclose(alone.distribution[0], straight.distribution[7], atol=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_prior_survives_json_to_the_last_bit(family: str) -> None:
    votes = some_votes(6)
    first = fit(votes, HH6, family=family)
    prior = Prior.from_dict(json.loads(json.dumps(first.prior.to_dict())))
    second = fit(votes, HH6, prior=prior)
    np.testing.assert_allclose(first.distribution, second.distribution, rtol=1e-12)
    np.testing.assert_allclose(first.reward_low, second.reward_low, rtol=1e-12)
    assert prior.to_dict() == first.prior.to_dict()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_dispersion_of_a_prior_multiplies_every_variance(family: str) -> None:
    votes = some_votes(6)
    prior, _ = learn_prior(votes.counts, HH6, family)
    content = prior.to_dict()
    fits = []
    for dispersion in (1.0, 4.0):
        parts = [part | {"dispersion": dispersion} for part in content["parts"]]
        fits.append(fit(votes, HH6, prior=Prior.from_dict(json.loads(json.dumps(content | {"parts": parts})))))
    plain, dispersed = fits
    np.testing.assert_allclose(dispersed.distribution, plain.distribution, atol=1e-12)
    ratio = dispersed.reward_error / plain.reward_error
    assert (ratio > 1.8).all(), ratio.min()


def test_beta_dirichlet_widens_intervals_by_the_dispersion_it_learned() -> None:
    rng = np.random.default_rng(0)
    two_camps = [0.02, 0.02, 0.02, 0.04, 0.9], [0.9, 0.04, 0.02, 0.02, 0.02]
    votes = named([rng.multinomial(8, two_camps[i % 10 == 0]) for i in range(300)])
    prior, _ = learn_prior(votes.counts, FIVE, "beta-dirichlet")
    (part,) = prior.parts
    assert part.dispersion > 1.2
    undispersed = replace(prior, parts=(replace(part, dispersion=1.0),))
    wide, narrow = (fit(votes, FIVE, prior=p).reward_error for p in (prior, undispersed))
    np.testing.assert_allclose(wide, narrow * np.sqrt(part.dispersion))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_prior_written_without_dispersion_multiplies_no_variance(family: str) -> None:
    votes = some_votes(6)
    prior, _ = learn_prior(votes.counts, HH6, family)
    content = prior.to_dict()
    for part in content["parts"]:
        del part["dispersion"]
    assert [part.dispersion for part in Prior.from_dict(content).parts] == [1.0] * len(prior.parts)


@pytest.mark.parametrize("family", ["dirichlet", "beta-dirichlet", "mixture", "empirical"])
def test_with_very_many_votes_the_data_win(family: str) -> None:
    votes = some_votes(5)
    p = np.array([0.4, 0.02, 0.3, 0.01, 0.27])  # no beta has this shape
    counts = np.vstack([votes.counts, 1e6 * p])
    result = fit(named(counts), FIVE, family=family, smoothing=RAW)
    np.testing.assert_allclose(result.distribution[-1], p, atol=2e-3)
    assert result.reward_high[-1] - result.reward_low[-1] < 0.01


def test_with_very_many_votes_the_beta_says_what_follows_them_further() -> None:
    rng = np.random.default_rng(0)
    shapes = [rng.permutation([0.4, 0.02, 0.3, 0.08, 0.2]) for _ in range(50)]
    votes = named([rng.multinomial(500, p) for p in shapes])
    assert "beta-dirichlet follows" in " ".join(fit(votes, FIVE).notes)
    assert fit(votes, FIVE, family="beta-dirichlet").notes == ()
    binomial = named([np.bincount(rng.binomial(4, rng.uniform(0.2, 0.8), 8), minlength=5) for _ in range(100)])
    assert fit(binomial, FIVE).notes == ()


def test_a_million_votes_on_one_item_do_not_break_the_beta() -> None:
    counts = np.vstack([some_votes(5).counts, [0, 0, 1e6, 0, 0], [1e6, 0, 0, 0, 1e6]])
    result = fit(named(counts), FIVE)
    assert result.distribution[-2].argmax() == 2
    assert np.isfinite(result.distribution).all()
    assert abs(result.expected_reward[-1] - 3) < 0.2


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("K", [2, 3, 50])
def test_few_and_many_labels(family: str, K: int) -> None:
    result = fit(some_votes(K, items=30), LabelSpace.ordinal(K), family=family)
    np.testing.assert_allclose(result.distribution.sum(axis=1), 1.0)
    assert result.distribution.shape == (30, K)


@pytest.mark.parametrize("family", FAMILIES)
def test_one_item_and_all_votes_equal(family: str) -> None:
    one = fit(named([[0, 1, 4, 1, 0]]), FIVE, family=family)
    assert one.distribution[0].argmax() == 2
    equal = fit(named(np.tile([0.0, 0, 0, 0, 3], (40, 1))), FIVE, family=family)
    assert (equal.distribution.argmax(axis=1) == 4).all()
    assert (equal.distribution[:, 4] > 0.8).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_items_without_votes_get_the_prior_and_are_flagged(family: str) -> None:
    counts = np.vstack([some_votes(5, n=20).counts, np.zeros(5)])
    result = fit(named(counts), FIVE, family=family, smoothing=RAW)
    assert result.evidence[-1] == 0
    assert "1 of 61 items have no votes" in " ".join(result.notes)
    mean = counts.sum(axis=0) / counts.sum()
    np.testing.assert_allclose(result.distribution[-1], mean, atol=0.12)
    widest = (result.reward_high - result.reward_low)[:-1].max()
    assert family == "empirical" or result.reward_high[-1] - result.reward_low[-1] >= 0.8 * widest


def test_no_items_at_all() -> None:
    with pytest.raises(VotesError, match="no items to fit"):
        fit(Votes([], np.zeros((0, 6))), HH6)


def test_one_vote_an_item_is_said() -> None:
    one, two = (some_votes(5, items=100, n=n) for n in (1, 2))
    [note] = fit(one, FIVE).notes
    assert "0 of 100 items have more than one vote" in note
    assert not fit(two, FIVE).notes
    assert not fit(one, FIVE, prior=fit(two, FIVE).prior).notes  # a prior learned elsewhere knows


@pytest.mark.parametrize("top", [0, 2, 4])
def test_one_item_with_a_million_votes_does_not_rule(top: int) -> None:
    """The others move by at most .02 levels when they get such a neighbour instead of one with as few votes as they have."""
    votes = some_votes(5, items=200, n=5, seed=1).counts
    huge, small = (np.full(5, 0.02 * n) + 0.9 * n * np.eye(5)[top] for n in (1_000_000, 5))
    with_huge, with_small = (fit(named(np.vstack([votes, one])), FIVE) for one in (huge, small))
    moved = np.abs(with_huge.expected_reward - with_small.expected_reward)[:-1]
    assert moved.max() <= 0.02
    assert abs(with_huge.distribution[-1] - huge / huge.sum()).max() < 0.03  # it has its own all the same


# -- what the families are ----------------------------------------------------------------------------------------------


def test_empirical_is_the_raw_frequencies() -> None:
    votes = some_votes(5)
    result = fit(votes, FIVE, family="empirical", smoothing=RAW)
    np.testing.assert_allclose(result.distribution, votes.counts / votes.totals[:, None], atol=1e-8)


def test_dirichlet_recovers_base_rate_and_strength() -> None:
    rng = np.random.default_rng(0)
    alpha = np.array([4.0, 2.0, 1.0, 0.5, 0.5])
    votes = named([rng.multinomial(12, rng.dirichlet(alpha)) for _ in range(4_000)])
    prior, _ = learn_prior(votes.counts, FIVE, "dirichlet")
    found = prior.to_dict()["parts"][0]["alphas"][0]
    np.testing.assert_allclose(found, alpha, rtol=0.12)


def test_the_dirichlet_posterior_is_votes_plus_alpha() -> None:
    votes = some_votes(5)
    result = fit(votes, FIVE, family="dirichlet", smoothing=RAW)
    alpha = np.array(result.prior.to_dict()["parts"][0]["alphas"][0])
    posterior = alpha + votes.counts
    np.testing.assert_allclose(result.distribution, posterior / posterior.sum(axis=1, keepdims=True), atol=1e-12)


def test_dirichlet_betas_are_the_marginals_of_its_posterior() -> None:
    result = fit(
        some_votes(5, items=6000), FIVE, family="dirichlet", smoothing=RAW
    )  # many: the prior's own uncertainty is nothing
    alpha = np.array(result.prior.to_dict()["parts"][0]["alphas"][0]) + result.votes.counts
    np.testing.assert_allclose(result.alpha, alpha, rtol=0.02)
    np.testing.assert_allclose(result.beta, alpha.sum(axis=1, keepdims=True) - alpha, rtol=0.02)


def test_a_mixture_tells_kinds_of_items_apart() -> None:
    rng = np.random.default_rng(0)
    kinds = np.array([[30.0, 1, 1, 1, 1], [1, 1, 1, 1, 30.0], [10.0, 1, 1, 1, 10.0]])
    votes = named([rng.multinomial(10, rng.dirichlet(kinds[i % 3])) for i in range(900)])
    scores = {family: fit(votes, FIVE, family=family).log_evidence.sum() for family in ("mixture", "dirichlet")}
    assert scores["mixture"] > scores["dirichlet"] + 50


def test_auto_takes_the_family_that_predicts_best_and_says_so() -> None:
    rng = np.random.default_rng(0)
    kinds = np.array([[0.48, 0.01, 0.48, 0.01, 0.02], [0.02, 0.9, 0.02, 0.04, 0.02]])
    votes = named([rng.multinomial(20, kinds[i % 2]) for i in range(400)])
    result = fit(votes, FIVE, family="auto")
    assert result.family == "mixture"
    assert "family auto: mixture" in result.notes[0]
    assert "beta-dirichlet" in result.notes[0]


def test_the_chain_of_the_papers_space() -> None:
    root = chain(HH6)
    assert [node.name for node in nodes(root)] == [
        "harmlessness",
        "helpfulness given harmful",
        "helpfulness given harmless",
    ]
    assert [node.levels for node in nodes(root)] == [2, 3, 3]
    harmful = nodes(root)[1]
    assert [HH6.names[branch[0]] for branch in harmful.branches] == [
        "unhelpful_harmful",
        "neutral_harmful",
        "helpful_harmful",
    ]
    assert flat(HH6).levels == 6


@pytest.mark.parametrize("family", ["beta", "beta-dirichlet"])
def test_moments_up_the_chain_are_those_of_draws(family: str) -> None:
    votes = some_votes(6, items=400)
    prior, _ = learn_prior(votes.counts, HH6, family)
    some = votes.counts[:4]
    values = np.hstack([np.eye(6), HH6.rewards[:, None]])
    moments = evaluate(prior, HH6, some, values)
    p = draw(prior, HH6, some, 40_000, np.random.default_rng(0), misfit=False)
    np.testing.assert_allclose(p.sum(axis=2), 1.0, atol=1e-9)
    np.testing.assert_allclose(moments.mean, (p @ values).mean(axis=0), atol=0.02)
    # The variances also hold what draws from the prior's best guess leave out: never less, and not much more.
    ratio = moments.variance / (p @ values).var(axis=0)
    assert (ratio > 0.95).all() and (ratio < 1.35).all()


def test_labels_may_fill_only_part_of_the_grid() -> None:
    axes = [{"name": n, "levels": [{"name": x} for x in ("lo", "mid", "hi")]} for n in ("a", "b")]
    cells = [("lo", "lo"), ("lo", "hi"), ("mid", "mid"), ("hi", "lo"), ("hi", "mid")]
    labels = [{"name": f"{a}-{b}", "reward": i, "levels": {"a": a, "b": b}} for i, (a, b) in enumerate(cells)]
    space = LabelSpace.load({"name": "part", "axes": axes, "labels": labels})
    assert [node.levels for node in nodes(chain(space))] == [3, 2, 2]
    result = fit(some_votes(5), space)
    np.testing.assert_allclose(result.distribution.sum(axis=1), 1.0)
    assert result.alpha.shape == (60, 3)


def test_a_space_without_axes_is_ordered_by_its_rewards_or_refused() -> None:
    ordered = nominal(3.0, 1.0, 2.0)
    assert nodes(chain(ordered))[0].branches == ((1,), (2,), (0,))
    assert fit(some_votes(3), ordered).family == "beta"
    with pytest.raises(InputError, match="ties"):
        fit(some_votes(3), nominal(1.0, 1.0, 2.0))
    assert fit(some_votes(3), nominal(1.0, 1.0, 2.0), family="auto").family in ("dirichlet", "mixture")


@pytest.mark.slow
def test_alpha_and_beta_are_the_latent_opinion() -> None:
    """With many votes and no misfit they are the parameters the votes were drawn with."""
    from dprm_data.preference.beta import cells

    rng = np.random.default_rng(0)
    mu, s = rng.uniform(0.15, 0.85, 300), np.exp(rng.normal(1.5, 0.3, 300))
    votes = named([rng.multinomial(400, p) for p in cells(mu, s, 7)])
    result = fit(
        votes, LabelSpace.ordinal(7), prior=learn_prior(votes.counts, LabelSpace.ordinal(7), "beta", plain=True)[0]
    )
    mean = result.alpha[:, 0] / (result.alpha + result.beta)[:, 0]
    assert np.abs(mean - mu).mean() < 0.02
    assert np.corrcoef(np.log((result.alpha + result.beta)[:, 0]), np.log(s))[0, 1] > 0.9


def test_divided_items_are_found() -> None:
    counts = np.vstack([some_votes(5, n=20).counts * 0 + [1, 4, 10, 4, 1], np.tile([12, 1, 0, 1, 11], (10, 1))])
    result = fit(named(counts), FIVE)
    assert (result.divided[-10:] > 0.9).all()
    assert (result.divided[:60] < 0.1).all()


# -- stated distributions -----------------------------------------------------------------------------------------------


def test_stated_distributions_are_pseudo_votes() -> None:
    votes = some_votes(6)
    stated = np.random.default_rng(3).dirichlet(np.ones(6), 60) * 7.0  # need not sum to 1
    stated[5] = 0.0
    prior, _ = learn_prior(votes.counts, HH6, "beta")
    told = fit(votes, HH6, prior=prior, stated=stated, stated_strength=3.0)
    share = np.divide(
        stated,
        stated.sum(axis=1, keepdims=True),
        out=np.zeros_like(stated),
        where=stated.sum(axis=1, keepdims=True) > 0,
    )
    np.testing.assert_allclose(told.votes.counts, votes.counts + 3.0 * share)
    np.testing.assert_allclose(told.distribution, fit(told.votes, HH6, prior=prior).distribution)
    assert told.evidence[5] == 8.0


def test_the_strength_of_statements_is_what_they_are_worth() -> None:
    rng = np.random.default_rng(0)
    truth = rng.dirichlet(np.full(5, 0.7), 800)
    votes = named([rng.multinomial(4, p) for p in truth])
    worth_ten = np.array([rng.multinomial(10, p) for p in truth]) / 10.0
    good = fit(votes, FIVE, family="dirichlet", stated=worth_ten, stated_strength="auto")
    assert 6 <= good.stated_strength <= 16
    noise = fit(votes, FIVE, family="dirichlet", stated=rng.permutation(worth_ten), stated_strength="auto")
    assert noise.stated_strength <= 0.5


def test_statements_alone_are_a_prior_too() -> None:
    stated = np.random.default_rng(0).dirichlet(np.array([5.0, 1, 1, 1, 1]), 50)
    result = fit(named(np.zeros((50, 5))), FIVE, stated=stated, stated_strength=2.0)
    np.testing.assert_allclose(result.evidence, 2.0)
    assert (result.distribution.argmax(axis=1) == 0).mean() > 0.8


# -- tables, errors -----------------------------------------------------------------------------------------------------


def test_the_table_has_the_published_schema() -> None:
    table = fit(some_votes(6), HH6).to_table()
    assert table.column_names == list(TABLE_COLUMNS)
    for name in table.column_names:
        assert table.schema.field(name).type == DISTRIBUTIONS.field(name).type
    row = table.to_pylist()[0]
    assert len(row["label_distribution"]) == len(row["votes"]) == 6
    assert len(row["alpha"]) == len(row["beta"]) == 3


def test_the_tables_columns_are_taken_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    result = fit(some_votes(5), FIVE)
    usual = result.to_table()
    monkeypatch.setattr(fitting, "TABLE_COLUMNS", TABLE_COLUMNS[::-1])
    reordered = result.to_table()
    assert reordered.column_names == usual.column_names[::-1]
    assert reordered.select(usual.column_names).equals(usual)


def test_a_wider_level_gives_wider_intervals() -> None:
    votes = some_votes(5)
    prior, _ = learn_prior(votes.counts, FIVE, "beta")
    narrow, wide = (fit(votes, FIVE, prior=prior, interval=level, smoothing=RAW) for level in (0.5, 0.95))
    assert (wide.reward_low < narrow.reward_low).all()
    assert (wide.reward_high > narrow.reward_high).all()
    low, high = narrow.probability_interval(0.9)
    assert (low >= 0).all() and (low < high).all() and (high <= 1).all()


def test_the_mean_of_few_people_varies_more_than_the_populations() -> None:
    votes = some_votes(5)
    result = fit(votes, FIVE, smoothing=RAW)
    low, high = predictive_interval(result.prior, FIVE, votes.counts, 3)
    assert ((high - low) >= (result.reward_high - result.reward_low) * 0.9).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"family": "gamma"}, "no family 'gamma'"),
        ({"interval": 1.0}, "interval"),
        ({"stated": np.zeros((3, 2))}, "shape"),
        ({"stated": np.full((60, 5), np.nan)}, "stated distribution"),
        ({"stated": np.ones((60, 5)), "stated_strength": -1.0}, "stated_strength"),
    ],
)
def test_settings_that_cannot_be_used(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        fit(some_votes(5), FIVE, **arguments)


def test_votes_that_are_none() -> None:
    with pytest.raises(VotesError, match="'b', label 1"):
        Votes(["a", "b"], np.array([[1.0, 0.0], [1.0, -1.0]]))
    with pytest.raises(VotesError, match="nan"):
        Votes(["a"], np.array([[np.nan, 0.0]]))
    with pytest.raises(VotesError, match="one row per item"):
        Votes(["a"], np.ones((2, 2)))
    with pytest.raises(VotesError, match="5 labels"):
        fit(some_votes(5), HH6)


def test_a_prior_of_another_space_is_refused() -> None:
    prior, _ = learn_prior(some_votes(5).counts, FIVE, "beta")
    with pytest.raises(InputError, match="learned on the labels"):
        fit(some_votes(6), HH6, prior=prior)
    with pytest.raises(InputError, match="not a prior"):
        Prior.from_dict({"format": 1, "family": "beta"})
    with pytest.raises(InputError, match="format 9"):
        Prior.from_dict({"format": 9})
    broken = prior.to_dict()
    broken["parts"][0]["weights"][0] = float("nan")
    with pytest.raises(InputError, match="not a prior"):
        Prior.from_dict(broken)


def test_smoothing_never_leaves_the_expectation_outside_its_interval() -> None:
    counts = np.vstack([some_votes(5).counts, [1000.0, 0, 0, 0, 0], [0, 0, 0, 0, 1000.0]])
    raw, smoothed = (
        fit(named(counts), FIVE, smoothing=smoothing)
        for smoothing in (RAW, SmoothingConfig(kind="uniform", epsilon=0.5))
    )
    assert smoothed.expected_reward[-2] > raw.reward_high[-2]
    assert smoothed.expected_reward[-1] < raw.reward_low[-1]
    assert (smoothed.reward_low <= smoothed.expected_reward).all()
    assert (smoothed.expected_reward <= smoothed.reward_high).all()


def test_disagreement_is_the_chance_that_two_people_differ() -> None:
    result = fit(named([[2.0, 2, 0, 0, 0], [0, 0, 4, 0, 0]]), FIVE, family="empirical", smoothing=RAW)
    np.testing.assert_allclose(result.disagreement, [0.5, 0.0], atol=1e-6)


def test_one_persons_reward_varies_as_the_posterior_mean_distribution_does() -> None:
    result = fit(some_votes(5, n=2), FIVE, smoothing=RAW)
    mean = result.posterior @ FIVE.rewards
    variance = result.posterior @ FIVE.rewards**2 - mean**2
    np.testing.assert_allclose(result.reward_interval(FIVE, raters=1), interval(mean, variance, 0.9, 1.0, 5.0))


@pytest.mark.parametrize(("n", "said"), [(40, False), (60, True)])
def test_beta_dirichlet_is_advised_from_half_of_kappa_on(n: int, said: bool) -> None:
    learned, _ = learn_prior(some_votes(5).counts, FIVE, "beta")
    prior = replace(learned, parts=(replace(learned.parts[0], kappa=100.0),))
    notes = fit(some_votes(5, n=n), FIVE, prior=prior).notes
    assert any("beta-dirichlet" in note for note in notes) is said


def test_an_item_at_one_end_is_not_divided() -> None:
    votes = some_votes(5, n=20).counts
    result = fit(named(np.vstack([votes, np.tile([14.0, 4, 2, 0, 0], (10, 1))])), FIVE)
    assert (result.divided[-10:] < 0.1).all()


def test_a_predictive_interval_leaves_out_as_much_at_either_end() -> None:
    votes = some_votes(5)
    prior, _ = learn_prior(votes.counts, FIVE, "beta")
    low, high = predictive_interval(prior, FIVE, votes.counts, 50, 0.9, rng=np.random.default_rng(3))
    means = predictive_means(prior, FIVE, votes.counts, 50, 400, np.random.default_rng(3))
    for beyond, reached in ((means < low, means <= low), (means > high, means >= high)):
        assert (beyond.mean(axis=0) <= 0.05).all()
        assert (reached.mean(axis=0) >= 0.05).all()
