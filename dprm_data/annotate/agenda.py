"""The agenda: which call comes next.

Items are opened one after the other, and only when nothing else is ready, so that few are open at a time however many there are. The first
course of an item goes ahead alone; when it is through, the provider's cache holds what the item's calls share, and the others follow.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from dprm_data.annotate.elicitation import Outcome
from dprm_data.annotate.replay import Course
from dprm_data.items import Item


@dataclass(slots=True, eq=False)
class OpenItem:
    """An item with courses that still need calls.

    settled: its courses that need none; waiting: those whose turn has not come (if early stop lets it come); following: those that
    follow when the one that went ahead is through.
    """

    item: Item
    settled: list[Course]
    waiting: deque[Course]
    following: list[Course] = field(default_factory=list)
    under_way: int = 0

    @property
    def outcomes(self) -> list[Outcome]:
        """Of the courses that are at their end."""
        return [course.outcome for course in self.settled if course.outcome]


Opened = tuple[Item, list[Course], list[Course]]  # settled courses, courses that need calls


class Agenda:
    """Hands out courses, and takes them back when they are through.

    items: opens the next item, with the courses that need no call and those that do; it may yield None to let others have a turn.
    closed: told of every item with nothing left to ask. How many courses of an item are asked before the next decision is
    `round_size`'s to say: None for all that are left, 0 for no more.
    """

    def __init__(
        self,
        items: Iterator[Opened | None],
        *,
        closed: Callable[[OpenItem], None],
        round_size: Callable[[OpenItem], int | None] = lambda item: None,
    ) -> None:
        self._items = items
        self._closed = closed
        self._round_size = round_size
        self._ready: deque[tuple[OpenItem, Course]] = deque()
        self._open_items = 0
        self.exhausted = False  # no further items

    @property
    def finished(self) -> bool:
        """Whether everything is through."""
        return self.exhausted and not self._open_items

    def next(self) -> tuple[OpenItem, Course] | None:
        """The next course to be pursued; None where there is none just now: `exhausted` says whether only courses under way can
        bring more."""
        while not self._ready and not self.exhausted:
            try:
                found = next(self._items)
            except StopIteration:
                self.exhausted = True
                return None
            if found is None:
                return None
            self._open(OpenItem(found[0], found[1], deque(found[2])))
        return self._ready.popleft() if self._ready else None

    def _open(self, item: OpenItem) -> None:
        self._open_items += 1
        self._next_round(item, ahead=not item.settled)

    def through(self, item: OpenItem, course: Course) -> None:
        """This course needs no further call."""
        item.under_way -= 1
        item.settled.append(course)
        if item.following:
            self._release(item, item.following)
            item.following = []
        if not item.under_way:
            self._next_round(item, ahead=False)

    def _next_round(self, item: OpenItem, *, ahead: bool) -> None:
        size = self._round_size(item) if item.waiting else 0
        count = len(item.waiting) if size is None else min(size, len(item.waiting))
        courses = [item.waiting.popleft() for _ in range(count)]
        if not courses:
            self._open_items -= 1
            self._closed(item)
        elif ahead:
            item.following = courses[1:]
            self._release(item, courses[:1])
        else:
            self._release(item, courses)

    def _release(self, item: OpenItem, courses: Sequence[Course]) -> None:
        item.under_way += len(courses)
        self._ready.extend((item, course) for course in courses)
