"""A validation's findings: every way of asking beside its rivals, with intervals and sample sizes, as one typed tree that the page, the terminal and `scores.json` are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from dprm_data.core.arrays import Floats
from dprm_data.ingest.splits import folds
from dprm_data.labels.space import LabelSpace
from dprm_data.labels.statistics import Resamples
from dprm_data.preference.instrument import has_scales
from dprm_data.preference.model_selection import learn_prior
from dprm_data.review.read_panel import FAMILY, FOLDS, Reading
from dprm_data.runs.variance_sentences import sentences, warns
from dprm_data.validation.alternative_annotator import (
    EPSILON,
    LEAST_ITEMS,
    AlternativeAnnotator,
    alternative_annotator,
)
from dprm_data.validation.answers import Answers
from dprm_data.validation.by_group import ByGroup, by_group, shared_attributes
from dprm_data.validation.crowd import Crowd
from dprm_data.validation.distance import Distance, distances
from dprm_data.validation.mean_and_spread import MeanAndSpread, mean_and_spread
from dprm_data.validation.pairwise import PairwiseCalibration, pairwise_calibration
from dprm_data.validation.worth import Worth, worth_of_distribution, worth_of_mean

if TYPE_CHECKING:
    from dprm_data.core.plots import Plot

RAW, PUBLISHED, CALIBRATED = "votes", "published", "calibrated"
_LEAST_TO_CALIBRATE = 20  # items


@dataclass(frozen=True)
class Asked:
    """One way of asking: an arm's names, its answers, and the identity of what was asked."""

    name: str
    role: str
    panel: str
    elicitation: str
    answers: Answers
    identity: Mapping[str, Any] = field(default_factory=dict)
    positions: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ArmFindings:
    """What was found of one way of asking. calls: asked for; labels: that had one; cost: dollars. means, pairwise: of the published distribution. worth: by prediction, for the mean and for
    the distribution. above_noise: whether personas differ beyond noise; None where that was not measured."""

    name: str
    role: str
    panel: str
    elicitation: str
    models: tuple[str, ...]
    personas: int
    calls: int
    labels: int
    cost: float | None
    items: int
    means: MeanAndSpread
    worth: dict[str, dict[str, Worth]]
    pairwise: PairwiseCalibration | None
    groups: tuple[ByGroup, ...]
    variance: tuple[str, ...]
    above_noise: bool | None
    alternative: AlternativeAnnotator | None
    positions: dict[str, Any]
    identity: dict[str, Any]


@dataclass(frozen=True)
class Validation:
    """All findings. distances: the rivals, then every arm's predictions ("name: votes", ...), then the floor. crowd: who the people are."""

    set_name: str
    title: str
    licence: str
    citation: str
    leakage: str
    labels: list[str]
    items: int
    people: int
    votes: int
    votes_per_item: float
    level: float
    digest: str
    distances: tuple[Distance, ...]
    arms: tuple[ArmFindings, ...]
    notes: list[str]

    def plot(self) -> Plot:
        """A picture: how often people prefer one response to another against how often the panel says so, and the skill of every prediction."""
        from dprm_data.validation.validation_plot import plot_validation

        panels = {arm.name: arm.pairwise for arm in self.arms if arm.role == "panel" and arm.pairwise}
        title = f"{self.title}: {self.items:,} items, judged by a panel and by {self.people:,} people"
        return plot_validation(title, panels, self.distances)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def measure(
    crowd: Crowd,
    asked: Sequence[Asked],
    space: LabelSpace,
    *,
    level: float = 0.95,
    epsilon: float = EPSILON,
    seed: int = 0,
) -> Validation:
    """Compare every way of asking with the crowd. Makes no call."""
    counts, groups = crowd.counts, crowd.groups
    draw = Resamples.of(np.asarray(groups), resamples=1000, level=level, seed=seed)
    predictions = {arm.name: _predictions(arm, counts, groups, space, seed) for arm in asked}
    named = {f"{name}: {kind}": p for name, kinds in predictions.items() for kind, p in kinds.items()}
    arms = tuple(_arm(arm, predictions[arm.name], crowd, counts, space, draw, epsilon, seed) for arm in asked)
    return Validation(
        set_name=crowd.name,
        title=crowd.title or crowd.name,
        licence=crowd.licence,
        citation=crowd.citation,
        leakage=crowd.leakage,
        labels=space.names,
        items=len(crowd),
        people=crowd.people,
        votes=int(counts.sum()),
        votes_per_item=float(counts.sum(axis=1).mean()),
        level=level,
        digest=crowd.digest,
        distances=tuple(distances(named, counts, groups, space, draw, seed=seed)),
        arms=arms,
        notes=[*crowd.notes, *_notes(crowd, counts, asked, tested=any(arm.alternative for arm in arms))],
    )


def published(kinds: Mapping[str, Floats]) -> Floats:
    """The prediction that a run would publish."""
    return kinds.get(PUBLISHED, kinds[RAW])


