"""The scheduler: which task comes next.

Items are opened one after the other, and only when nothing else is ready, so that few are open at a time however many there are. The first
task of an item goes ahead alone; when it is done, the provider's cache holds what the item's calls share, and the others follow.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from dprm_data.elicit.elicitation import Outcome
from dprm_data.engine.coordinator import Lease
from dprm_data.engine.replay import TaskState
from dprm_data.ingest.items import Item


@dataclass(frozen=True, slots=True)
class ReadyItem:
    """An item that misses something. settled: its tasks that need no call; missing: those that do; lease: where there are other workers."""

    item: Item
    settled: list[TaskState]
    missing: list[TaskState]
    lease: Lease | None = None


@dataclass(frozen=True, slots=True)
class Pause:
    """There is nothing to open for this long, or until an item is closed."""

    seconds: float


@dataclass(slots=True, eq=False)
class OpenItem:
    """An item with tasks that still need calls.

    settled: its tasks that need none; waiting: those whose turn has not come (early stopping may leave them out); following: those that
    follow when the one that went ahead is done; under_way: how many make calls; replayed: how many needed no call from the beginning;
    lost: its lease is.
    """

    item: Item
    settled: list[TaskState]
    waiting: deque[TaskState]
    lease: Lease | None = None
    following: list[TaskState] = field(default_factory=list)
    under_way: int = 0
    replayed: int = 0
    lost: bool = False

    @property
    def outcomes(self) -> list[Outcome]:
        """Of the tasks that have ended."""
        return [state.outcome for state in self.settled if state.outcome]


class Scheduler:
    """Hands out tasks, and takes them back when they are done.

    items: opens the next item; it may yield None to let others have a turn, and a `Pause`. closed: called with every item that has nothing
    left to ask; lost: with every item that has gone to another worker. round_size: how many tasks of an item are asked before it is
    called again: None for all that are left, 0 for no more.
    """

    def __init__(
        self,
        items: Iterator[ReadyItem | Pause | None],
        *,
        closed: Callable[[OpenItem], None],
        lost: Callable[[OpenItem], None] = lambda item: None,
        round_size: Callable[[OpenItem], int | None] = lambda item: None,
    ) -> None:
        self._items = items
        self._closed = closed
        self._lost = lost
        self._paused_until = 0.0
        self._round_size = round_size
        self._ready: deque[tuple[OpenItem, TaskState]] = deque()
        self._open_items = 0
        self.exhausted = False  # no further items

    @property
    def finished(self) -> bool:
        """Whether everything is done."""
        return self.exhausted and not self._open_items

    @property
    def paused_for(self) -> float:
        """Seconds for which nothing can be opened, unless an item is closed before then."""
        return max(0.0, self._paused_until - time.monotonic()) if self._paused_until else 0.0

    def next(self) -> tuple[OpenItem, TaskState] | None:
        """The next task to make calls for; None where there is none just now: `exhausted` says whether only tasks under way can bring
        more, `paused_for` for how long."""
        while not self._ready and not self.exhausted and not self.paused_for:
            try:
                found = next(self._items)
            except StopIteration:
                self.exhausted = True
                return None
            if found is None:
                return None
            if isinstance(found, Pause):
                self._paused_until = time.monotonic() + found.seconds
            else:
                self._open(OpenItem(found.item, found.settled, deque(found.missing), found.lease))
        return self._ready.popleft() if self._ready else None

    def _open(self, item: OpenItem) -> None:
        self._open_items += 1
        item.replayed = len(item.settled)
        self._next_round(item, ahead=not item.settled)

    def through(self, item: OpenItem, state: TaskState) -> None:
        """This task needs no further call, or the item is lost."""
        item.under_way -= 1
        if state.outcome:
            item.settled.append(state)
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
        states = [item.waiting.popleft() for _ in range(count)]
        if not states:
            self._leave(item, self._closed)
        elif ahead:
            item.following = states[1:]
            self._release(item, states[:1])
        else:
            self._release(item, states)

    def _leave(self, item: OpenItem, callback: Callable[[OpenItem], None]) -> None:
        self._open_items -= 1
        self._paused_until = 0.0
        callback(item)

    def _release(self, item: OpenItem, states: Sequence[TaskState]) -> None:
        item.under_way += len(states)
        self._ready.extend((item, state) for state in states)
