"""The item queue: yields the items with missing calls that no other worker holds.

On a shared ledger, an item is leased first and looked up in the ledger afterwards, so that replies of its previous holder are found. Items
that others hold are set aside and tried again: by then they are done, or free because their worker has left.
"""

from __future__ import annotations

import hashlib
import itertools
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from dprm_data.elicit.work import Work
from dprm_data.engine.canary import Canary
from dprm_data.engine.coordinator import Coordinator, Lease
from dprm_data.engine.cost_estimates import voice_of
from dprm_data.engine.counters import Counters
from dprm_data.engine.early_stopping import RoundPolicy
from dprm_data.engine.replay import TaskState, advance, chunks, row_id, task_states
from dprm_data.engine.scheduler import OpenItem, Pause, ReadyItem
from dprm_data.ingest.items import Item
from dprm_data.ledger.ledger import Ledger

_LOOK_UP = 500  # items looked up in the ledger at a time
_OPEN = 64  # annotations rendered at a time: rendering many would delay the calls in flight
_REACH = 20  # examine up to this many times the wanted number of items to find free ones
_LOOK_AGAIN = 0.5  # seconds between two tries of the items that others hold
_LOOK_BACK = 32  # items that are done, among which the canary looks for labels
_BEGINNING = 8  # items that a canary is about
_TURN = 0.2  # seconds between two looks at another worker's canary


@dataclass(frozen=True, slots=True)
class _Candidate:
    """An item that may have missing calls, and the keys to lease before looking (none if there are no other workers)."""

    item: Item
    keys: tuple[bytes, ...] = ()