def _predictions(arm: Asked, counts: Floats, groups: Sequence[str], space: LabelSpace, seed: int) -> dict[str, Floats]:
    """What an arm says of every item (N, K), NaN where it has no answer: the votes; for a panel also the published distribution, and calibrated on other items."""
    answers = arm.answers
    missing = ~answers.answered
    kinds = {RAW: np.where(missing[:, None], np.nan, answers.shares)}
    if arm.role == "panel" and not answers.is_stated:
        kinds[PUBLISHED] = answers.fitted
        if has_scales(space) and answers.answered.sum() >= _LEAST_TO_CALIBRATE:
            kinds[CALIBRATED] = np.where(
                missing[:, None], np.nan, calibrated(answers.votes, counts, groups, space, seed)
            )
    return kinds


def calibrated(votes: Floats, counts: Floats, groups: Sequence[str], space: LabelSpace, seed: int) -> Floats:
    """The panel's votes (N, K), read by what people said of other items: in four folds of prompts, the measurement model of three and people's counts (N, K) there tell what the votes mean in the fourth."""
    own, _ = learn_prior(votes, space, FAMILY)
    fold = folds(groups, FOLDS, seed)
    found = np.full_like(counts, np.nan)
    for k in np.unique(fold):
        known = np.where((fold != k)[:, None], counts, 0.0)
        reading = Reading.learn(votes, own, known, space)
        mine = np.flatnonzero(fold == k)
        found[mine] = reading.instrument.predict(votes[mine], np.zeros_like(votes[mine]), reading.prior, space)
    return found


def _arm(
    arm: Asked,
    kinds: Mapping[str, Floats],
    crowd: Crowd,
    counts: Floats,
    space: LabelSpace,
    draw: Resamples,
    epsilon: float,
    seed: int,
) -> ArmFindings:
    answers, shown = arm.answers, published(kinds)
    items = int(answers.answered.sum())
    dollars = answers.cost / items if answers.cost and items else None
    calls = answers.asked / max(items, 1)
    variance = answers.variance.components if answers.variance else None
    effect = variance.effect("persona") if variance else None
    label = np.where(answers.answered, np.nan_to_num(shown).argmax(axis=1), -1)
    has_intervals = PUBLISHED in kinds
    return ArmFindings(
        name=arm.name,
        role=arm.role,
        panel=arm.panel,
        elicitation=arm.elicitation,
        models=answers.models,
        personas=len(answers.attributes),
        calls=answers.asked,
        labels=answers.ok,
        cost=answers.cost,
        items=items,
        means=mean_and_spread(
            shown,
            counts,
            space,
            draw,
            low=answers.low if has_intervals else None,
            high=answers.high if has_intervals else None,
            seed=seed,
        ),
        worth={
            kind: {
                "mean": worth_of_mean(p, counts, space, draw, dollars=dollars, calls=calls),
                "distribution": worth_of_distribution(p, counts, space, draw, dollars=dollars, calls=calls),
            }
            for kind, p in kinds.items()
        },
        pairwise=pairwise_calibration(shown, counts, crowd.groups, space, level=draw.level, seed=seed),
        groups=tuple(_groups(arm, crowd, space, draw, seed)) if arm.role == "panel" and not answers.is_stated else (),
        variance=tuple(sentences(variance)) if variance and arm.role == "panel" else (),
        above_noise=None if variance is None or effect is None else not warns(variance) and bool(effect.beyond_noise),
        alternative=alternative_annotator(label, crowd.ratings, space, ordinal=has_scales(space), epsilon=epsilon)
        if crowd.named
        else None,
        positions=dict(arm.positions),
        identity=dict(arm.identity),
    )


def _groups(arm: Asked, crowd: Crowd, space: LabelSpace, draw: Resamples, seed: int) -> list[ByGroup]:
    """One finding for every attribute that personas and people share."""
    personas = arm.answers.attributes
    found = []
    for ours, theirs in shared_attributes(personas, crowd.attributes).items():
        of_persona = {id_: known.get(ours) for id_, known in personas.items()}
        of_rater = {id_: known.get(theirs) for id_, known in crowd.attributes.items()}
        one = by_group(ours, arm.answers.ratings, of_persona, crowd.ratings, of_rater, space, draw, seed=seed)
        if one:
            found.append(one)
    return found


def _notes(crowd: Crowd, counts: Floats, asked: Sequence[Asked], *, tested: bool) -> list[str]:
    notes = []
    if crowd.named and not tested:
        notes.append(
            f"Nobody judged {LEAST_ITEMS} of these items with two other people: no alternative annotator test."
        )
    if not crowd.named:
        notes.append(
            "The set does not say who judged, so nothing is said by group, and the alternative annotator test needs raters."
        )
    if len(crowd) < 50:
        notes.append(f"{len(crowd)} items: intervals are wide. 200 or more tell panels apart.")
    if (per := counts.sum(axis=1)).mean() < 4:
        notes.append(
            f"{per.mean():.1f} people an item: half of them is hardly more than one, so the floor is high; the whole crowd is an estimate."
        )
    for arm in asked:
        left = len(crowd) - int(arm.answers.answered.sum())
        if left:
            notes.append(f"{arm.name}: {left} of {len(crowd)} items have no answer; its figures are of the others.")
    return notes
