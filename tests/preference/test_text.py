"""Texts in a fit: the measurement against an optimiser and Bayes' rule, texts that predict, and texts that do not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import norm

from dprm_data.core.arrays import Floats
from dprm_data.core.errors import InputError
from dprm_data.ingest.item_texts import ItemTexts
from dprm_data.ingest.ratings import Ratings
from dprm_data.ingest.votes import Votes
from dprm_data.labels.space import LabelSpace
from dprm_data.preference import text_reading
from dprm_data.preference.beta import cells
from dprm_data.preference.fitting import Fit, fit
from dprm_data.preference.prior import BetaPart
from dprm_data.recipe.fit_config import SmoothingConfig

SPACE = LabelSpace.ordinal(5)
RAW = SmoothingConfig(kind="none")
GOOD, BAD = ["clear", "kind", "correct", "helpful", "precise"], ["wrong", "rude", "lazy", "vague", "silly"]
OTHER = [f"word{i}" for i in range(40)]


class Crowd:
    """Items with a mean opinion, votes, and texts whose words tell of it."""

    def __init__(self, items: int, votes: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.mu = 1 / (1 + np.exp(-rng.normal(0.3, 1.2, items)))
        self.p = cells(self.mu, np.full(items, 6.0), 5)
        self.counts = np.stack([rng.multinomial(votes, p / p.sum()) for p in self.p]).astype(np.float64)
        self.ids = [f"item {i}" for i in range(items)]
        self.texts = [
            " ".join(
                [
                    *rng.choice(OTHER, 6),
                    *rng.choice(GOOD, rng.binomial(5, mu)),
                    *rng.choice(BAD, rng.binomial(5, 1 - mu)),
                ]
            )
            for mu in self.mu
        ]
        self.shuffled = [self.texts[i] for i in rng.permutation(items)]

    def fitted(self, texts: list[str] | None, text: str = "auto", **settings: object) -> Fit:
        given = None if texts is None else ItemTexts({"response": texts})
        votes = Votes(self.ids, self.counts)
        return fit(votes, SPACE, smoothing=RAW, text=text, texts=given, **settings)  # type: ignore[arg-type]

    def error(self, found: Fit) -> float:
        return float(np.sqrt(((found.posterior - self.p) ** 2).sum(axis=1).mean()))


@pytest.fixture(scope="module")
def crowd() -> Crowd:
    return Crowd(500, 2)


@pytest.fixture(scope="module")
def read(crowd: Crowd) -> Fit:
    return crowd.fitted(crowd.texts)


def small_part() -> BetaPart:
    means, concentrations = np.array([0.15, 0.5, 0.85]), np.array([1.0, 10.0])
    return BetaPart(means, concentrations, np.array([0.1, 0.2, 0.2, 0.1, 0.1, 0.3]), np.ones(4))


def test_a_measurement_is_the_optimum_that_an_optimiser_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    components = small_part().components()
    which = rng.choice(6, 60, p=components.weights)
    votes = np.stack([rng.multinomial(3, components.means[g]) for g in which]).astype(float)
    t = (components.means[which] @ np.arange(4) - 1.5) / 1.2 + rng.normal(0, 0.5, 60)
    t[:3] = np.nan
    known = np.isfinite(t)
    likelihood = components.log_likelihood(votes)
    mean_of, noise_of = text_reading._functionals(components)

    def loss(a: Floats) -> float:
        """The penalised log probability of votes and readings, summed over all components by brute force."""
        mean, sd = mean_of @ a[:4], np.exp(0.5 * noise_of @ a[4:])
        density = np.exp(likelihood[known] + components.log_weights) * norm.pdf(t[known, None], mean, sd)
        penalty = 1e-6 * (a[0] ** 2 + a[4] ** 2) + 2.0 * (a[1:4] ** 2).sum() + 10.0 * (a[5:] ** 2).sum()
        return float(-np.log(density.sum(axis=1)).sum() + 0.5 * penalty)

    monkeypatch.setattr(text_reading, "STEPS", 300)
    found = text_reading.learn_reading(likelihood, components.log_weights, t, components)
    learned = [
        np.linalg.lstsq(F, y, rcond=None)[0] for F, y in ((mean_of, found.mean[0]), (noise_of, np.log(found.noise[0])))
    ]
    start = np.concatenate(learned)
    best = minimize(loss, start, method="BFGS")
    assert loss(start) == pytest.approx(best.fun, abs=1e-3)
    assert loss(start) < loss(np.zeros(7)) - 5


def test_weights_are_bayes_rule() -> None:
    components = small_part().components()
    rng = np.random.default_rng(1)
    mean, noise = rng.normal(size=(2, 6)), rng.uniform(0.2, 2.0, (2, 6))
    values = np.array([[0.3, -1.0], [np.nan, 0.5], [np.nan, np.nan]])
    found = np.exp(text_reading.TextReading(values, mean, noise).log_weights(slice(None), components.log_weights))
    for row, weights in zip(values, found, strict=True):
        expected = components.weights.copy()
        for t, m, v in zip(row, mean, noise, strict=True):
            expected *= norm.pdf(t, m, np.sqrt(v)) if np.isfinite(t) else 1.0
        assert weights == pytest.approx(expected / expected.sum())


def test_texts_that_predict_lower_the_error(crowd: Crowd, read: Fit) -> None:
    plain = crowd.fitted(crowd.texts, "off")
    assert read.texts and not plain.texts and not plain.text_said
    assert read.texts.worth > 0.5 and read.texts.gain > 0.01
    assert any(note.startswith("text is in the model: it is worth") for note in read.notes)
    assert crowd.error(read) < 0.9 * crowd.error(plain)
    truth = crowd.p @ SPACE.rewards
    assert ((read.reward_low <= truth) & (truth <= read.reward_high)).mean() > 0.85


def test_without_votes_an_item_gets_what_its_text_says(crowd: Crowd) -> None:
    counts = crowd.counts.copy()
    counts[:50] = 0
    found = fit(
        Votes(crowd.ids, counts), SPACE, text="tfidf", texts=ItemTexts({"response": crowd.texts}), smoothing=RAW
    )
    assert np.corrcoef(found.expected_reward[:50], crowd.p[:50] @ SPACE.rewards)[0, 1] > 0.6


def test_the_order_of_items_changes_nothing(crowd: Crowd, read: Fit) -> None:
    order = np.random.default_rng(5).permutation(len(crowd.ids))
    votes = Votes([crowd.ids[i] for i in order], crowd.counts[order])
    texts = ItemTexts({"response": [crowd.texts[i] for i in order]})
    assert fit(votes, SPACE, smoothing=RAW, text="auto", texts=texts).posterior == pytest.approx(
        read.posterior[order], abs=2e-4
    )


def test_shuffled_texts_are_not_in_the_model(crowd: Crowd) -> None:
    found = crowd.fitted(crowd.shuffled)
    assert not found.texts and "must exceed" in found.text_said
    assert (found.posterior == crowd.fitted(None, "off").posterior).all()


@pytest.mark.parametrize(
    ("texts", "settings", "why"),
    [
        (None, {}, "no texts beside these votes"),
        ([""] * 500, {}, "fewer than 20 items have both"),
        (["the same"] * 500, {}, "all items have the same text"),
        (["one", "two"] * 250, {}, "fewer than 5 prompts, or texts"),
        (["a text"] * 19 + [""] * 481, {}, "fewer than 20 items have both"),
        (["one two three"] * 500, {"family": "dirichlet"}, "the family dirichlet has no place for it"),
    ],
)
def test_where_it_cannot_be_it_says_why(
    crowd: Crowd, texts: list[str] | None, settings: dict[str, str], why: str
) -> None:
    found = crowd.fitted(texts, **settings)
    assert not found.texts and why in found.text_said and found.text_said not in found.notes


def test_raters_and_texts_are_in_one_model() -> None:
    crowd, rng = Crowd(400, 1, seed=2), np.random.default_rng(2)
    severity, R = rng.normal(0, 1.2, 12), 12
    item, who = np.repeat(np.arange(400), 2), np.concatenate([rng.choice(R, 2, replace=False) for _ in range(400)])
    logit = np.log(crowd.mu / (1 - crowd.mu))[item] + severity[who]
    p = np.cumsum(cells(1 / (1 + np.exp(-logit)), np.full(800, 6.0), 5), axis=1)
    label = np.minimum((rng.random((800, 1)) > p).sum(axis=1), 4)
    ratings = Ratings(
        crowd.ids, [str(i) for i in range(R)], 5, item, who, label, np.ones(800), np.zeros(800, dtype=np.int64)
    )
    points = rng.normal(0, 1.2, 200)
    truth = np.mean(
        [cells(1 / (1 + np.exp(-(np.log(crowd.mu / (1 - crowd.mu)) + x))), np.full(400, 6.0), 5) for x in points],
        axis=0,
    )
    texts = ItemTexts({"response": crowd.texts})
    both = fit(ratings, SPACE, smoothing=RAW, text="auto", texts=texts)
    alone = [
        fit(ratings, SPACE, smoothing=RAW),
        fit(ratings, SPACE, smoothing=RAW, raters="off", text="auto", texts=texts),
    ]
    assert both.raters and both.texts and alone[0].raters and alone[1].texts
    errors = [float(np.sqrt(((found.posterior - truth) ** 2).sum(axis=1).mean())) for found in (both, *alone)]
    assert errors[0] < 0.97 * min(errors[1:])
    own = both.raters.predict([0, 1, 2], "3")
    assert own.shape == (3, 5) and own.sum(axis=1) == pytest.approx(1.0)


def test_embeddings_and_axes(crowd: Crowd) -> None:
    """A space of two axes: the text is read on each scale by itself."""
    rng = np.random.default_rng(4)
    space = LabelSpace.load("hh6")
    vectors = np.stack([crowd.mu, *rng.normal(size=(4, 500))], axis=1)
    vectors[:5] = np.nan
    counts = np.stack(
        [rng.multinomial(3, np.resize(p, space.K) / np.resize(p, space.K).sum()) for p in crowd.p]
    ).astype(float)
    found = fit(Votes(crowd.ids, counts), space, text="column:vector", texts=ItemTexts({}, embeddings=vectors))
    assert found.texts and len(found.texts.readings) == len(found.prior.parts)
    read = next(reading for reading in found.texts.readings if reading)
    assert np.isnan(read.values[:5]).all() and np.isfinite(read.values[5:]).all()


def test_a_prompt_is_in_one_fold(crowd: Crowd) -> None:
    """Texts that name the prompt predict only within a prompt, and that does not count where prompts are known."""
    rng = np.random.default_rng(6)
    prompt = np.repeat(np.arange(50), 10)
    mu = 1 / (1 + np.exp(-rng.normal(0, 1.2, 50)))[prompt]
    counts = np.stack([rng.multinomial(2, p / p.sum()) for p in cells(mu, np.full(500, 6.0), 5)]).astype(float)
    texts = [f"about{i} {' '.join(rng.choice(OTHER, 3))}" for i in prompt]
    votes, apart = Votes(crowd.ids, counts), ItemTexts({"response": texts})
    assert fit(votes, SPACE, text="auto", texts=apart).texts
    assert not fit(votes, SPACE, text="auto", texts=replace(apart, groups=[str(i) for i in prompt])).texts


def test_an_unknown_way_is_refused(crowd: Crowd) -> None:
    with pytest.raises(InputError, match="allowed: off, auto, tfidf, column:NAME"):
        crowd.fitted(crowd.texts, "words")
