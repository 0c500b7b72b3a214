"""What the double counts and limits: every request with its time and fate, the most at once, and a real limit on requests per minute."""

from __future__ import annotations

import time
from array import array
from collections import Counter
from pathlib import Path
from typing import Any, BinaryIO

import orjson


class Tally:
    """Counts for /_stats, and a line of JSON per request in a log file."""

    def __init__(self, log: str | None = None) -> None:
        self._log: BinaryIO | None = Path(log).open("ab", buffering=0) if log else None  # noqa: SIM115 - open as long as the server is
        self.reset()

    def reset(self) -> None:
        self.requests = 0
        self.in_flight = 0
        self.max_in_flight = 0
        self.bodies: Counter[str] = Counter()  # requests by hash of their body
        self.answered: Counter[str] = Counter()  # of these: answered with 200 in full, so paid for
        self.statuses: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.billed = [0, 0]  # tokens in and out, of answers that nobody waited for, too (OpenAI's flavour)
        self.arrivals = array("d")  # seconds since the first request

    def arrive(self, digest: str) -> float:
        now = time.monotonic()
        if not self.requests:
            self._first = now
        self.requests += 1
        self.bodies[digest] += 1
        self.arrivals.append(now - self._first)
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        return now

    def leave(self, digest: str, arrived: float, status: int | str, fault: str | None, path: str) -> None:
        self.in_flight -= 1
        self.statuses[str(status)] += 1
        if status == 200:
            self.answered[digest] += 1
        if fault:
            self.faults[fault] += 1
        if self._log:
            seconds = time.monotonic() - arrived
            line = {
                "at": time.time(),
                "hash": digest,
                "status": status,
                "fault": fault,
                "seconds": seconds,
                "path": path,
            }
            self._log.write(orjson.dumps(line) + b"\n")

    def bill(self, read: int, written: int) -> None:
        self.billed[0] += read
        self.billed[1] += written

    def stats(self, *, details: bool = False) -> dict[str, Any]:
        """Numbers so far; with `details` also the count per body hash and the times of arrival."""
        summary: dict[str, Any] = {
            "requests": self.requests,
            "distinct": len(self.bodies),
            "answered": self.answered.total(),
            "answered_distinct": len(self.answered),
            "in_flight": self.in_flight,
            "max_in_flight": self.max_in_flight,
            "statuses": dict(self.statuses),
            "faults": dict(self.faults),
            "billed": self.billed,
        }
        if details:
            summary |= {
                "bodies": dict(self.bodies),
                "answered_bodies": dict(self.answered),
                "arrivals": self.arrivals.tolist(),
            }
        return summary

    def most_within(self, seconds: float) -> int:
        """The most requests that arrived within any span of this length."""
        most = start = 0
        for end, at in enumerate(self.arrivals):
            while self.arrivals[start] <= at - seconds:
                start += 1
            most = max(most, end - start + 1)
        return most


class RpmLimit:
    """A token bucket: `rpm` requests per minute, and at most `burst` at once after a pause."""

    def __init__(self, rpm: float, burst: float | None = None) -> None:
        self.rpm = rpm
        self.burst = burst if burst is not None else max(1.0, rpm / 60)
        self._level = self.burst
        self._at = time.monotonic()

    def take(self) -> float:
        """0 if the request may pass, else the seconds until one may."""
        now = time.monotonic()
        self._level = min(self.burst, self._level + (now - self._at) * self.rpm / 60)
        self._at = now
        if self._level >= 1:
            self._level -= 1
            return 0.0
        return (1 - self._level) * 60 / self.rpm

    @property
    def remaining(self) -> int:
        return int(self._level)
