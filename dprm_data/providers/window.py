"""The window: how many calls may be in flight, judged by the share of them that the provider refuses.

One refusal (a 429 or 529) says little: large services refuse a call now and then. Refusals are counted by round trip, which is as many
outcomes as there were calls in flight.

    a share of them     (a fifth of those in flight, at least three) narrows the window to the calls that were not refused, but at most by
                        half: in proportion to the share, as DCTCP does (RFC 8257)
    fewer               narrow nothing: those calls alone wait
    way back            the window grows fast (it quadruples per round trip) up to the last size that held, as CUBIC does (RFC 9438)
    further on          one call more after a clean round trip, then 2, 4, 8 more; at the first refusal beyond the usual back to the last size
                        that held, and the next try comes after twice as many round trips
    a little less       where round trips go on to have more refusals than usual, although the window has been narrowed

The window begins at its ceiling, which is what the recipe says; `limits.Limiter` lets the first calls out gradually.
"""

from __future__ import annotations

_SHARE = 0.2
_FEWEST = 3  # refusals that are a share, however few calls are in flight
_SHORTEST = 8  # outcomes in a round trip, at least
_FAST = 3.0  # places gained with every answer on the way back
_LASTING = 4  # clean round trips after which a size is worth returning to
_LONGEST_PAUSE = 16  # round trips between two tries to go further
_MOST_USUAL = 0.08  # share of refusals that may count as usual
_FILLED = 0.9  # share of the window that must be in use before it is extended


class Window:
    """Learns from every outcome. sent: when the call was sent; in_flight: calls at the provider, without that one."""

    def __init__(self, ceiling: int) -> None:
        self.size = float(ceiling)
        self._ceiling = float(ceiling)
        self._good = self.size  # the last size that held; at first what the recipe says
        self._proven = 0  # clean round trips at `good`
        self._held = True  # whether a call has been answered that was sent after the window was narrowed
        self._before = 0  # calls in flight that were sent before
        self._answers = 0  # since then
        self._refuted = False  # `good` did not hold: it follows the size down
        self._narrowed_at = 0.0
        self._floor = 1.0
        self._limited = False  # whether the window was ever narrowed
        self._usual = 0.0  # share of refusals in round trips that hold
        self._step = 0.0
        self._pause = 0  # round trips until the next try to go further
        self._patience = 1
        self._begin()

    def _begin(self) -> None:
        self._ended = self._refused = self._peak = 0

    def entered(self, in_flight: int) -> None:
        """A call is sent: so many are in flight now."""
        self._peak = max(self._peak, in_flight)

    def answered(self) -> None:
        if self.size < self._good:
            self.size = min(self._good, self.size + _FAST)
        self._answers += 1
        self._held = self._held or not self._before
        self._before = max(0, self._before - 1)
        self._ended += 1
        self._end_round_trip()

    def refused(self, sent: float, in_flight: int, now: float) -> bool:
        """Returns whether this refusal narrows the window: then all calls had better wait."""
        if self.is_congested(sent):
            self._lower(in_flight)
            return False
        self._ended += 1
        self._refused += 1
        if self._refused >= max(_FEWEST, _SHARE * self._peak):
            self._narrow(in_flight, now)
            return True
        if self.size > self._good and not self._clean:
            self._retreat()
        self._end_round_trip()
        return False

    def is_congested(self, sent: float) -> bool:
        """Whether a call sent at that time belongs to a round trip that narrowed the window."""
        return sent < self._narrowed_at

    @property
    def _clean(self) -> bool:
        """Whether no more calls were refused in this round trip than usual."""
        return self._refused <= 1.5 * self._usual * max(self._ended, self._peak) + 0.5

    def _narrow(self, in_flight: int, now: float) -> None:
        # A size that has held may hold again after a storm, in which nobody is answered; one that was tried again in vain is no aim. In
        # between, nobody knows.
        self._refuted = self._held and self._proven < _LASTING
        if self._answers and not self._held:
            self._good -= max(0.0, self._good - max(1, in_flight)) / 4
        self._answers = 0
        self._proven, self._held = 0, False
        self._before = in_flight
        self._limited = True
        self._floor = max(1.0, self._peak / 2)
        self._narrowed_at = now
        self._lower(in_flight)
        self._step, self._pause = 0.0, self._patience
        self._begin()

    def _lower(self, in_flight: int) -> None:
        self.size = max(self._floor, min(self.size, in_flight))
        if self._refuted:
            self._good = self.size

    def _retreat(self) -> None:
        self.size, self._step, self._pause = self._good, 0.0, self._patience
        self._patience = min(_LONGEST_PAUSE, 2 * self._patience)

    def _end_round_trip(self) -> None:
        if self._ended < max(_SHORTEST, self._peak):
            return
        clean = self._clean
        if self.size >= self._good and clean:
            self._proven += 1
            self._extend()
        elif self.size >= self._good and self._limited:
            self.size = self._good = max(1.0, self._good - max(1.0, self._refused / 2))
        slowness = 4 if clean or not self._limited else 16
        self._usual += (min(_MOST_USUAL, self._refused / self._ended) - self._usual) / slowness
        self._begin()

    def _extend(self) -> None:
        if self.size > self._good:
            self._good, self._patience, self._proven = self.size, 1, 1
        if self._pause:
            self._pause -= 1
        elif self._peak >= _FILLED * self.size and self.size < self._ceiling:
            self._step = min(2 * self._step or 1.0, self._ceiling - self._good)
            self.size = self._good + self._step
