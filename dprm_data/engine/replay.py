"""Replay: advances every task as far as the ledger's replies allow. Makes no call."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from dprm_data.elicit.elicitation import Outcome, Task
from dprm_data.elicit.work import Work
from dprm_data.ingest.items import Item
from dprm_data.ledger.call import Call, Reply
from dprm_data.ledger.ledger import Ledger

_ITEMS_AT_A_TIME = 64
_MOST_TEXT = 1_000_000  # characters of an answer that are parsed: more than any model writes

T = TypeVar("T")


@dataclass(slots=True)
class TaskState:
    """A task's progress: its calls and replies so far. step: the next call, or the outcome."""

    task: Task
    step: Call | Outcome
    calls: list[Call] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    is_restart: bool = False  # it failed before: the ledger's replies are ignored
    is_repeat: bool = False  # another task of the item makes the same call, and will leave its reply in the ledger

    @classmethod
    def start(cls, task: Task) -> TaskState:
        return cls(task, task.next(()))

    def take(self, reply: Reply) -> None:
        """Advance by the reply to the next call."""
        assert isinstance(self.step, Call)
        self.calls.append(self.step)
        self.replies.append(reply if len(reply.text) <= _MOST_TEXT else replace(reply, text=reply.text[:_MOST_TEXT]))
        self.step = self.task.next(self.replies)

    def restart(self) -> TaskState:
        """The same task from its start, ignoring the ledger's replies."""
        return TaskState(self.task, self.task.next(()), is_restart=True)

    @property
    def outcome(self) -> Outcome | None:
        return self.step if isinstance(self.step, Outcome) else None

    @property
    def so_far(self) -> Outcome | None:
        """The outcome if nobody asks further: that of an answer that was cut off, and was not asked for again (older versions did not)."""
        if self.outcome or not self.replies or self.replies[-1].finish != "length":
            return self.outcome
        return self.task.elicitation.cut_off(self.replies[-1])

    @property
    def next_call(self) -> Call | None:
        return self.step if isinstance(self.step, Call) else None


def advance(tasks: Iterable[Task], ledger: Ledger) -> list[TaskState]:
    """Advance every task as far as the ledger's replies allow."""
    states = [TaskState.start(task) for task in tasks]
    active = states
    while active:
        replies = ledger.find([state.step.key for state in active if isinstance(state.step, Call)])
        advanced: list[TaskState] = []
        for state in active:
            reply = replies.get(state.step.key) if isinstance(state.step, Call) else None
            if reply:
                state.take(reply)
                if state.next_call:
                    advanced.append(state)
        active = advanced
    return states


def replay(work: Work, ledger: Ledger, items: Iterable[Item]) -> Iterator[tuple[Item, Sequence[TaskState]]]:
    """Yield every item with its tasks. Holds a few items in memory at a time."""
    for chunk in chunks(items, _ITEMS_AT_A_TIME):
        yield from zip(chunk, task_states(work, ledger, chunk), strict=True)


def task_states(work: Work, ledger: Ledger, items: Sequence[Item]) -> Iterator[list[TaskState]]:
    """Yield the tasks of each item, advanced as far as the ledger's replies allow."""
    tasks = [work.tasks(item) for item in items]
    states = iter(advance(itertools.chain.from_iterable(tasks), ledger))
    for of_item in tasks:
        yield list(itertools.islice(states, len(of_item)))


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Split the items into lists of `size`; the last may be shorter."""
    items = iter(items)
    while chunk := list(itertools.islice(items, size)):
        yield chunk


def row_id(item: Item) -> bytes:
    """An item's id as the ledger stores it."""
    return item.item_id.encode()
