"""The status of a run on many actors: the counters of each, and whether all are to stop.

All actors write to it and one process reads it (on Ray, it is an actor itself). A batch whose actor died is given to another actor, so it
may be processed more than once: what was *asked* (calls, tokens, dollars) is summed over all actors, and what is *done* (items,
annotations) is counted once per batch, as its last actor reports it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from dprm_data.core.errors import DprmError
from dprm_data.engine.counters import Counters

_DEATHS = 10  # actors that may die on one batch before the batch is to blame
_SILENT = 10.0  # seconds without a report after which an actor no longer counts as working


@dataclass(frozen=True, slots=True)
class StatusSnapshot:
    """The run's status: counters, summed over all actors; messages since the last snapshot; whether the run stops, and the error that stopped it, if
    any; how many actors are working, have ever joined, and are present, that is joined and did not leave (killed ones included)."""

    counters: Counters
    messages: tuple[str, ...]
    stopped: bool
    error: BaseException | None
    working: int
    joined: int
    present: int


@dataclass(slots=True)
class _BatchInProgress:
    actor: str
    counters: Counters
    at: float
    deaths: int = 0  # of actors, on this batch


class RunStatus:
    """All actors' counters, and the signal to stop."""

    def __init__(self) -> None:
        self._in_progress: dict[str, _BatchInProgress] = {}  # by batch
        self._complete: set[str] = set()  # batches
        self._past = Counters()
        self._joined = 0
        self._present: set[str] = set()
        self._messages: list[str] = []
        self._read = 0  # messages in earlier snapshots
        self._stopped = False
        self._error: BaseException | None = None

    # -- for actors ---------------------------------------------------------------------------------------------------

    def join(self, actor: str) -> None:
        """An actor is ready to work."""
        self._joined += 1
        self._present.add(actor)

    def leave(self, actor: str) -> None:
        """An actor has nothing more to do."""
        self._present.discard(actor)

    def begin(self, actor: str, batch: str) -> bool:
        """An actor begins this batch. Returns False if the run stops."""
        if not self._stopped:
            self._replace(
                batch, _BatchInProgress(actor, Counters(), time.monotonic())
            )  # if too many have died, this stops the run
        return not self._stopped

    def report(self, actor: str, batch: str, counters: Counters) -> bool:
        """Counters since the batch began. Returns False if the actor is to stop."""
        there = self._in_progress.get(batch)
        if there and there.actor == actor:
            there.counters, there.at = counters, time.monotonic()
        return not self._stopped

    def end(self, actor: str, batch: str, counters: Counters, *, complete: bool) -> None:
        """An actor leaves this batch; complete: it has no missing calls."""
        there = self._in_progress.get(batch)
        if there is None or there.actor != actor:  # another actor has it: Ray took this one for dead
            self._past.add_calls(counters)
            return
        del self._in_progress[batch]
        self._past.add_calls(counters)
        if batch not in self._complete:
            self._past.add_done(counters)
        if complete:
            self._complete.add(batch)

    def say(self, text: str) -> None:
        """A message for the user; equal messages of several actors count once."""
        if text not in self._messages:
            self._messages.append(text)

    def fail(self, error: BaseException) -> None:
        """Stop the run with this error; the first one counts."""
        self._error = self._error or error
        self._stopped = True

    # -- for the process that started the run -------------------------------------------------------------------------

    def stop(self) -> None:
        """Make no further calls; those in flight are finished and kept."""
        self._stopped = True

    def snapshot(self) -> StatusSnapshot:
        """The status of the whole run."""
        total = Counters()
        for counters in (self._past, *(each.counters for each in self._in_progress.values())):
            total.add_calls(counters)
        total.add_done(self._past)
        alive = 0
        for batch, each in self._in_progress.items():
            if batch not in self._complete:
                total.add_done(each.counters)
            if time.monotonic() - each.at < _SILENT:
                total.add_state(each.counters)
                alive += 1
        messages, self._read = tuple(self._messages[self._read :]), len(self._messages)
        return StatusSnapshot(total, messages, self._stopped, self._error, alive, self._joined, len(self._present))

    def _replace(self, batch: str, new: _BatchInProgress) -> None:
        """Give the batch to a new actor; the calls of the one that had it count."""
        if gone := self._in_progress.get(batch):
            self._past.add_calls(gone.counters)
            new.deaths = gone.deaths + 1
        self._in_progress[batch] = new
        if new.deaths >= _DEATHS:
            self.fail(_deadly(batch, new.deaths))


def _deadly(batch: str, deaths: int) -> DprmError:
    return DprmError(
        f"{deaths} actors have died one after the other on the batch of items that begins with {batch}",
        hint="Do the nodes have enough memory? A smaller batch_size (recipe: ray) needs less. All answers are kept.",
    )
