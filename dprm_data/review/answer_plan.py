"""What more human answers would buy: `dprm review plan`. The mathematics is in `answer_gain.py`; makes no call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dprm_data.core.arrays import Ints
from dprm_data.core.errors import InputError
from dprm_data.review.mean import SOURCE, groups_of_items
from dprm_data.review.panel_knowledge import PanelKnowledge, panel_knowledge
from dprm_data.review.records import panel_view
from dprm_data.review.sent_log import SentLog
from dprm_data.runs.panel_worth import worth_sentences

if TYPE_CHECKING:
    from dprm_data.runs.run import Run

DRAWS = 20  # of random items
LISTED = 1_000  # chosen items in the result


@dataclass(frozen=True)
class Expected:
    """The root mean squared error of the items' expected rewards, and the half-width of the interval of their mean."""

    error: float
    half_width: float


@dataclass(frozen=True)
class Purchase:
    """What so many answers, on so many items, are expected to bring."""

    answers: int
    items: int
    at_random: Expected
    chosen: Expected


@dataclass(frozen=True)
class GroupOutlook:
    """A group of items: the half-width of its mean now, after the most answers on random and on chosen items, and how many of the chosen ones' answers fall on it."""

    group: str
    items: int
    half_width: float
    at_random: float
    chosen: float
    answers: int


@dataclass(frozen=True)
class ChosenItem:
    """An item on which answers lower the expected error most: its expected reward and standard error now."""

    item_id: str
    expected_reward: float
    error: float


@dataclass(frozen=True)
class AnswerPlan:
    """`now`, and what each number of answers would buy. people: answers per item. learned: whether people have told enough to learn the panel's error from, else it is assumed; spread: the
    error after the most answers if each is on another item, None if it already is; groups: the widest interval first; chosen: the items for the most answers, the best first."""

    items: int
    answers: int
    reviewers: int
    learned: bool
    people: int
    level: float
    now: Expected
    purchases: list[Purchase]
    spread: float | None
    by: str | None
    groups: list[GroupOutlook]
    chosen: list[ChosenItem]
    worth: str | None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def numbers_of(text: str) -> list[int]:
    """The numbers in `50,100,200`. Raises `InputError`."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(
            f"--answers {text!r}: not a number, nor several with commas between, such as 50,100,200"
        ) from None


def answer_plan(
    run: Run,
    answers: Sequence[int] = (100,),
    *,
    people: int = 3,
    by: str | None = None,
    level: float = 0.9,
    seed: int = 0,
) -> AnswerPlan:
    """What these numbers of further answers would buy, `people` on each item, on random items and on those where they help most. Makes no call.

    by: groups of items, a column of the source's rows or `source`; if not given, the sources if there are several. Raises `InputError` for a number, a column or labels that cannot be used,
    `ReviewError` without a panel.
    """
    if people < 1:
        raise InputError(f"--people {people}: an item needs at least one person")
    if not answers or min(answers) < people:
        raise InputError(
            f"--answers {','.join(map(str, answers))}: each must be at least the {people} answers of one item (--people)"
        )
    view = panel_view(run)
    names, group = groups_of_items(run, by or SOURCE)
    found = panel_knowledge(run, view)
    item_ids = [view.fit.votes.item_ids[int(row)] for row in found.rows]
    sent = SentLog.of(run.folder).chosen
    free = (found.answered == 0) & np.array([item not in sent for item in item_ids], dtype=bool)
    if not free.any():
        raise InputError("every item is under review or answered: there is none left to plan for")
    look = _Look(found, level, free)
    budgets = sorted(set(answers))
    order = found.knowledge.chosen(budgets[-1] // people, people, free)
    drawn = np.random.default_rng(seed)
    draws = [drawn.permutation(np.flatnonzero(free)) for _ in range(DRAWS)]
    purchases = [
        Purchase(
            number,
            min(number // people, len(order)),
            look.mean_of(draws, number, people),
            look.after(order[: number // people], people),
        )
        for number in budgets
    ]
    spread = None
    if people > 1:
        alone = found.knowledge.chosen(budgets[-1], 1, free)
        spread = look.after(alone, 1).error
    if by is None and len(names) < 2:
        names = []
    errors = np.sqrt(found.knowledge.errors())
    return AnswerPlan(
        items=len(view.fit),
        answers=int(found.answered.sum()),
        reviewers=found.reviewers,
        learned=found.learned,
        people=people,
        level=level,
        now=look.after(np.zeros(0, dtype=np.int64), 0),
        purchases=purchases,
        spread=spread,
        by=(by or SOURCE) if names else None,
        groups=look.groups(names, group[found.rows], draws, order, budgets[-1], people),
        chosen=[
            ChosenItem(item_ids[row], float(found.knowledge.reward[row]), float(errors[row]))
            for row in order[:LISTED].tolist()
        ],
        worth=next(iter(worth_sentences(run.folder.read_manifest())), None),
    )


class _Look:
    """Expected errors after answers on some items."""

    def __init__(self, found: PanelKnowledge, level: float, free: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> None:
        from scipy.special import ndtri

        self.found, self.free = found, free
        self.quantile = float(ndtri(0.5 * (1.0 + level)))

    def after(self, rows: Ints, people: int) -> Expected:
        later = self.found.knowledge.after(_on(rows, people, len(self.free)))
        everything = np.arange(len(self.free))
        return Expected(float(np.sqrt(later.errors().mean())), self._half(later.of_mean(everything)))

    def mean_of(self, draws: list[Ints], answers: int, people: int) -> Expected:
        """The same on average over random items."""
        each = [self.after(rows[: answers // people], people) for rows in draws]
        return Expected(
            float(np.sqrt(np.mean([one.error**2 for one in each]))), float(np.mean([one.half_width for one in each]))
        )

    def groups(
        self, names: list[str], group: Ints, draws: list[Ints], order: Ints, answers: int, people: int
    ) -> list[GroupOutlook]:
        now, n = self.found.knowledge, len(self.free)
        chosen = now.after(_on(order, people, n))
        random = [now.after(_on(rows[: answers // people], people, n)) for rows in draws]
        outlooks = []
        for number, name in enumerate(names):
            rows = np.flatnonzero(group == number)
            if len(rows):
                halves = [self._half(one.of_mean(rows)) for one in (now, chosen)]
                at_random = float(np.mean([self._half(one.of_mean(rows)) for one in random]))
                own = people * int(np.isin(order, rows).sum())
                outlooks.append(GroupOutlook(name, len(rows), halves[0], at_random, halves[1], own))
        return sorted(outlooks, key=lambda one: -one.half_width)

    def _half(self, variance: float) -> float:
        return self.quantile * float(np.sqrt(variance + self.found.taste))


def _on(rows: Ints, people: int, items: int) -> Ints:
    answers = np.zeros(items, dtype=np.int64)
    answers[rows] = people
    return answers
