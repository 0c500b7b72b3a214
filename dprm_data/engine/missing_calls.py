"""Missing calls: what batch mode still has to submit, item by item."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping

from dprm_data.elicit.work import Work
from dprm_data.engine.counters import Counters
from dprm_data.engine.early_stopping import RoundPolicy
from dprm_data.engine.pending_batches import PendingBatches
from dprm_data.engine.replay import TaskState, advance, chunks, row_id, task_states
from dprm_data.ingest.items import Item
from dprm_data.ledger.call import Call
from dprm_data.ledger.ledger import Ledger
from dprm_data.providers.request import Request

_LOOK_UP = 500  # items at a time
_RENDERED = 512  # annotations rendered at a time
_CALIBRATION = b"calibration"  # stands for the item id of calibration calls


class MissingCalls:
    """Finds the calls that can be submitted now. Closes and counts items that need no further call."""

    def __init__(
        self,
        work: Work,
        *,
        ledger: Ledger,
        pending: PendingBatches,
        rounds: RoundPolicy,
        counters: Counters,
        retry_failed: bool,
    ) -> None:
        self.postponed = False  # whether the last pass left out items because early stopping is still in its pilot
        self._work = work
        self._plan = work.plan_key()
        self._ledger = ledger
        self._pending = pending
        self._rounds = rounds
        self._counters = counters
        self._retry_failed = retry_failed
        self._passes = 0
        self._opened = 0  # items in this pass
        self._restarted: set[bytes] = set()  # first calls of failed tasks, each restarted once

    def find(self, items: Iterable[Item]) -> Iterator[tuple[bytes, Call]]:
        """One pass over the items: the missing calls, each with its item's id. Items with a call in a pending batch are skipped."""
        self._passes += 1
        self._opened, self.postponed = 0, False
        tasks = advance(self._work.calibration_tasks(), self._ledger)
        calibration = [call for task in tasks if (call := task.next_call)]
        if calibration and not self._pending.holds([_CALIBRATION]):
            yield from ((_CALIBRATION, call) for call in calibration)
        for chunk in chunks(items, _LOOK_UP):
            yield from self._of_chunk(chunk)

    def _of_chunk(self, items: list[Item]) -> Iterator[tuple[bytes, Call]]:
        ids = [row_id(item) for item in items]
        done = set() if self._retry_failed else self._ledger.find_done(self._plan, ids)
        pending = self._pending.holds(ids)
        if self._passes == 1:
            self._counters.skipped(len(done), self._work.annotations_per_item)
        open_items = (item for item in items if row_id(item) not in done and row_id(item) not in pending)
        for batch in chunks(open_items, max(1, _RENDERED // max(1, self._work.annotations_per_item))):
            for item, tasks in zip(batch, task_states(self._work, self._ledger, batch), strict=True):
                yield from self._of_item(item, [self._restart_failed(task) for task in tasks])

    def _of_item(self, item: Item, tasks: list[TaskState]) -> Iterator[tuple[bytes, Call]]:
        settled = [task for task in tasks if task.outcome]
        waiting = [task for task in tasks if task.next_call]
        started = [task for task in waiting if task.replies or task.is_restart]
        fresh = [task for task in waiting if not (task.replies or task.is_restart)]
        if fresh and not started and not self._rounds.may_open(self._opened):
            self.postponed = True
            return
        self._opened += bool(waiting)
        if fresh and (size := self._rounds.size(settled=settled, waiting=fresh)) is not None:
            fresh = [] if started else self._rounds.ordered(item, fresh)[:size]  # a round ends before the next begins
        calls = {call.key: call for task in [*started, *fresh] if (call := task.next_call)}
        yield from ((row_id(item), call) for call in calls.values())
        if not calls:
            self._close(item, settled, in_full=not waiting)
        elif self._retry_failed:
            self._ledger.note_undone(self._plan, row_id(item))

    def _close(self, item: Item, settled: list[TaskState], *, in_full: bool) -> None:
        self._counters.items += 1
        for task in settled:
            if task.outcome:
                self._counters.ended(task.outcome, replayed=self._passes == 1)
        self._rounds.closed(settled, in_full=in_full)
        self._ledger.note_done(self._plan, row_id(item))

    def _restart_failed(self, task: TaskState) -> TaskState:
        """The task; restarted, once, if it failed and failed tasks are retried."""
        if not (self._retry_failed and task.outcome and task.outcome.status != "ok"):
            return task
        first = task.calls[0].key
        if first in self._restarted:
            return task
        self._restarted.add(first)
        return task.restart()


def requests_of(work: Work, ledger: Ledger, items: Iterable[Item], rows: Mapping[bytes, bytes]) -> dict[bytes, Request]:
    """Render the requests of a batch's calls again. rows: call key to item id. Calls that the recipe no longer makes are left out."""
    ids = set(rows.values())
    requests: dict[bytes, Request] = {}

    def collect(tasks: Iterable[TaskState]) -> None:
        for task in tasks:
            for call in (task.next_call, task.restart().next_call if task.outcome else None):
                if call and call.key in rows:
                    requests[call.key] = call.request

    if _CALIBRATION in ids:
        collect(advance(work.calibration_tasks(), ledger))
    for batch in chunks((item for item in items if row_id(item) in ids), _RENDERED // 16):
        collect(itertools.chain.from_iterable(task_states(work, ledger, batch)))
        if len(requests) == len(rows):
            break
    return requests
