"""Latencies: how long answers take, and from when on an attempt is given up as one that hangs.

An attempt that takes five times as long as 99 of 100 others is rarely answered at all, and must not hold up the end of a run until the
provider's timeout. It may be billed nevertheless: it costs its worst case. The call itself is tried again, with twice the time.

An attempt that is given up counts as a latency of that length. So a provider that becomes slower for everybody is not misjudged: where more
than one attempt in a hundred is given up, the limit grows fivefold.
"""

from __future__ import annotations

from collections import deque

_KNOWN = 100  # latencies from which a limit is derived
_REMEMBERED = 500
_TIMES = 5.0  # as long as 99 of 100
_SHORTEST = 15.0  # seconds


class Latencies:
    """The latest latencies, in seconds."""

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=_REMEMBERED)
        self._limit: float | None = None
        self._unread = 0

    def note(self, seconds: float, *, given_up: bool = False) -> None:
        self._recent.append(seconds)
        self._unread += 1
        if len(self._recent) >= _KNOWN and (self._limit is None or given_up or self._unread >= _KNOWN // 2):
            self._unread = 0
            self._limit = max(_SHORTEST, _TIMES * sorted(self._recent)[int(0.99 * len(self._recent))])

    def limit(self, timeouts: int) -> float | None:
        """Seconds after which an attempt is given up, if its call has met so many timeouts; None while too little is known."""
        return self._limit and self._limit * 2.0**timeouts