class ItemQueue:
    """Opens the items of one work, and closes them."""

    def __init__(
        self,
        work: Work,
        *,
        ledger: Ledger,
        coordinator: Coordinator,
        rounds: RoundPolicy,
        counters: Counters,
        retry_failed: bool,
        began: float,
        canary: Canary,
    ) -> None:
        """began: the start of the run (seconds since 1970); what failed later, at another worker, is not retried. canary: is told of all
        replies in the ledger that it has not seen."""
        self._work = work
        self._plan = work.plan_key()
        self._ledger = ledger
        self._coordinator = coordinator
        self._rounds = rounds
        self._counters = counters
        self._retry_failed = retry_failed
        self._began = began
        self._canary = canary
        self._looked_back = False
        self._turn: Lease | None = None  # to begin the run, if there are other workers
        self._each = work.annotations_per_item
        self._aside: deque[_Candidate] = deque()  # held by others
        self._look_at = 0.0  # when to try them again
        self._calibrating = False
        self._leased: dict[str, tuple[_Candidate, Lease]] = {}  # open items, by item id

    # -- for the scheduler -----------------------------------------------------------------------------------------------

    def items(self, items: Iterable[Item]) -> Iterator[ReadyItem | Pause | None]:
        """Yield the items with missing calls, with their tasks; None now and then, to let other coroutines run; and a `Pause` while only
        other workers have something left."""
        for chunk in chunks(items, _LOOK_UP):
            candidates = self._missing(chunk)
            if candidates and self._coordinator.shared and self._canary.takes_turns and not self._turn:
                yield from self._await_turn([each.item for each in itertools.islice(candidates, _BEGINNING)])
            yield from self._opened(candidates)
            yield None
            if self._aside and time.monotonic() >= self._look_at:
                yield from self._look_again()
        while self._aside or self._leased:
            if self._aside and time.monotonic() >= self._look_at:
                yield from self._look_again()
            else:
                yield Pause(self._look_at - time.monotonic() if self._aside else _LOOK_AGAIN)

    def _await_turn(self, items: Sequence[Item]) -> Iterator[Pause | None]:
        """Wait while another worker begins the run with these items. Raises if nothing came of it."""
        voices = {voice_of(task) for task in self._work.tasks(items[0])}
        key = hashlib.sha256(b"canary" + self._plan).digest()[:16]
        while not self._canary.has_labels(voices):
            self._turn = turn = self._coordinator.claim([(key,)], 1)[0]
            seen: list[TaskState] = []
            for item in items:
                seen += next(task_states(self._work, self._ledger, [item]))
                yield None
            self._canary.saw(seen, self._began)
            if turn:
                return
            yield Pause(_TURN)

    def _end_turn(self) -> None:
        if self._turn:
            self._coordinator.release(self._turn)
            self._turn = None

    def calibration(self) -> Iterator[ReadyItem | Pause | None]:
        """Yield the missing calibration tasks, as if they were one item's."""
        tasks = self._work.calibration_tasks()
        keys = self._work.keys_of(task.prefix for task in tasks) if self._coordinator.shared else ()
        while tasks:
            lease = self._coordinator.claim([keys], 1)[0] if keys and not self._calibrating else None
            if keys and not lease:
                yield Pause(_LOOK_AGAIN)
                continue
            states = advance(tasks, self._ledger)
            for state in states:
                self._canary.knows(state)
            missing = [state for state in states if not state.outcome]
            if missing:
                self._calibrating = True
                settled = [state for state in states if state.outcome]
                yield ReadyItem(missing[0].task.prefix.item, settled, missing, lease)
            elif lease:
                self._coordinator.release(lease)
            if not missing or not lease:
                return

    def calibrated(self, item: OpenItem) -> None:
        """The calibration tasks are answered, or leased by another worker by now; with other workers, `calibration` looks again."""
        self._calibrating = False
        if item.lease:
            self._coordinator.release(item.lease)

    def round_size(self, item: OpenItem) -> int | None:
        """How many of the item's waiting tasks to release now (see `Scheduler`)."""
        return self._rounds.size(settled=item.settled, waiting=item.waiting)

    def closed(self, item: OpenItem) -> None:
        """The item needs no further call."""
        self._rounds.closed(item.settled, in_full=not item.waiting)
        self._close(item.item, item.lease)
        if self._turn and self._canary.has_labels({voice_of(state.task) for state in item.settled}):
            self._end_turn()

    def lost(self, item: OpenItem) -> None:
        """Another worker has taken the item: set it aside."""
        self._counters.forget(item.outcomes, replayed=item.replayed)
        candidate, _ = self._leased.pop(item.item.item_id)
        self._aside.append(candidate)

    def leave(self) -> None:
        """The run ends: release what is still open, for others."""
        self._end_turn()
        for _, lease in self._leased.values():
            self._coordinator.release(lease)
        self._leased.clear()

    # -- items ----------------------------------------------------------------------------------------------------------

    def _missing(self, items: Sequence[Item]) -> deque[_Candidate]:
        """The items, among these, that are not marked as done."""
        done = self._done(items)
        self._counters.skipped(len(done), self._each)
        if done and len(done) < len(items):
            self._look_back([item for item in items if row_id(item) in done])
        keys = self._work.prefix_keys if self._coordinator.shared else lambda item: ()
        return deque(_Candidate(item, keys(item)) for item in items if row_id(item) not in done)

    def _look_back(self, done: Sequence[Item]) -> None:
        """Show the canary, once, what some items that are done were answered."""
        if not self._looked_back:
            self._looked_back = True
            for states in task_states(self._work, self._ledger, done[:_LOOK_BACK]):
                for state in states:
                    self._canary.knows(state)

    def _done(self, items: Sequence[Item]) -> set[bytes]:
        return set() if self._retry_failed else self._ledger.find_done(self._plan, [row_id(item) for item in items])

    def _look_again(self) -> Iterator[ReadyItem | None]:
        """Try the items that others held: count those that are done, open those that are free."""
        aside, self._aside = self._aside, deque()
        self._look_at = time.monotonic() + _LOOK_AGAIN
        for chunk in chunks(aside, _LOOK_UP):
            done = self._done([candidate.item for candidate in chunk])
            self._counters.done_elsewhere(len(done), self._each)
            yield from self._opened(deque(each for each in chunk if row_id(each.item) not in done))

    def _opened(self, candidates: deque[_Candidate]) -> Iterator[ReadyItem | None]:
        at_a_time = max(1, _OPEN // max(1, self._each))
        while candidates:
            mine = self._claimed(candidates, at_a_time)
            found = task_states(self._work, self._ledger, [candidate.item for candidate, _ in mine])
            for (candidate, lease), states in zip(mine, found, strict=True):
                if opened := self._open(candidate, lease, states):
                    yield opened
            yield None

    def _claimed(self, candidates: deque[_Candidate], most: int) -> list[tuple[_Candidate, Lease | None]]:
        """Take candidates from the left until `most` are leased; set aside those that others hold."""
        if not self._coordinator.shared:
            return [(candidates.popleft(), None) for _ in range(min(most, len(candidates)))]
        mine: list[tuple[_Candidate, Lease | None]] = []
        within_reach = itertools.islice(candidates, _REACH * most)
        for lease in self._coordinator.claim([candidate.keys for candidate in within_reach], most):
            candidate = candidates.popleft()
            if lease:
                mine.append((candidate, lease))
            else:
                self._aside.append(candidate)
        return mine

    def _open(self, candidate: _Candidate, lease: Lease | None, states: Sequence[TaskState]) -> ReadyItem | None:
        item = candidate.item
        settled, missing = self._divided(states)
        for state in settled:
            self._canary.knows(state)
            if state.outcome:
                self._counters.ended(state.outcome, replayed=True)
        if not missing:
            self._rounds.closed(settled, in_full=True)
            self._close(item, lease)
            return None
        if self._retry_failed:
            self._ledger.note_undone(self._plan, row_id(item))
        if lease:
            self._leased[item.item_id] = candidate, lease
        return ReadyItem(item, settled, self._rounds.ordered(item, missing), lease)

    def _divided(self, states: Sequence[TaskState]) -> tuple[list[TaskState], list[TaskState]]:
        """Split the tasks into those that need no call and those that do; restart the failed ones that are to be retried."""
        settled: list[TaskState] = []
        missing: list[TaskState] = []
        keys: set[bytes] = set()
        for state in states:
            if state.outcome and not self._to_be_retried(state):
                settled.append(state)
                continue
            state = state.restart() if state.outcome else state
            missing.append(state)
            if call := state.next_call:
                state.is_repeat = call.key in keys
                keys.add(call.key)
        return settled, missing

    def _to_be_retried(self, state: TaskState) -> bool:
        if not self._retry_failed or state.outcome is None or state.outcome.status == "ok":
            return False
        return not (self._coordinator.shared and state.replies[-1].created_at >= self._began)

    def _close(self, item: Item, lease: Lease | None) -> None:
        self._counters.items += 1
        self._ledger.note_done(self._plan, row_id(item))
        if lease:
            self._leased.pop(item.item_id, None)
            self._coordinator.release(lease)
