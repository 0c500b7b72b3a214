"""Opening: which items are asked about, one after the other: those that miss something, and that no other worker has.

Where others work on the same ledger, an item is leased first and looked up in the ledger then, so that what another has finished in between
is found. Items that others have are put aside and looked at again: they are done by then, or free because their worker has gone.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from dprm_data.elicit.work import Work
from dprm_data.engine.coordinator import Coordinator, Lease
from dprm_data.engine.counters import Tally
from dprm_data.engine.early_stopping import Rounds
from dprm_data.engine.replay import Course, advance, chunks, courses_of, row_id
from dprm_data.engine.scheduler import Opened, OpenItem, Rest
from dprm_data.ingest.items import Item
from dprm_data.ledger.ledger import Ledger

_LOOK_UP = 500  # items looked up in the ledger at a time
_OPEN = 64  # annotations rendered at a time: few, or the calls in flight would wait for it
_REACH = 20  # times as many items are looked at for free ones
_LOOK_AGAIN = 0.5  # seconds between two looks at what others have


@dataclass(frozen=True, slots=True)
class _Candidate:
    """An item that may miss something, and the keys to be leased before that is known (none where there are no other workers)."""

    item: Item
    keys: tuple[bytes, ...] = ()


class Opening:
    """Opens the items of one work, and closes them."""

    def __init__(
        self,
        work: Work,
        *,
        ledger: Ledger,
        coordinator: Coordinator,
        rounds: Rounds,
        tally: Tally,
        retry_failed: bool,
        began: float,
    ) -> None:
        """began: when this run did (seconds since 1970): what failed after that, elsewhere, is not tried again here."""
        self._work = work
        self._plan = work.plan_key()
        self._ledger = ledger
        self._coordinator = coordinator
        self._rounds = rounds
        self._tally = tally
        self._retry_failed = retry_failed
        self._began = began
        self._each = work.annotations_per_item
        self._aside: deque[_Candidate] = deque()  # others have these
        self._look_at = 0.0  # when to look at them again
        self._calibrating = False
        self._leased: dict[str, tuple[_Candidate, Lease]] = {}  # what is open here, by its item's id

    # -- what the agenda asks for ---------------------------------------------------------------------------------------

    def items(self, items: Iterable[Item]) -> Iterator[Opened | Rest | None]:
        """The items that miss something, with their courses; None now and then where there is none for long, so that others may breathe,
        and a rest where only other workers have something left."""
        for some in chunks(items, _LOOK_UP):
            yield from self._opened(self._missing(some))
            yield None
            if self._aside and time.monotonic() >= self._look_at:
                yield from self._look_again()
        while self._aside or self._leased:
            if self._aside and time.monotonic() >= self._look_at:
                yield from self._look_again()
            else:
                yield Rest(self._look_at - time.monotonic() if self._aside else _LOOK_AGAIN)

    def calibration(self) -> Iterator[Opened | Rest | None]:
        """What must be asked to calibrate, as if it were one item."""
        tasks = self._work.calibration_tasks()
        keys = self._work.keys_of(task.prefix for task in tasks) if self._coordinator.shared else ()
        while tasks:
            lease = self._coordinator.claim([keys], 1)[0] if keys and not self._calibrating else None
            if keys and not lease:
                yield Rest(_LOOK_AGAIN)
                continue
            courses = advance(tasks, self._ledger)
            missing = [course for course in courses if not course.outcome]
            if missing:
                self._calibrating = True
                settled = [course for course in courses if course.outcome]
                yield Opened(missing[0].task.prefix.item, settled, missing, lease)
            elif lease:
                self._coordinator.release(lease)
            if not missing or not lease:
                return

    def calibrated(self, item: OpenItem) -> None:
        """All that was asked to calibrate is answered, or somebody else's by now: `calibration` looks again where there are others."""
        self._calibrating = False
        if item.lease:
            self._coordinator.release(item.lease)

    def round_size(self, item: OpenItem) -> int | None:
        """How many more courses of the item are asked now (`Agenda`)."""
        return self._rounds.size(settled=item.settled, waiting=len(item.waiting))

    def closed(self, item: OpenItem) -> None:
        """Nothing is missing for this item any more."""
        self._rounds.closed(item.settled, in_full=not item.waiting)
        self._close(item.item, item.lease)

    def lost(self, item: OpenItem) -> None:
        """The item has gone to another worker: it is looked at again."""
        self._tally.forget(item.outcomes, replayed=item.replayed)
        candidate, _ = self._leased.pop(item.item.item_id)
        self._aside.append(candidate)

    def leave(self) -> None:
        """The run ends, whatever is still open: it may be others'."""
        for _, lease in self._leased.values():
            self._coordinator.release(lease)
        self._leased.clear()

    # -- items ----------------------------------------------------------------------------------------------------------

    def _missing(self, items: Sequence[Item]) -> deque[_Candidate]:
        """Those of the items that are not known to be done."""
        done = self._done(items)
        self._tally.skipped(len(done), self._each)
        keys = self._work.prefix_keys if self._coordinator.shared else lambda item: ()
        return deque(_Candidate(item, keys(item)) for item in items if row_id(item) not in done)

    def _done(self, items: Sequence[Item]) -> set[bytes]:
        return set() if self._retry_failed else self._ledger.find_done(self._plan, [row_id(item) for item in items])

    def _look_again(self) -> Iterator[Opened | None]:
        """Once more at what others had: what is done by now is done; what is free by now is opened."""
        aside, self._aside = self._aside, deque()
        self._look_at = time.monotonic() + _LOOK_AGAIN
        for some in chunks(aside, _LOOK_UP):
            done = self._done([candidate.item for candidate in some])
            self._tally.done_elsewhere(len(done), self._each)
            yield from self._opened(deque(each for each in some if row_id(each.item) not in done))

    def _opened(self, candidates: deque[_Candidate]) -> Iterator[Opened | None]:
        at_a_time = max(1, _OPEN // max(1, self._each))
        while candidates:
            mine = self._claimed(candidates, at_a_time)
            found = courses_of(self._work, self._ledger, [candidate.item for candidate, _ in mine])
            for (candidate, lease), courses in zip(mine, found, strict=True):
                if opened := self._open(candidate, lease, courses):
                    yield opened
            yield None

    def _claimed(self, candidates: deque[_Candidate], most: int) -> list[tuple[_Candidate, Lease | None]]:
        """Take candidates from the left until so many are ours; what others have is put aside."""
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

    def _open(self, candidate: _Candidate, lease: Lease | None, courses: Sequence[Course]) -> Opened | None:
        item = candidate.item
        settled, missing = self._divided(courses)
        for course in settled:
            if course.outcome:
                self._tally.ended(course.outcome, replayed=True)
        if not missing:
            self._rounds.closed(settled, in_full=True)
            self._close(item, lease)
            return None
        if self._retry_failed:
            self._ledger.note_undone(self._plan, row_id(item))
        if lease:
            self._leased[item.item_id] = candidate, lease
        return Opened(item, settled, self._rounds.ordered(item, missing), lease)

    def _divided(self, courses: Sequence[Course]) -> tuple[list[Course], list[Course]]:
        """Courses that need no call, and those that do; failed ones begin anew where that is wanted."""
        settled: list[Course] = []
        missing: list[Course] = []
        keys: set[bytes] = set()
        for course in courses:
            if course.outcome and not self._to_be_retried(course):
                settled.append(course)
                continue
            course = course.anew() if course.outcome else course
            missing.append(course)
            if call := course.waits_for:
                course.is_repeat = call.key in keys
                keys.add(call.key)
        return settled, missing

    def _to_be_retried(self, course: Course) -> bool:
        if not self._retry_failed or course.outcome is None or course.outcome.status == "ok":
            return False
        return not (self._coordinator.shared and course.replies[-1].created_at >= self._began)

    def _close(self, item: Item, lease: Lease | None) -> None:
        self._tally.items += 1
        self._ledger.note_done(self._plan, row_id(item))
        if lease:
            self._leased.pop(item.item_id, None)
            self._coordinator.release(lease)
