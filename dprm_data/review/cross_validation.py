"""Cross-validation of the annotator model: does it bring the panel closer to people, on items and people it has not seen?

    for every fold of items                     (responses to one prompt stay together)
      for every fold of people
        on the other items, by the other people's answers: choose among STRENGTHS by inner cross-validation, learn the model
        fit the panel's votes, corrected and original
        on this fold of items: distance from each fit to the answers of this fold of people
    gain = distance of the original - distance of the corrected

People must be held out too: each annotator is consistent across items, and a model that learned the taste of three would look good on every item that
the same three have judged, and be wrong about everybody else.

The distances are Wasserstein-1 to people's shares, and the energy score sum_k Q_k (C p)_k - p' C p / 2, C the ground cost. The score is proper for
costs of negative type (all costs on a line or a grid are), and linear in people's shares Q. W1 to a few votes is neither: it would favour their
median. Leaving the panel unchanged is one of the candidates.

Source: Gneiting & Raftery, Strictly proper scoring rules (2007), for the energy score.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from dprm_data.core.arrays import Floats, Ints
from dprm_data.ingest.splits import folds
from dprm_data.ingest.votes import Votes, item_codes, label_codes
from dprm_data.labels.geometry import wasserstein
from dprm_data.labels.space import LabelSpace
from dprm_data.preference.fitting import Fit
from dprm_data.preference.fitting import fit as fit_votes
from dprm_data.preference.prior import Prior
from dprm_data.recipe.fit_config import FitConfig
from dprm_data.review.annotator_model import AnnotatorModel, PanelAnswers, Strength, learn

STRENGTHS = (
    Strength(),
    Strength(weights=100.0),
    Strength(shared=30.0),
    Strength(weights=100.0, shared=10.0),
    Strength(weights=100.0, shared=10.0, own=10.0),
)
FOLDS, PEOPLE_FOLDS, INNER_FOLDS = 4, 3, 3
MOST_CHOOSING = 400


@dataclass(frozen=True)
class People:
    """People's R answers: `item`, `person`, `label` (R,) are indices; there are `items` items, `persons` people and K labels."""

    item: Ints
    person: Ints
    label: Ints
    items: int
    persons: int
    K: int

    def counts(self, rows: Ints | None = None) -> Floats:
        """Label counts (items, K) of these answers; of all by default."""
        item, label = (self.item, self.label) if rows is None else (self.item[rows], self.label[rows])
        return np.bincount(item * self.K + label, minlength=self.items * self.K).reshape(-1, self.K).astype(np.float64)

    def taken(self, rows: Ints) -> People:
        """These answers only; items and people keep their numbers."""
        return replace(self, item=self.item[rows], person=self.person[rows], label=self.label[rows])


def people_of(answers: pa.Table, item_ids: list[str], space: LabelSpace) -> People:
    """People's answers (`tables.ANNOTATIONS`) to these items."""
    _, item = item_codes(answers["item_id"], item_ids)
    names, person = item_codes(answers["annotator_id"], None)
    return People(item, person, label_codes(answers["label"], space, "answers"), len(item_ids), len(names), space.K)


@dataclass(frozen=True)
class Validated:
    """n reviewed items, R answers. given, read (n,): held-out W1 without and with the model, the mean over the folds of people; score_gain (R,): the difference in the held-out
    energy score, for every answer; given_fit, read_fit (n, K): the distributions, the second the mean over the folds of people; votes (n, K): the panel's, corrected by models
    that have not seen the item; fit, reading and strength: from all items and people; `literal` if the panel stays unchanged.
    """

    given: Floats
    read: Floats
    score_gain: Floats
    given_fit: Floats
    read_fit: Floats
    votes: Floats
    fit: Fit
    reading: AnnotatorModel
    strength: Strength

    @property
    def literal(self) -> bool:
        return self.strength == Strength()


