"""The scheduler: decides which task comes next.

It opens items one by one, and only when nothing else is ready, so that few are open at a time. The first task of an item goes ahead alone;
once it is done, the provider's cache holds the item's shared prefix, and the other tasks follow.
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
    """An item with missing calls. settled: its tasks that need no call; missing: those that do; lease: if there are other workers."""

    item: Item
    settled: list[TaskState]
    missing: list[TaskState]
    lease: Lease | None = None


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing can be opened for this long, unless an item is closed before."""

    seconds: float


@dataclass(slots=True, eq=False)
class OpenItem:
    """An item with tasks that still need calls.

    settled: tasks that need no more calls; waiting: tasks not released yet (early stopping may leave them out); following: tasks to release
    once the one that went ahead is done; under_way: the number of tasks released and not done; replayed: the number of tasks that needed
    no call at all; lost: whether the lease is lost.
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
        """The outcomes of the tasks that have ended."""
        return [state.outcome for state in self.settled if state.outcome]


class Scheduler:
    """Hands out tasks, and takes them back when they are done.

    items: yields the next item, None to let other coroutines run, or a `Pause`. closed: called with every item that needs no further call.
    lost: called with every item that another worker has taken. round_size: returns how many of an item's tasks to release before it is
    called again: None for all, 0 for no more. may_begin: whether a task may be handed out now; others are held until one is done.
    """

    def __init__(
        self,
        items: Iterator[ReadyItem | Pause | None],
        *,
        closed: Callable[[OpenItem], None],
        lost: Callable[[OpenItem], None] = lambda item: None,
        round_size: Callable[[OpenItem], int | None] = lambda item: None,
        may_begin: Callable[[TaskState], bool] = lambda state: True,
    ) -> None:
        self._items = items
        self._closed = closed
        self._lost = lost
        self._paused_until = 0.0
        self._round_size = round_size
        self._may_begin = may_begin
        self._ready: deque[tuple[OpenItem, TaskState]] = deque()
        self._open_items = 0
        self.exhausted = False  # no further items

    @property
    def finished(self) -> bool:
        """Whether all items are closed or lost."""
        return self.exhausted and not self._open_items

    @property
    def ready(self) -> int:
        """How many tasks can be taken at once."""
        return len(self._ready)

    @property
    def paused_for(self) -> float:
        """For how many seconds nothing can be opened, unless an item is closed before."""
        return max(0.0, self._paused_until - time.monotonic()) if self._paused_until else 0.0

    def next(self) -> tuple[OpenItem, TaskState] | None:
        """The next task to make calls for; None if there is none at present. Then, if `exhausted`, only tasks under way can bring more;
        otherwise ask again after `paused_for` seconds."""
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
        return self._take_ready()

    @property
    def holding(self) -> bool:
        """Whether tasks are ready that may not begin yet."""
        return bool(self._ready)

    def _take_ready(self) -> tuple[OpenItem, TaskState] | None:
        for place, (_, state) in enumerate(self._ready):
            if self._may_begin(state):
                found = self._ready[place]
                del self._ready[place]
                return found
        return None

    def _open(self, item: OpenItem) -> None:
        self._open_items += 1
        item.replayed = len(item.settled)
        self._next_round(item, ahead=not item.settled)

    def through(self, item: OpenItem, state: TaskState) -> None:
        """Take back a task that needs no further call, or whose item is lost."""
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
