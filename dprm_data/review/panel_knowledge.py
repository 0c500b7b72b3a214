"""What a run's panel and people's answers so far say about its items: the start of a plan, and of a choice of items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dprm_data.core.arrays import Floats, Ints
from dprm_data.core.errors import InputError, ReviewError
from dprm_data.ingest.votes import item_codes, label_codes, votes_from_annotations
from dprm_data.labels.space import LabelSpace
from dprm_data.preference.instrument import LITERAL, Instrument, has_scales
from dprm_data.preference.prior import Prior
from dprm_data.preference.rater_units import components
from dprm_data.preference.shared_error import SHARED, people_worth
from dprm_data.review.answer_gain import Knowledge
from dprm_data.review.calibrate import LEAST_ITEMS, LEAST_PEOPLE
from dprm_data.review.human_annotations import submitted
from dprm_data.review.read_panel import Reading, own_prior
from dprm_data.review.records import PanelView
from dprm_data.runs.panel_worth import assumed_error

if TYPE_CHECKING:
    from dprm_data.runs.run import Run

MOST = 20_000  # items that are looked at; of more, a random choice


@dataclass(frozen=True)
class PanelKnowledge:
    """`knowledge` of the items `rows` (n,) of the fit. `learned`: whether the measurement model was learned from people's answers, else its defaults are assumed. `answered` (n,): people's answers
    so far; `reviewers`: by how many people; `taste`: the variance of the mean due to these people, 0 if it is not known."""

    knowledge: Knowledge
    rows: Ints
    learned: bool
    answered: Ints
    reviewers: int
    taste: float


def panel_knowledge(run: Run, view: PanelView) -> PanelKnowledge:
    """What is known of a run's items. Makes no call. Raises `InputError` for labels without an order, `ReviewError` for a run of people's ratings only.

    The measurement model is learned from people's answers (as by `review calibrate`) if there are enough, else it is the default: no known bias, and the assumed shared error.
    """
    space = run.space
    if not run.asks_models:
        raise ReviewError(f"{run.folder} has ratings by people only: no panel to learn about from more answers")
    if not has_scales(space):
        raise InputError(
            f"label space {space.name!r} has no order (no axes, or tied rewards): the gain of an answer cannot be estimated",
            hint="Choose items with --select uncertain, or give the label space axes.",
        )
    votes, answers = view.fit.votes, submitted(run.folder)
    people = votes_from_annotations(answers, space, item_ids=votes.item_ids).counts
    answered = people.sum(axis=1).astype(np.int64)
    persons = len(set(answers["annotator_id"].to_pylist()))
    own = own_prior(view.fit, space)
    learned = int((answered > 0).sum()) >= LEAST_ITEMS and persons >= LEAST_PEOPLE
    rows = _looked_at(answered)
    error = assumed_error(view.annotations, space)
    knowledge = known_of(votes.counts, own, people, space, learned=learned, rows=rows, error=error)
    taste = 0.0
    if learned:
        _, item = item_codes(answers["item_id"], None)
        _, person = item_codes(answers["annotator_id"], None)
        reward = space.rewards[label_codes(answers["label"], space, "answers")]
        share = np.bincount(person) / len(person)
        taste = components(reward, item, person).between * float(share @ share)
    return PanelKnowledge(knowledge, rows, learned, answered[rows], persons, taste)


def known_of(
    panel: Floats,
    own: Prior,
    people: Floats,
    space: LabelSpace,
    *,
    learned: bool,
    rows: Ints | None = None,
    error: float = SHARED,
) -> Knowledge:
    """From the panel's votes (N, K) with their prior, and people's answers (N, K), of these rows. learned: learn the measurement model from them, else it is the default with this shared error."""
    if learned:
        found = Reading.learn(panel, own, people, space)
        instrument, prior = found.instrument, found.prior
    else:
        totals = panel.sum(axis=1)
        typical = float(np.median(totals[totals > 0])) if totals.any() else 1.0
        worth = float(people_worth(typical, error))
        bends = np.tile(LITERAL, (len(own.parts), 1))
        instrument, prior = Instrument(bends, worth, worth, worth, typical, 0, 0, own), own
    at = np.arange(len(panel)) if rows is None else rows
    return Knowledge.of(instrument, prior, panel[at], people[at], space)


def order_of_gain(run: Run, view: PanelView, count: int, each: int) -> Ints:
    """Rows of the fit: the `count` items, or all that there are, on which `each` people's answers lower the expected error most, the best first."""
    found = panel_knowledge(run, view)
    return np.asarray(found.rows[found.knowledge.chosen(count, each, np.ones(len(found.rows), dtype=bool))])


def _looked_at(answered: Ints) -> Ints:
    if len(answered) <= MOST:
        return np.arange(len(answered))
    rest = np.flatnonzero(answered == 0)
    known = np.flatnonzero(answered > 0)
    drawn = np.random.default_rng(0).choice(rest, max(min(MOST - len(known), len(rest)), 0), replace=False)
    return np.sort(np.concatenate([known, drawn]))
