"""The hold: dollars that a process may owe for calls of which its ledger does not know yet.

A call is sent only once the hold on disk covers it. So if the process is killed, what was billed without being recorded is at most its hold,
which stays in the ledger and counts as spent. The hold is written by the transactions that keep the answers; it follows the most that was
open within the last seconds, so that a steady run never waits for it.
"""

from __future__ import annotations

import math
import time

_PERIOD = 2.0  # seconds; the hold covers the peaks of this period and the one before
_SLACK = 0.125  # added to the peak, so that calls of slightly different lengths do not wait
_WORTH_WRITING = 0.1  # a smaller change is not written
NOTHING = 1e-9  # dollars: a smaller hold is what rounding leaves of amounts that were drawn and given back
_ROUNDING = 1e-9  # share of the dollars drawn that may be a rounding error


class Hold:
    """One process's hold. The budget draws dollars, the ledger records them; what lies between is open."""

    def __init__(self) -> None:
        self.drawn = 0.0  # reserved or spent by this process
        self.recorded = 0.0  # of these, in the ledger
        self.on_disk = 0.0
        self.limit = math.inf  # of `drawn`: what is left of the budget at the start
        self._peak = self._peak_before = 0.0
        self._since = time.monotonic()

    @property
    def open(self) -> float:
        """Dollars that may be billed and are not recorded."""
        left = self.drawn - self.recorded
        return left if left > max(NOTHING, _ROUNDING * self.drawn) else 0.0

    @property
    def covers(self) -> bool:
        """Whether the hold on disk covers what is open: then a call may be sent."""
        return self.open <= self.on_disk * (1 + _ROUNDING)

    def draw(self, dollars: float) -> None:
        """Add to what is open; negative: give back."""
        self.drawn += dollars
        self._peak = max(self._peak, self.open)

    def next(self, recording: float) -> float | None:
        """The hold that the next transaction should write, which records so many dollars; None to leave it as it is."""
        now = time.monotonic()
        if now - self._since > _PERIOD:
            self._since, self._peak_before, self._peak = now, self._peak, self.open
        need = max(0.0, self.open - recording)
        left = self.limit - self.recorded - recording
        wanted = max(need, min((1 + _SLACK) * max(self._peak, self._peak_before), left))
        if need <= self.on_disk <= max(need, left) and abs(wanted - self.on_disk) <= _WORTH_WRITING * self.on_disk:
            return None
        # Until it is on disk, the lower one counts.
        self.on_disk = min(self.on_disk, wanted)
        return wanted

    def written(self, recorded: float, held: float | None) -> None:
        """A transaction is on disk."""
        self.recorded += recorded
        if held is not None:
            self.on_disk = held
