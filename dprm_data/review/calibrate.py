"""Calibration: learn a model of the panel from people's answers, and report the gain.

If labels have an order, it is a measurement model (`read_panel.py`), which is always applied, since a useless panel gets almost no weight. What follows is for labels without an
order, and for runs fitted by an older version: an annotator model of the panel, applied only if it helps.

The gain is measured on items and people that the model has not seen (`cross_validation.py`). The model is applied to all items if and only if two intervals lie above 0:
that of the gain in Wasserstein-1 (over items), and that of the gain in the energy score, over items *and* people: every resample draws both (the pigeonhole
bootstrap, Owen 2007), so that a few people who happen to agree do not stand for everybody. A panel that needs no correction mostly gets none, and the gain
is then exactly 0.

*The weight of a person's vote*, where a model is applied. For every item with two or more answers, half of them are added to the panel's votes (as corrected by
models that have not seen the item) with weight omega; the omega whose fit predicts the other half best (log-likelihood, halves exchanged) becomes
the weight of people's votes, if it beats the recipe's by more than one standard error.

Source: Owen, The pigeonhole bootstrap (2007).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from dprm_data.core.arrays import Floats
from dprm_data.core.errors import ReviewError
from dprm_data.ingest.votes import Votes
from dprm_data.labels.space import LabelSpace
from dprm_data.labels.statistics import Interval, Resamples
from dprm_data.preference.fitting import Fit
from dprm_data.preference.fitting import fit as fit_votes
from dprm_data.preference.instrument import has_scales
from dprm_data.review.annotator_model import AnnotatorModel, PanelAnswers, Strength, panel_answers
from dprm_data.review.cross_validation import Validated, cross_validate, people_of
from dprm_data.review.overlap import Overlap, reviewed
from dprm_data.review.read_panel import Reading, held_out_gain, own_prior
from dprm_data.runs.fit import counts_people
from dprm_data.runs.panel_worth import learned_worth

if TYPE_CHECKING:
    from dprm_data.runs.run import Run

OMEGAS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
LEAST_ITEMS, LEAST_PEOPLE = 20, 3


@dataclass(frozen=True)
class Calibration:
    """The model and its gain. distance_given, distance_read: mean held-out W1 without and with it; gain: their difference; score_gain: the same in the energy score. instrument, worth:
    `Reading.to_dict` and `PanelWorth.as_dict` of a measurement model. Of an annotator model: weights: the panel's, normalised, before and after; reading: `AnnotatorModel.to_dict`;
    human_weight: the weight of a person's vote, None if not applied.
    """

    applied: bool
    items: int
    people: int
    answers: int
    level: float
    strength: dict[str, float | None]
    distance_given: float
    distance_read: float
    gain: Interval
    score_gain: Interval
    human_weight: float | None
    weights: dict[str, tuple[float, float]]
    reading: dict[str, Any]
    written_at: str
    instrument: dict[str, Any] | None = None
    worth: dict[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def calibrate(run: Run, *, level: float = 0.9, resamples: int = 2000, seed: int = 0) -> Calibration:
    """Learn a calibration from people's submitted answers, and write it into the run's manifest. Makes no call.

    `dprm ratings fit` then uses it. Raises ReviewError if there are too few answers.
    """
    both = reviewed(run)
    if len(both) < LEAST_ITEMS:
        raise ReviewError(
            f"people have judged {len(both)} of the panel's items; a calibration needs at least {LEAST_ITEMS}",
            hint="Have more items reviewed; about a hundred is good.",
        )
    if both.persons < LEAST_PEOPLE:
        raise ReviewError(
            f"{both.persons} people have answered; a calibration needs at least {LEAST_PEOPLE}",
            hint="With fewer, it would learn the taste of these people.",
        )
    draw = Resamples.of(both.groups, both.stands_for, resamples=resamples, level=level, seed=seed)
    as_instrument = has_scales(run.space) and counts_people(run.folder)
    learn = _instrument if as_instrument else _annotator_model
    calibration = learn(run, both, draw, seed)
    run.folder.update_manifest(calibration=calibration.as_dict())
    return calibration


def _instrument(run: Run, both: Overlap, draw: Resamples, seed: int) -> Calibration:
    """Calibrate with a measurement model of the panel."""
    space, panel = run.space, both.view.fit
    votes, own = panel.votes.counts, own_prior(panel, space)
    counts = np.zeros_like(votes)
    counts[both.rows] = both.people
    reading = Reading.learn(votes, own, counts, space)
    people = people_of(both.answers, both.item_ids, space)
    found = held_out_gain(votes[both.rows], own, panel.distribution[both.rows], people, both.groups, space, seed)
    scored = np.flatnonzero(np.isfinite(found.score_gain))
    over_people = draw.with_people(people.item[scored], people.person[scored], seed=seed)
    worth = reading.worth(votes, space)
    return Calibration(
        applied=True,
        items=len(both),
        people=both.persons,
        answers=int(both.people.sum()),
        level=draw.level,
        strength=Strength().as_dict(),
        distance_given=draw.mean(found.given).value or 0.0,
        distance_read=draw.mean(found.read).value or 0.0,
        gain=draw.mean(found.given - found.read),
        score_gain=over_people.mean(found.score_gain[scored]),
        human_weight=1.0,
        weights={},
        reading={"labels": space.names},
        written_at=datetime.now(UTC).isoformat(timespec="seconds"),
        instrument=reading.to_dict(),
        worth=learned_worth(both.view.annotations, worth, int(both.people.sum()), both.persons).as_dict(),
    )


def _annotator_model(run: Run, both: Overlap, draw: Resamples, seed: int) -> Calibration:
    """Calibrate with an annotator model (a weight and a confusion matrix per persona), if that helps."""
    space = run.space
    item_ids = both.view.fit.votes.item_ids
    panel = panel_answers(both.view.annotations, space, item_ids)
    if not len(panel.item):
        raise ReviewError(
            "the panel has no votes to calibrate: its personas were not asked one by one",
            hint="Calibration uses personas' votes (elicitation: choice or logprobs), not stated distributions.",
        )
    people = people_of(both.answers, both.item_ids, space)
    found = cross_validate(panel, both.rows, people, both.groups, space, run.recipe.fit, item_ids, seed=seed)
    gain = draw.mean(found.given - found.read)
    score_gain = draw.with_people(people.item, people.person, seed=seed).mean(found.score_gain)
    applied = not found.literal and _above_zero(gain) and _above_zero(score_gain)
    weights = _weights(panel, found.reading)
    return Calibration(
        applied=applied,
        items=len(both),
        people=both.persons,
        answers=int(both.people.sum()),
        level=draw.level,
        strength=found.strength.as_dict(),
        distance_given=draw.mean(found.given).value or 0.0,
        distance_read=draw.mean(found.read).value or 0.0,
        gain=gain,
        score_gain=score_gain,
        human_weight=_worth(found, both.people, run, seed) if applied else None,
        weights=weights,
        reading=found.reading.to_dict(space),
        written_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _worth(found: Validated, people: Floats, run: Run, seed: int) -> float:
    return worth_of_a_person(found.votes, people, found.fit, run.space, run.recipe.fit.human_weight, seed=seed)


def _above_zero(gain: Interval) -> bool:
    return gain.low is not None and gain.low > 0


def worth_of_a_person(
    votes: Floats, people: Floats, fitted: Fit, space: LabelSpace, given: float = 1.0, *, seed: int = 0
) -> float:
    """The weight of a person's vote in the panel's votes (n, K), one of OMEGAS; `given` unless another is better by more than a standard error.

    people (n, K): answers. Items with one answer carry no information.
    """
    several = people.sum(axis=1) >= 2
    if not several.any():
        return given
    rng = np.random.default_rng(seed)
    counts = people[several].astype(np.int64)
    half = np.stack([rng.multivariate_hypergeometric(row, int(row.sum()) // 2) for row in counts])
    ids = [str(i) for i in range(len(counts))]

    def predicted(omega: float) -> Floats:
        """The log-likelihood of each item's other half, the halves exchanged."""
        value = np.zeros(len(counts))
        for seen, held_out in ((half, counts - half), (counts - half, half)):
            both = fit_votes(Votes(ids, votes[several] + omega * seen), space, prior=fitted.prior)
            value += (held_out * np.log(np.maximum(both.posterior, 1e-9))).sum(axis=1)
        return value

    base = predicted(given)
    gains = [predicted(omega) - base for omega in OMEGAS]
    best = max(range(len(OMEGAS)), key=lambda at: gains[at].sum())
    error = float(gains[best].std(ddof=1)) * len(counts) ** 0.5 if len(counts) > 1 else np.inf
    return OMEGAS[best] if gains[best].sum() > error else given


def _weights(panel: PanelAnswers, reading: AnnotatorModel) -> dict[str, tuple[float, float]]:
    """Each persona's share of the weight, before and after."""
    given = np.bincount(panel.who, panel.weight, minlength=len(panel.personas))
    given = given / given.sum()
    after = given * reading.ratio
    after = after / after.sum()
    return {name: (float(given[a]), float(after[a])) for a, name in enumerate(panel.personas)}
