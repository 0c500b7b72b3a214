"""Replay: how far each task has come, by what the ledger holds. No call is made here."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from dprm_data.elicit.elicitation import Outcome, Task
from dprm_data.elicit.work import Work
from dprm_data.ingest.items import Item
from dprm_data.ledger.call import Call, Reply
from dprm_data.ledger.ledger import Ledger

_ITEMS_AT_A_TIME = 64

T = TypeVar("T")


@dataclass(slots=True)
class TaskState:
    """A task with its calls and replies so far; `step` is the call that it waits for, or its outcome."""

    task: Task
    step: Call | Outcome
    calls: list[Call] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    begun_anew: bool = False  # what the ledger holds about it failed, and is not looked at
    is_repeat: bool = False  # another task of the item asks the very same: its reply will be there

    @classmethod
    def start(cls, task: Task) -> TaskState:
        return cls(task, task.next(()))

    def take(self, reply: Reply) -> None:
        """Go on with the reply to the call that was waited for."""
        assert isinstance(self.step, Call)
        self.calls.append(self.step)
        self.replies.append(reply)
        self.step = self.task.next(self.replies)

    def anew(self) -> TaskState:
        """The same task from its beginning."""
        return TaskState(self.task, self.task.next(()), begun_anew=True)

    @property
    def outcome(self) -> Outcome | None:
        return self.step if isinstance(self.step, Outcome) else None

    @property
    def waits_for(self) -> Call | None:
        return self.step if isinstance(self.step, Call) else None


def advance(tasks: Iterable[Task], ledger: Ledger) -> list[TaskState]:
    """Take every task as far as the ledger's replies lead."""
    states = [TaskState.start(task) for task in tasks]
    going = states
    while going:
        found = ledger.find([state.step.key for state in going if isinstance(state.step, Call)])
        went: list[TaskState] = []
        for state in going:
            reply = found.get(state.step.key) if isinstance(state.step, Call) else None
            if reply:
                state.take(reply)
                if state.waits_for:
                    went.append(state)
        going = went
    return states


def replay(work: Work, ledger: Ledger, items: Iterable[Item]) -> Iterator[tuple[Item, Sequence[TaskState]]]:
    """Every item with its tasks, a few items in memory at a time."""
    for some in chunks(items, _ITEMS_AT_A_TIME):
        yield from zip(some, states_of(work, ledger, some), strict=True)


def states_of(work: Work, ledger: Ledger, items: Sequence[Item]) -> Iterator[list[TaskState]]:
    """The tasks of each of these items, as far as the ledger's replies lead."""
    tasks = [work.tasks(item) for item in items]
    states = iter(advance(itertools.chain.from_iterable(tasks), ledger))
    for some in tasks:
        yield list(itertools.islice(states, len(some)))


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """The items in lists of `size`; the last may be shorter."""
    items = iter(items)
    while chunk := list(itertools.islice(items, size)):
        yield chunk


def row_id(item: Item) -> bytes:
    """An item's id as the ledger keeps it."""
    return item.item_id.encode()