def cross_validate(
    panel: PanelAnswers,
    rows: Ints,
    people: People,
    groups: Sequence[str],
    space: LabelSpace,
    config: FitConfig,
    item_ids: list[str],
    *,
    seed: int = 0,
) -> Validated:
    """Held-out distances of the original and the corrected panel. rows (n,): the reviewed items among all; people: their answers, items numbered as in `rows`."""
    n, K = len(rows), space.K
    seen = panel.of_items(rows)
    literal = AnnotatorModel.literal(panel.personas, K)
    given = _fitted(literal.read(panel), item_ids, space, config).distribution[rows]
    priors: dict[Strength, Prior] = {}
    chooser = _Chooser(seen, groups, space, config, priors)
    fold = folds(groups, FOLDS, seed)
    person_fold = folds([str(i) for i in range(people.persons)], PEOPLE_FOLDS, seed)[people.person]
    read_fit, votes = np.zeros((n, K)), np.zeros((n, K))
    distances, cells = np.zeros((2, n)), np.zeros(n)
    score_gain = np.zeros(len(people.item))
    person_folds = np.unique(person_fold)
    for k, j in itertools.product(np.unique(fold), person_folds):
        outside = np.flatnonzero(fold == k)
        known = people.taken(np.flatnonzero((fold[people.item] != k) & (person_fold != j)))
        asked = np.flatnonzero((fold[people.item] == k) & (person_fold == j))
        strength = chooser.choose(known, seed + 1)
        heard = chooser.learn(known, strength).read(seen)[outside]
        p = given[outside] if strength == Strength() else chooser.distribution(heard, strength)
        read_fit[outside] += p / len(person_folds)
        votes[outside] += heard / len(person_folds)
        at = np.searchsorted(outside, people.item[asked])
        score_gain[asked] = answer_scores(given[outside], space)[at, people.label[asked]]
        score_gain[asked] -= answer_scores(p, space)[at, people.label[asked]]
        counts = people.counts(asked)[outside]
        there = counts.sum(axis=1) > 0
        Q = counts[there] / counts[there].sum(axis=1, keepdims=True)
        distances[:, outside[there]] += [wasserstein(one[there], Q, space.ground_cost) for one in (given[outside], p)]
        cells[outside[there]] += 1
    strength = chooser.choose(people, seed)
    reading = chooser.learn(people, strength)
    distances /= np.maximum(cells, 1.0)
    return Validated(
        given=distances[0],
        read=distances[1],
        score_gain=score_gain,
        given_fit=given,
        read_fit=read_fit,
        votes=votes,
        fit=_fitted(reading.read(panel), item_ids, space, config),
        reading=reading,
        strength=strength,
    )


def _fitted(
    votes: Floats, item_ids: list[str], space: LabelSpace, config: FitConfig, prior: Prior | None = None
) -> Fit:
    return fit_votes(Votes(item_ids, votes), space, family=config.family, smoothing=config.smoothing, prior=prior)


@dataclass(frozen=True)
class _Chooser:
    """Learns and scores models of one panel. `priors`: one per strength, learned once from the panel's votes under its first model, since that takes most of the time."""

    seen: PanelAnswers
    groups: Sequence[str]
    space: LabelSpace
    config: FitConfig
    priors: dict[Strength, Prior]

    def learn(self, people: People, strength: Strength) -> AnnotatorModel:
        """The model learned on the items that these people have judged."""
        counts = people.counts()
        inside = np.flatnonzero(counts.sum(axis=1) > 0)
        return learn(self.seen.of_items(inside), counts[inside], strength, self.space.K)

    def distribution(self, votes: Floats, strength: Strength) -> Floats:
        """The fit of votes (m, K) corrected with this strength."""
        ids = [str(i) for i in range(len(votes))]
        return _fitted(votes, ids, self.space, self.config, self.priors[strength]).distribution

    def choose(self, people: People, seed: int) -> Strength:
        """The strength whose models best predict held-out people's answers to held-out items, by the energy score."""
        judged = np.unique(people.item)
        if len(judged) > MOST_CHOOSING:
            judged = np.random.default_rng(seed).choice(judged, MOST_CHOOSING, replace=False)
            people = people.taken(np.flatnonzero(np.isin(people.item, judged)))
        fold = folds(self.groups, INNER_FOLDS, seed)
        persons, place = np.unique(people.person, return_inverse=True)
        person_fold = folds([str(i) for i in range(len(persons))], INNER_FOLDS, seed)[place]
        total = np.zeros(len(STRENGTHS))
        for k in np.unique(fold):
            j = k % (int(person_fold.max(initial=0)) + 1)
            known = people.taken(np.flatnonzero((fold[people.item] != k) & (person_fold != j)))
            asked = people.taken(np.flatnonzero((fold[people.item] == k) & (person_fold == j)))
            if not len(known.item) or not len(asked.item):
                continue
            outside, at = np.unique(asked.item, return_inverse=True)
            for which, strength in enumerate(STRENGTHS):
                votes = self.learn(known, strength).read(self.seen)
                if strength not in self.priors:
                    ids = [str(i) for i in range(len(votes))]
                    self.priors[strength] = _fitted(votes, ids, self.space, self.config).prior
                p = self.distribution(votes[outside], strength)
                total[which] += answer_scores(p, self.space)[at, asked.label].sum()
        return STRENGTHS[int(total.argmin())]


def answer_scores(p: Floats, space: LabelSpace) -> Floats:
    """The energy score of p (N, K) for an answer on each of the labels, shape (N, K). The score for shares is its mean under them."""
    far = p @ space.ground_cost
    return np.asarray(far - 0.5 * (far * p).sum(axis=1, keepdims=True))
