"""Calibrate a run's panel with a measurement model: learn it from people's answers, report its held-out gain, and fit all items with it.

The model is `preference.instrument`: the panel's votes on an item count as a number of people, each person's answer as one vote. It is always applied, since a useless panel is worth
almost no people. Its gain on held-out items and people is reported anyway, by cross-validation over folds of items and folds of people.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dprm_data.core.arrays import Floats
from dprm_data.ingest.splits import folds
from dprm_data.ingest.votes import Votes, votes_from_annotations
from dprm_data.labels.geometry import wasserstein
from dprm_data.labels.space import LabelSpace
from dprm_data.preference.fitting import Fit, fit
from dprm_data.preference.instrument import Instrument, learn_instrument
from dprm_data.preference.model_selection import learn_prior
from dprm_data.preference.prior import Prior
from dprm_data.review.cross_validation import People, answer_scores
from dprm_data.runs.fit import fit_annotations

if TYPE_CHECKING:
    from dprm_data.runs.run import Run

FAMILY = "beta"  # of people's distributions, whatever the panel's own
FOLDS, PEOPLE_FOLDS = 4, 3


@dataclass(frozen=True)
class Reading:
    """A measurement model of the panel, and the prior of people's distributions that it was learned with."""

    instrument: Instrument
    prior: Prior

    @classmethod
    def learn(cls, panel: Floats, own: Prior, people: Floats, space: LabelSpace) -> Reading:
        """From the panel's votes (N, K) and their prior, and people's label counts (N, K)."""
        prior, _ = learn_prior(people, space, FAMILY)
        instrument = learn_instrument(panel, people, prior, own, space)
        return cls(instrument, instrument.prior(prior))

    def fit(self, panel: Floats, people: Votes, space: LabelSpace, **settings: Any) -> Fit:
        """The distributions of all items; settings are those of `fit`."""
        said = self.instrument.read(panel, people.counts, self.prior, space)
        return fit(Votes(people.item_ids, people.counts + said, people.base), space, prior=self.prior, **settings)

    def worth(self, panel: Floats, space: LabelSpace) -> tuple[float, float, float]:
        """How many people the panel's votes (N, K) are worth on the median item, with the ends of the interval."""
        said = self.instrument.read(panel, np.zeros_like(panel), self.prior, space).sum(axis=1)
        people, seen = float(np.median(said[panel.any(axis=1)])), self.instrument
        return people, people * seen.power_low / seen.power, people * seen.power_high / seen.power

    def to_dict(self) -> dict[str, Any]:
        return {"instrument": self.instrument.to_dict(), "prior": self.prior.to_dict()}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Reading:
        return cls(Instrument.from_dict(content["instrument"]), Prior.from_dict(content["prior"]))


@dataclass(frozen=True)
class HeldOut:
    """W1 to people's shares without and with the calibration, `given` and `read` (n,), NaN for items without held-out answers; score_gain (R,): the gain in the energy score for every
    answer, NaN for answers that were not held out."""

    given: Floats
    read: Floats
    score_gain: Floats


def held_out_gain(
    panel: Floats, own: Prior, given: Floats, people: People, groups: list[str], space: LabelSpace, seed: int
) -> HeldOut:
    """The held-out gain of a calibration on the n reviewed items, from the panel's votes (n, K), their prior, its uncalibrated distributions `given` (n, K), and people's answers."""
    fold = folds(groups, FOLDS, seed)
    person_fold = folds([str(i) for i in range(people.persons)], PEOPLE_FOLDS, seed)[people.person]
    distances = np.full((2, people.items), np.nan)
    gain = np.full(len(people.item), np.nan)
    for k in np.unique(fold):
        j = k % (int(person_fold.max(initial=0)) + 1)
        known = people.taken(np.flatnonzero((fold[people.item] != k) & (person_fold != j))).counts()
        asked = np.flatnonzero((fold[people.item] == k) & (person_fold == j))
        if not known.any() or not len(asked):
            continue
        nobody = Votes([str(i) for i in range(people.items)], np.zeros_like(known))
        read = Reading.learn(panel, own, known, space).fit(panel, nobody, space).distribution
        counts = people.counts(asked)
        there = np.flatnonzero(counts.sum(axis=1) > 0)
        shares = counts[there] / counts[there].sum(axis=1, keepdims=True)
        distances[:, there] = [wasserstein(one[there], shares, space.ground_cost) for one in (given, read)]
        scores = answer_scores(given, space) - answer_scores(read, space)
        gain[asked] = scores[people.item[asked], people.label[asked]]
    return HeldOut(distances[0], distances[1], gain)


def own_prior(panel: Fit, space: LabelSpace) -> Prior:
    """The prior of the panel's own votes, of the family that the measurement model needs."""
    return panel.prior if panel.family == FAMILY else learn_prior(panel.votes.counts, space, FAMILY)[0]


def fit_read(run: Run, annotations: pa.Table, reading: Reading) -> Fit:
    """Fit the run's items with the calibration: the panel's votes on all items at their worth, and each person's answer as one vote."""
    config = run.recipe.fit
    kind = annotations["annotator_kind"]
    panel = fit_annotations(run, annotations.filter(pc.equal(kind, "persona")))
    people = votes_from_annotations(
        annotations.filter(pc.equal(kind, "human")), run.space, item_ids=panel.votes.item_ids
    )
    settings = {"smoothing": config.smoothing, "interval": config.interval}
    return reading.fit(panel.votes.counts, people, run.space, **settings)
