"""The canary: the first calls of a run, made before all others. If none of them gives a label, the run stops.

A model that spends its output on thoughts, or answers in prose, is paid for like any other. So a run begins with a handful of calls, and all
others wait for the first label: one round trip, no more. The handful is counted per voice, that is per way of asking and per model: the
panel's answers say nothing about those to the prior, and one model's nothing about another's.

    calls of the run      up to 2,880     4,000       6,400 and more
    in the handful        8               12          20                (at most a third of them at once, but 4)

So a run of 4,000 calls or more has paid about .3 % of its plan when it stops; in a smaller one the handful is 8 calls. Re-asks count. Where
answers cost more than was planned, the handful ends early, once a task has ended and .45 % of the plan (in a small run, what the handful
should have cost) is spent.

Later, too: where a voice's last answers, `limits: give_up_unusable` of them in the order in which they came, were all unusable and are about at
least three items, the run stops. What the ledger knows of this work counts: where it holds a label, there is no canary.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from dprm_data.elicit.elicitation import Outcome, Task
from dprm_data.engine.cancellation import Cancellation
from dprm_data.engine.cost_estimates import Voice, expected_usage, voice_of
from dprm_data.engine.prices import Prices
from dprm_data.engine.replay import TaskState
from dprm_data.engine.unusable import Unusable, no_label, no_more_labels
from dprm_data.ledger.call import Call, Reply

_FEWEST, _MOST = 8, 20  # calls in the handful
_SHARE = 320  # one call in so many of the run's
_FEWEST_AT_ONCE = 4
_MOST_SPENT = 0.0045  # of the plan, after which the handful ends early
ENOUGH_HEARD = 30  # tasks from which a run's cost is estimated anew
_EXAMPLES = 50  # unusable answers that are kept for the message
_ITEMS_IN_A_ROW = 3  # one item that everybody refuses is not a run that everybody refuses


def handful(calls: int | None) -> int:
    """How many calls a run of so many calls begins with; None: it is not known how many."""
    return _MOST if calls is None else max(_FEWEST, min(_MOST, calls // _SHARE))


@dataclass(slots=True)
class _Handful:
    """One voice's first calls, until one of them gives a label.

    sent: calls; in_flight: of these; ended: tasks that ended without a label; paid: dollars; planned: dollars that a call was expected to cost.
    """

    most: int
    labelled: bool = False
    sent: int = 0
    in_flight: int = 0
    ended: int = 0
    paid: float = 0.0
    planned: float = 0.0
    unusable: list[Unusable] = field(default_factory=list)

    def used_up(self, total: int | None) -> bool:
        """Whether no further call may be made. total: calls of the run."""
        if self.sent >= self.most:
            return True
        if not (total and self.planned and self.ended and len(self.unusable) >= _FEWEST_AT_ONCE):
            return False
        return self.paid >= max(self.most, _MOST_SPENT * total) * self.planned


class _Row:
    """One voice's unusable answers since its last label: their number, the last of them, and the items they are about (some of them)."""

    def __init__(self, most: int) -> None:
        self.length = 0
        self.items: set[str] = set()
        self.last: deque[Unusable] = deque(maxlen=min(most, _EXAMPLES))

    def add(self, state: TaskState) -> None:
        self.length += 1
        self.last.append(Unusable.last_of(state))
        if len(self.items) < _ITEMS_IN_A_ROW:
            self.items.add(state.task.prefix.item.item_id)


