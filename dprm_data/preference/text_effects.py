"""Texts in a fit: whether they are in the model, and what they are worth.

A text is read on every scale of the label space by itself (`text_ridge`, out of fold), as its mean level and, where most items have several votes, as its spread. A reading is kept if it is
correlated with the votes beyond 2 / sqrt(prompts), and if the votes are then more probable by more than two nats, by log p(votes | text) - log p(votes) (`text_reading`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import numpy as np

from dprm_data.core.arrays import Floats, Ints
from dprm_data.core.errors import InputError
from dprm_data.core.extras import install_command, needs_installed
from dprm_data.core.format import number
from dprm_data.ingest.item_texts import ItemTexts
from dprm_data.labels.space import LabelSpace
from dprm_data.preference.axes import nodes
from dprm_data.preference.components import Components
from dprm_data.preference.posterior import Moments, NodeModel, evaluate_each, latent_of
from dprm_data.preference.prior import BetaPart, Prior
from dprm_data.preference.text_features import TfIdf, encoded, standardised
from dprm_data.preference.text_reading import TextReading, joined, judge_of, learn_reading
from dprm_data.preference.text_ridge import FOLDS, folds, out_of_fold
from dprm_data.recipe.fit_config import text_source

FEWEST_ITEMS = 20
MOST_LEARNED = 20_000  # items that a regression is learned from
LEARNED_CELLS = 6_000_000  # items x components that a reading's meaning is learned from
NATS = 2.0  # of log evidence that a reading must gain, as an addition to the model of raters must
_CHUNK = 4_000  # items predicted at once


@dataclass(frozen=True)
class Texts:
    """The texts of a fit's N items. readings: of every scale, parents first, None where the text says nothing about it; worth: in votes an item, on the first scale that has one;
    gain: nats of log evidence per vote; items: from how many the regressions were learned."""

    readings: tuple[TextReading | None, ...]
    worth: float
    gain: float
    items: int

    @property
    def said(self) -> str:
        """The texts in a sentence."""
        return (
            f"text is in the model: it is worth {number(self.worth)} votes an item (it gains {self.gain:.3f} nats of log evidence per vote; "
            f"every item is read by a regression on others, {self.items:,} in all)"
        )

    def summary(self) -> dict[str, Any]:
        """Figures for a report or a manifest."""
        return {"votes_per_item": self.worth, "nats_per_vote": self.gain, "items": self.items}


def learn_texts(
    texts: ItemTexts | None, how: str, counts: Floats, space: LabelSpace, prior: Prior
) -> tuple[Texts | None, str]:
    """The texts, if they are in the model (else None), and the reason in a sentence.

    counts (N, K): the votes on the items of these texts. how: `off`, `auto` or `tfidf` (words and characters), `column:...` (embeddings that are given) or `encoder:MODEL`.
    Raises `InputError` where something that was asked for is not installed, or not there.
    """
    try:
        text_source(how)
    except ValueError as error:
        raise InputError(f"text: {error}") from error
    if how == "off":
        return None, ""
    if how == "auto" and find_spec("sklearn") is None:
        return None, f"text is not in the model: scikit-learn is not installed: {install_command('text')}"
    needs_installed("text in a fit needs", ["sklearn", "threadpoolctl"], "text")
    if texts is None:
        return None, "text is not in the model: there are no texts beside these votes"
    if reason := _against(texts, counts, prior):
        return None, f"text is not in the model: {reason}"
    model = how.removeprefix("encoder:") if how.startswith("encoder:") else ""
    if model:
        vectors = np.hstack([encoded(field, model) for field in texts.varied().values()])
        texts = replace(texts, embeddings=np.where(texts.present()[:, None], vectors, np.nan))
    return _learn(texts, counts, space, prior)


def evaluate_read(
    prior: Prior, space: LabelSpace, counts: Floats, values: Floats, readings: Sequence[TextReading | None]
) -> Moments:
    """`posterior.evaluate` for items whose texts have been read: every item by itself."""
    models = [(part.components(), latent_of(part)) for part in prior.parts]

    def of(start: int, stop: int) -> list[NodeModel]:
        judges = zip(models, readings, strict=True)
        return [NodeModel(judge_of(crowd, read, slice(start, stop)), latent) for (crowd, latent), read in judges]

    return evaluate_each(prior.tree(space), of, counts, values)


def _against(texts: ItemTexts, counts: Floats, prior: Prior) -> str:
    """Why texts cannot be in the model; nothing if they can."""
    if not all(isinstance(part, BetaPart) and part.exact for part in prior.parts):
        return f"the family {prior.family} has no place for it"
    if len(texts) != len(counts):
        raise InputError(f"{len(texts)} texts for {len(counts)} items")
    used = texts.present() & (counts.sum(axis=1) > 0)
    if used.sum() < FEWEST_ITEMS:
        return f"fewer than {FEWEST_ITEMS} items have both a text and votes"
    if texts.embeddings is None and not texts.varied():
        return "all items have the same text"
    if len(np.unique(texts.keys()[used])) < FOLDS:
        return f"fewer than {FOLDS} prompts, or texts, are different"
    return ""


def _learn(texts: ItemTexts, counts: Floats, space: LabelSpace, prior: Prior) -> tuple[Texts | None, str]:
    keys, voted = texts.keys(), counts.sum(axis=1) > 0
    used = np.flatnonzero(texts.present() & voted)
    used = np.sort(
        used[np.argsort(keys[used], kind="stable")[:MOST_LEARNED]]
    )  # hashes: a random choice, always the same
    reader = _Reader(texts, keys, used)
    scales = []
    for node, part in zip(nodes(prior.tree(space)), prior.parts, strict=True):
        votes = node.votes(counts)
        values, strongest = reader.read(votes)
        scales.append(_Scale.learn(votes, values, strongest, keys, part.components()))
    read = [scale for scale in scales if scale.reading]
    if not read:
        strongest, bound = max(scale.strongest for scale in scales), _chance(keys[used])
        why = (
            f"what it predicts is correlated with the votes by {strongest:.2f}, which must exceed {bound:.2f}"
            if strongest <= bound
            else "it does not help to predict these votes"
        )
        return None, f"text is not in the model: {why}"
    gain = sum(scale.gain for scale in read) / float(counts.sum())
    found = Texts(tuple(scale.reading for scale in scales), read[0].worth, gain, len(used))
    return found, found.said


@dataclass(frozen=True)
class _Scale:
    """What texts say on one scale. reading: None if nothing; strongest: the correlation of predictions and mean levels; gain: in nats; worth: in votes an item."""

    reading: TextReading | None
    strongest: float
    gain: float = 0.0
    worth: float = 0.0

    @classmethod
    def learn(cls, votes: Floats, values: Floats, strongest: float, keys: Ints, components: Components) -> _Scale:
        """From the votes (N, L) and the readings (N, d), added one after the other as long as each gains enough."""
        known = np.flatnonzero(votes.sum(axis=1) > 0)
        few = known[np.argsort(keys[known], kind="stable")[: LEARNED_CELLS // len(components.weights)]]
        log_likelihood = components.log_likelihood(votes[few])
        nothing = np.zeros((0, len(components.weights)))
        found, kept = TextReading(np.zeros((len(few), 0)), nothing, nothing), list[int]()
        evidence = start = _log_sum(log_likelihood + components.log_weights)
        for at in range(values.shape[1]):
            before = found.log_weights(slice(None), components.log_weights)
            more = joined(found, learn_reading(log_likelihood, before, values[few, at], components))
            nats = _log_sum(log_likelihood + more.log_weights(slice(None), components.log_weights))
            if nats > evidence + NATS:
                found, evidence, kept = more, nats, [*kept, at]
        if not kept:
            return cls(None, strongest)
        gain = (evidence - start) * len(known) / len(few)
        return cls(replace(found, values=values[:, kept]), strongest, gain, _worth(found, components))


def _log_sum(scores: Floats) -> float:
    """The sum over items of the logarithms of the sums over components."""
    top = scores.max(axis=1, keepdims=True)
    return float((np.log(np.exp(scores - top).sum(axis=1)) + top[:, 0]).sum())


def _worth(reading: TextReading, components: Components) -> float:
    """How many votes an item the readings are worth. n votes leave the mean level the variance 1 / (1 / V + n / s2), V that under the prior, s2 that of a vote; readings leave one from which n is found."""
    P, w, levels = components.means, components.weights, np.arange(components.means.shape[1])
    mean = P @ levels
    R = np.exp(reading.log_weights(slice(None), components.log_weights))
    left = float((R @ mean**2 - (R @ mean) ** 2).mean())
    before, within = float(w @ mean**2 - (w @ mean) ** 2), float(w @ (P @ levels**2 - mean**2))
    return within * max(1.0 / max(left, 1e-12) - 1.0 / max(before, 1e-12), 0.0)


class _Reader:
    """Reads all items' texts; `used`: the items that the regressions are learned from."""

    def __init__(self, texts: ItemTexts, keys: Ints, used: Ints) -> None:
        self.keys, self.fold, self.used = keys, folds(keys), used
        self.others = np.setdiff1d(np.flatnonzero(texts.present()), used)
        self.dense = None if texts.embeddings is None else standardised(texts.embeddings)
        self.fields = list(texts.varied().values())
        self.tfidf = TfIdf()
        self.features = self.tfidf.fit(self._texts(used)) if self.dense is None else self.dense[used]

    def read(self, votes: Floats) -> tuple[Floats, float]:
        """The readings (N, d) for the votes (N, L) on a scale, standardised, NaN where there is no text; d = 0 if nothing is correlated with the votes. And the mean level's correlation."""
        none = np.full((len(votes), 0), np.nan)
        total = votes[self.used].sum(axis=1)
        known = np.flatnonzero(total > 0)
        if len(known) < FEWEST_ITEMS:
            return none, 0.0
        rows = self.used[known]
        found = out_of_fold(self.features[known], _targets(votes[rows]), self.fold[rows])
        bound = _chance(self.keys[rows])
        if found.correlation[0] <= bound:
            return none, float(found.correlation[0])
        values = np.full((len(votes), found.predicted.shape[1]), np.nan)
        values[rows] = found.predicted
        missing = np.setdiff1d(np.arange(len(self.used)), known)
        values[self.used[missing]] = found.predict(self.features[missing], self.fold[self.used[missing]])
        for start in range(0, len(self.others), _CHUNK):
            items = self.others[start : start + _CHUNK]
            features = self.tfidf.transform(self._texts(items)) if self.dense is None else self.dense[items]
            values[items] = found.predict(features, self.fold[items])
        values = values[:, found.correlation > bound]
        values = (values - values[rows].mean(axis=0)) / values[rows].std(axis=0)
        if values.shape[1] == 2:  # what the first does not predict of the second
            slope = float((values[rows, 0] * values[rows, 1]).mean())
            values[:, 1] = (values[:, 1] - slope * values[:, 0]) / np.sqrt(max(1.0 - slope**2, 1e-6))
        return values, float(found.correlation[0])

    def _texts(self, items: Ints) -> list[list[str]]:
        return [[texts[item] for item in items.tolist()] for texts in self.fields]


def _chance(keys: Ints) -> float:
    """The correlation that a regression on these items may have by chance. Responses to one prompt may be alike: prompts count, not items."""
    return float(2.0 / np.sqrt(len(np.unique(keys))))


def _targets(votes: Floats) -> Floats:
    """The items' mean levels and, if most have several votes, the standard deviations of their votes: (n, 1 or 2)."""
    N, levels = votes.sum(axis=1), np.arange(votes.shape[1])
    mean = votes @ levels / N
    several = N > 1.0
    if several.mean() <= 0.5 or len(levels) == 2:
        return np.asarray(mean[:, None])
    spread = np.sqrt(np.maximum(votes @ levels**2 / N - mean**2, 0.0) * N / np.maximum(N - 1.0, 1.0))
    return np.stack([mean, np.where(several, spread, spread[several].mean())], axis=1)
