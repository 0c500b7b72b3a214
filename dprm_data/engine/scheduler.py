"""The agenda: which call comes next.

Items are opened one after the other, and only when nothing else is ready, so that few are open at a time however many there are. The first
course of an item goes ahead alone; when it is through, the provider's cache holds what the item's calls share, and the others follow.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from dprm_data.elicit.elicitation import Outcome
from dprm_data.engine.coordinator import Lease
from dprm_data.engine.replay import Course
from dprm_data.ingest.items import Item


@dataclass(frozen=True, slots=True)
class Opened:
    """An item that misses something: courses that need no call, and those that do; lease: where there are other workers."""

    item: Item
    settled: list[Course]
    missing: list[Course]
    lease: Lease | None = None


@dataclass(frozen=True, slots=True)
class Rest:
    """There is nothing to be opened for so many seconds, or until an item is closed."""

    seconds: float


@dataclass(slots=True, eq=False)
class OpenItem:
    """An item with courses that still need calls.

    settled: its courses that need none; waiting: those whose turn has not come (if early stop lets it come); following: those that
    follow when the one that went ahead is through; replayed: how many needed no call from the beginning; lost: its lease is.
    """

    item: Item
    settled: list[Course]
    waiting: deque[Course]
    lease: Lease | None = None
    following: list[Course] = field(default_factory=list)
    under_way: int = 0
    replayed: int = 0
    lost: bool = False

    @property
    def outcomes(self) -> list[Outcome]:
        """Of the courses that are at their end."""
        return [course.outcome for course in self.settled if course.outcome]


class Agenda:
    """Hands out courses, and takes them back when they are through.

    items: opens the next item; it may yield None to let others have a turn, and a `Rest`. closed: told of every item with nothing left to
    ask; lost: of every item that has gone to another worker. How many courses of an item are asked before the next decision is
    `round_size`'s to say: None for all that are left, 0 for no more.
    """

    def __init__(
        self,
        items: Iterator[Opened | Rest | None],
        *,
        closed: Callable[[OpenItem], None],
        lost: Callable[[OpenItem], None] = lambda item: None,
        round_size: Callable[[OpenItem], int | None] = lambda item: None,
    ) -> None:
        self._items = items
        self._closed = closed
        self._lost = lost
        self._rest_until = 0.0
        self._round_size = round_size
        self._ready: deque[tuple[OpenItem, Course]] = deque()
        self._open_items = 0
        self.exhausted = False  # no further items

    @property
    def finished(self) -> bool:
        """Whether everything is through."""
        return self.exhausted and not self._open_items

    @property
    def resting(self) -> float:
        """Seconds for which nothing can be opened, unless an item is closed before."""
        return max(0.0, self._rest_until - time.monotonic()) if self._rest_until else 0.0

    def next(self) -> tuple[OpenItem, Course] | None:
        """The next course to be pursued; None where there is none just now: `exhausted` says whether only courses under way can
        bring more, `resting` for how long."""
        while not self._ready and not self.exhausted and not self.resting:
            try:
                found = next(self._items)
            except StopIteration:
                self.exhausted = True
                return None
            if found is None:
                return None
            if isinstance(found, Rest):
                self._rest_until = time.monotonic() + found.seconds
            else:
                self._open(OpenItem(found.item, found.settled, deque(found.missing), found.lease))
        return self._ready.popleft() if self._ready else None

    def _open(self, item: OpenItem) -> None:
        self._open_items += 1
        item.replayed = len(item.settled)
        self._next_round(item, ahead=not item.settled)

    def through(self, item: OpenItem, course: Course) -> None:
        """This course needs no further call, or the item is lost."""
        item.under_way -= 1
        if course.outcome:
            item.settled.append(course)
        if item.lost:
            if not item.under_way:
                self._leave(item, self._lost)
            return
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
            self._leave(item, self._closed)
        elif ahead:
            item.following = courses[1:]
            self._release(item, courses[:1])
        else:
            self._release(item, courses)

    def _leave(self, item: OpenItem, told: Callable[[OpenItem], None]) -> None:
        self._open_items -= 1
        self._rest_until = 0.0
        told(item)

    def _release(self, item: OpenItem, courses: Sequence[Course]) -> None:
        item.under_way += len(courses)
        self._ready.extend((item, course) for course in courses)
