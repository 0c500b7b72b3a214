"""The scale of a survey's questions. A panel judges on one label space, and each question has options of its own; so the questions with the same options are read."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from dprm_data.core.errors import VotesError
from dprm_data.core.text import one_line
from dprm_data.ingest.named_sets.scales import choices, steps
from dprm_data.ingest.named_sets.vote_rows import VoteRows
from dprm_data.labels.space import LabelSpace

# What stands for the response in an item: a survey has none, the person answers themselves.
OWN_ANSWER = "(The answer that this person would give to the question themselves.)"
_NO_ANSWER = re.compile(r"(refused|no answer|missing|not asked|not applicable|dk|don['’]t know|do not know)\b", re.I)
_SHOWN = 5  # scales that a message lists


def is_answer(option: str) -> bool:
    """Whether an option says something, other than "Refused" or "Don't know"."""
    return not _NO_ANSWER.match(option.strip())


@dataclass(frozen=True)
class Options:
    """The answers of a question, in its order. ordinal: where each is on a line, where the survey says so."""

    names: tuple[str, ...]
    ordinal: tuple[float, ...] | None = None

    @classmethod
    def of(cls, options: Sequence[str], ordinal: Sequence[Any] | None = None) -> Options:
        """Without those that are no answers. ordinal: for those that are."""
        names = tuple(option.strip() for option in options if is_answer(option))
        places = tuple(float(place) for place in ordinal or () if isinstance(place, int | float))
        return cls(names, places if len(places) == len(names) else None)

    @property
    def words(self) -> str:
        return " | ".join(self.names)

    def labels(self) -> LabelSpace:
        """Steps in the order of `ordinal` (or of the question), or choices, where the survey says that there is no order."""
        description = f"The answers to a question of a survey: {self.words}."
        places = self.ordinal or tuple(range(1, len(self.names) + 1))
        if len(set(places)) < len(places):
            return choices("survey", description, dict.fromkeys(self.names, ""))
        placed = sorted(zip(places, self.names, strict=True))
        return steps("survey", description, [name for _, name in placed], rewards=[place for place, _ in placed])


def choose_scale(votes: VoteRows, asked: Iterable[Options]) -> tuple[str, ...]:
    """The options that the questions to be read have: those that the user wants (`votes.scale`), else those that most questions have. Sets
    `votes.labels`, and notes which part of the questions that is. asked: one for each question. Raises `VotesError`."""
    found = [each for each in asked if len(each.names) > 1 and len({name.casefold() for name in each.names}) == len(each.names)]  # fmt: skip
    times = Counter(each.names for each in found)
    wanted = None if votes.scale is None else [part.strip().casefold() for part in votes.scale.split("|")]
    matching = [names for names, _ in times.most_common() if wanted in (None, [name.casefold() for name in names])]
    common = "; ".join(f"{one_line(' | '.join(names), 120)} ({n:,})" for names, n in times.most_common(_SHOWN))
    if not matching:
        raise VotesError(
            f"no question has the options {votes.scale!r}" if votes.scale else "no question with options was found",
            hint=f"The most frequent options, with how many questions have them: {common}." if common else None,
        )
    first = next(each for each in found if each.names == matching[0])
    votes.labels = first.labels()
    votes.notes.append(
        f"{times[first.names]:,} of {len(found):,} questions are read, those with the options {first.words}; "
        f"the most frequent options (scale): {common}"
    )
    return first.names
