"""The notice board of a run that is spread over many askers: how far each has come, and whether all are to stop.

It is one small object that everyone writes to and one reads (on Ray, an actor of its own). Work is handed out at least once: a batch of
items whose asker died is given to another. So what was *asked* (calls, tokens, dollars) is summed over everyone who asked, and what is
*done* (items, annotations) is counted once per batch, as the last to work on it says.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from dprm_data.core.errors import DprmError
from dprm_data.engine.counters import Counters

_DEATHS = 10  # askers that may die of one batch before it is taken to be the batch's fault
_SILENT = 10.0  # seconds after which an asker is no longer taken to be at work


@dataclass(frozen=True, slots=True)
class StatusSnapshot:
    """What the board shows: the sum of all tallies; what was said since the last look; whether nothing may be begun any more, and the error that
    is why (if it is one); how many askers are at work, have ever come, and have not gone (those that were killed among them)."""

    counters: Counters
    said: tuple[str, ...]
    stopped: bool
    error: BaseException | None
    working: int
    come: int
    present: int


@dataclass(slots=True)
class _UnderWay:
    asker: str
    counters: Counters
    at: float
    died: int = 0  # askers, over it


class RunStatus:
    """Everybody's tallies, and one word for all: stop."""

    def __init__(self) -> None:
        self._under_way: dict[str, _UnderWay] = {}  # by batch
        self._over: set[str] = set()  # batches that are through
        self._past = Counters()
        self._come = 0
        self._present: set[str] = set()
        self._said: list[str] = []
        self._read = 0  # of what was said
        self._stopped = False
        self._error: BaseException | None = None

    # -- for askers ---------------------------------------------------------------------------------------------------

    def come(self, asker: str) -> None:
        """Somebody is there to work."""
        self._come += 1
        self._present.add(asker)

    def go(self, asker: str) -> None:
        """Somebody has nothing more to do, and has left the others."""
        self._present.discard(asker)

    def begin(self, asker: str, batch: str) -> bool:
        """Somebody is about to ask about these items. False where nothing may be begun any more."""
        if not self._stopped:
            self._replace(batch, _UnderWay(asker, Counters(), time.monotonic()))  # which may be one too many
        return not self._stopped

    def report(self, asker: str, batch: str, counters: Counters) -> bool:
        """How far a batch has come since it was begun. False where the asker is to stop."""
        there = self._under_way.get(batch)
        if there and there.asker == asker:
            there.counters, there.at = counters, time.monotonic()
        return not self._stopped

    def end(self, asker: str, batch: str, counters: Counters, *, through: bool) -> None:
        """Nobody works on this batch any more; through: nothing is missing of it."""
        there = self._under_way.get(batch)
        if there is None or there.asker != asker:  # another has it by now: this one was taken for dead
            self._past.add_asked(counters)
            return
        del self._under_way[batch]
        self._past.add_asked(counters)
        if batch not in self._over:
            self._past.add_done(counters)
        if through:
            self._over.add(batch)

    def say(self, text: str) -> None:
        """A sentence for the person at the screen; what several say is said once."""
        if text not in self._said:
            self._said.append(text)

    def fail(self, error: BaseException) -> None:
        """This must end the run; only the first counts."""
        self._error = self._error or error
        self._stopped = True

    # -- for whoever started the run ----------------------------------------------------------------------------------

    def stop(self) -> None:
        """Send nothing more; what is in flight is finished and kept."""
        self._stopped = True

    def look(self) -> StatusSnapshot:
        """How the whole run stands."""
        total = Counters()
        for counters in (self._past, *(each.counters for each in self._under_way.values())):
            total.add_asked(counters)
        total.add_done(self._past)
        alive = 0
        for batch, each in self._under_way.items():
            if batch not in self._over:
                total.add_done(each.counters)
            if time.monotonic() - each.at < _SILENT:
                total.add_state(each.counters)
                alive += 1
        said, self._read = tuple(self._said[self._read :]), len(self._said)
        return StatusSnapshot(total, said, self._stopped, self._error, alive, self._come, len(self._present))

    def _replace(self, batch: str, new: _UnderWay) -> None:
        """Whoever had this batch is gone; what they asked was asked."""
        if gone := self._under_way.get(batch):
            self._past.add_asked(gone.counters)
            new.died = gone.died + 1
        self._under_way[batch] = new
        if new.died >= _DEATHS:
            self.fail(_deadly(batch, new.died))


def _deadly(batch: str, died: int) -> DprmError:
    return DprmError(
        f"{died} actors have died one after the other over the batch of items that begins with {batch}",
        hint="Is there memory enough on the nodes? A smaller batch_size (recipe: ray) needs less. What was answered is kept.",
    )
