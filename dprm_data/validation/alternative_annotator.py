"""The alternative annotator test: may the panel take the place of one of the people?

For every person j and every item i that they judged together with two others or more, the panel's label and the person's are compared with the labels of the others: whichever is closer to
them wins (both, in a tie). Closeness is minus the root mean squared difference of rewards, or the share of equal labels where labels have no order. With w_p, w_j the shares of items that
the panel and the person win, the panel is as good as the person, but for ε, if w_p > w_j - ε: a one-sided t-test on the items' differences. Over all people, false discoveries are
controlled at 5 % under any dependence (Benjamini & Yekutieli 2001). The panel passes if it is as good as half of the people or more (*winning rate* ≥ 0.5).

`advantage` is the mean of w_p over people: the chance that the panel is at least as close to the others as one of them.

ε says how much worse the panel may be for being cheaper: 0.1 for crowd workers, 0.15 for trained ones, 0.2 for experts. People with fewer than 30 such items are left out.

Source: Calderon, Reichart & Dror, The Alternative Annotator Test for LLM-as-a-Judge (arXiv 2501.10970).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dprm_data.core.arrays import Floats, Ints
from dprm_data.ingest.ratings import Ratings
from dprm_data.labels.space import LabelSpace

EPSILON = 0.1
RATE = 0.05
LEAST_ITEMS = 30
_LEAST_OTHERS = 2


@dataclass(frozen=True)
class AlternativeAnnotator:
    """people: with enough items; winning_rate: of them, whom the panel may replace; advantage: see the module; items: of the median person."""

    epsilon: float
    people: int
    items: int
    winning_rate: float
    advantage: float

    @property
    def passed(self) -> bool:
        return self.winning_rate >= 0.5


def alternative_annotator(
    label: Ints, people: Ratings, space: LabelSpace, *, ordinal: bool = True, epsilon: float = EPSILON
) -> AlternativeAnnotator | None:
    """label (N,): the panel's label of every item, -1 for none. None where no two people can be told apart, or nobody has 30 items with two others."""
    if len(people.annotator_ids) < 3 or not len(people.annotator):
        return None
    value = space.rewards if ordinal else np.arange(space.K, dtype=np.float64)
    found = [
        tested
        for person in range(len(people.annotator_ids))
        if (tested := _against(person, label, people, value, ordinal, epsilon)) is not None
    ]
    if not found:
        return None
    advantages, p_values, sizes = (np.array(column) for column in zip(*found, strict=True))
    return AlternativeAnnotator(
        epsilon,
        len(found),
        int(np.median(sizes)),
        float(rejected(p_values).mean()),
        float(advantages.mean()),
    )


def rejected(p_values: Floats, rate: float = RATE) -> Ints:
    """Which hypotheses the procedure of Benjamini and Yekutieli rejects (1) and which not (0)."""
    m = len(p_values)
    order = np.argsort(p_values, kind="stable")
    bound = np.arange(1, m + 1) * rate / (m * (1.0 / np.arange(1, m + 1)).sum())
    below = np.flatnonzero(p_values[order] <= bound)
    decided = np.zeros(m, dtype=np.int64)
    if len(below):
        decided[order[: below[-1] + 1]] = 1
    return decided


def _against(
    person: int, label: Ints, people: Ratings, value: Floats, ordinal: bool, epsilon: float
) -> tuple[float, float, int] | None:
    """The panel's share of wins over one person, the p-value, and the number of items; None with too few."""
    from scipy.stats import ttest_1samp

    mine = np.flatnonzero((people.annotator == person) & (people.replicate == 0))
    items, first = np.unique(people.item[mine], return_index=True)
    own = np.full(len(label), -1, dtype=np.int64)
    own[items] = people.label[mine[first]]
    others = people.annotator != person
    item, theirs = people.item[others], people.label[others]
    count = np.bincount(item, minlength=len(label))
    kept = (own >= 0) & (label >= 0) & (count >= _LEAST_OTHERS)
    if kept.sum() < LEAST_ITEMS:
        return None

    def closeness(labels: Ints) -> Floats:
        a, b = value[np.maximum(labels, 0)][item], value[theirs]
        far = (a - b) ** 2 if ordinal else (a != b).astype(np.float64)
        mean = np.bincount(item, weights=far, minlength=len(label)) / np.maximum(count, 1)
        return -np.sqrt(mean) if ordinal else -mean

    panel, one = closeness(label)[kept], closeness(own)[kept]
    wins, losses = (panel >= one - 1e-12).astype(np.float64), (one >= panel - 1e-12).astype(np.float64)
    difference = losses - wins
    if difference.std() == 0:
        p = 0.0 if difference[0] < epsilon else 1.0
    else:
        p = float(ttest_1samp(difference, epsilon, alternative="less").pvalue)
    return float(wins.mean()), p, int(kept.sum())