class Canary:
    """Decides which calls may be made before the first label, and when answers that give none stop the run.

    give_up: unusable answers in a row that stop it; 0: never, and there is no handful. total: calls of the run, None if not known.
    among: processes that begin the run at the same time, each with its share of the handful. labelled: called each time that a
    voice has given its first label. heard: called with the `ENOUGH_HEARD` tasks that began first, once they have ended.
    """

    def __init__(
        self,
        *,
        give_up: int,
        total: int | None,
        prices: Prices,
        among: int = 1,
        labelled: Callable[[], None] = lambda: None,
        heard: Callable[[list[TaskState]], None] | None = None,
    ) -> None:
        self._give_up = give_up
        self._total = total
        self._prices = prices
        self._among = among
        self._labelled = labelled
        self._heard = heard
        self._first: list[TaskState] = []
        self._handfuls: dict[Voice, _Handful] = {}
        self._rows: dict[Voice, _Row] = {}
        self._changed = asyncio.Event()

    # -- what may be made -----------------------------------------------------------------------------------------------

    def may_begin(self, state: TaskState) -> bool:
        """Whether this task's first call may be made now. If not, ask again when a task has ended."""
        if not self._give_up:
            return True
        mine = self._of(state.task)
        if mine.labelled:
            return not any(each.in_flight for each in self._handfuls.values())  # of a voice not heard yet
        at_once = max(_FEWEST_AT_ONCE, math.ceil(mine.most / 3))
        return mine.in_flight < at_once and not mine.used_up(self._total)

    async def permit(self, state: TaskState, stop: Cancellation) -> None:
        """Wait until the task's next call may be made. Raises `Cancelled` if the run ends before that."""
        if self._heard and not state.replies and len(self._first) < ENOUGH_HEARD:
            self._first.append(state)
        if not self._give_up:
            return
        mine = self._of(state.task)
        while not mine.labelled:
            if _is_next_question(state) or not mine.used_up(self._total):
                self._begin(mine, state)
                return
            with stop.cuts_short():
                await self._changed.wait()

    def _begin(self, mine: _Handful, state: TaskState) -> None:
        mine.sent += not _is_next_question(state)
        mine.in_flight += 1
        if not mine.planned and isinstance(state.step, Call):
            mine.planned = self._prices.cost(expected_usage(state.task, state.step)) or 0.0

    # -- what came of it ------------------------------------------------------------------------------------------------

    def withdrawn(self, state: TaskState) -> None:
        """The permitted call was not made, or not to its end."""
        mine = self._of(state.task)
        if self._give_up and not mine.labelled:
            mine.in_flight -= 1
            mine.sent -= not _is_next_question(state)
            self._wake()

    def took(self, state: TaskState, reply: Reply) -> bool:
        """The task has taken this reply. Returns whether that lets other tasks begin; raises `ProviderUnusable` if the run is to stop."""
        outcome = state.outcome
        if outcome and self._heard:
            self._learn()
        if not self._give_up:
            return False
        mine = self._of(state.task)
        opened = not mine.labelled and self._judge(mine, state, reply)
        if outcome:
            self._count(state, outcome)
        return opened

    def knows(self, state: TaskState) -> None:
        """The ledger holds this task's replies already: a label among them opens the run."""
        if state.outcome and state.outcome.status == "ok":
            self._open(self._of(state.task))

    @property
    def takes_turns(self) -> bool:
        """Whether of several workers on a shared ledger one makes the first calls, and the others wait for what comes of them."""
        return bool(self._give_up) and self._among == 1

    def has_labels(self, voices: Iterable[Voice]) -> bool:
        """Whether each of these voices gave a label."""
        return all(voice in self._handfuls and self._handfuls[voice].labelled for voice in voices)

    def saw(self, states: Iterable[TaskState], since: float) -> None:
        """These are all tasks that another worker may have begun the run with; since: when it began. Raises if they say that it stops."""
        others: dict[Voice, _Handful] = {}
        for state in states:
            self.knows(state)
            if not (state.replies and state.replies[-1].created_at >= since):
                continue
            theirs = others.setdefault(voice_of(state.task), _Handful(self._of(state.task).most))
            theirs.sent += len(state.replies)
            theirs.unusable.append(Unusable.last_of(state))
        for voice, theirs in others.items():
            if theirs.used_up(None) and not self._handfuls[voice].labelled:
                raise no_label(theirs.unusable)

    def _judge(self, mine: _Handful, state: TaskState, reply: Reply) -> bool:
        """Whether the reply is the first of its voice with a label. Raises if it is the last that might have been."""
        if state.outcome and state.outcome.status == "ok":
            self._open(mine)
            return True
        mine.in_flight -= 1
        mine.paid += reply.cost or 0.0
        if _is_next_question(state):
            return False
        mine.ended += state.outcome is not None
        mine.unusable.append(Unusable.last_of(state))
        if not mine.in_flight and mine.used_up(self._total):
            raise no_label(mine.unusable)
        return False

    def _open(self, mine: _Handful) -> None:
        if mine.labelled:
            return
        mine.labelled = True
        mine.in_flight = 0
        mine.unusable.clear()
        self._wake()
        self._labelled()

    def _count(self, state: TaskState, outcome: Outcome) -> None:
        """Count unusable answers in a row. Raises if there are too many."""
        voice = voice_of(state.task)
        if outcome.status == "ok":
            self._rows.pop(voice, None)
            return
        row = self._rows.setdefault(voice, _Row(self._give_up))
        row.add(state)
        if row.length >= self._give_up and len(row.items) >= _ITEMS_IN_A_ROW:
            raise no_more_labels(row.last, row.length)

    # -- small things ---------------------------------------------------------------------------------------------------

    def _of(self, task: Task) -> _Handful:
        voice = voice_of(task)
        if voice not in self._handfuls:
            self._handfuls[voice] = _Handful(max(_FEWEST_AT_ONCE, handful(self._total) // self._among))
        return self._handfuls[voice]

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _learn(self) -> None:
        """Hand on the tasks that began first, once they all have ended. (Those that end first would be those that nobody asks again.)"""
        if self._heard and len(self._first) == ENOUGH_HEARD and all(state.outcome for state in self._first):
            heard, self._heard = self._heard, None
            heard(self._first)
            self._first = []


def _is_next_question(state: TaskState) -> bool:
    """Whether the task has been answered so far, and only goes on with its next question."""
    return isinstance(state.step, Call) and 0 < len(state.replies) < len(state.task.questions)
