"""Reads runs again and again, while somebody looks, and keeps the newest state as JSON."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import orjson

from dprm_data.core.version import __version__
from dprm_data.live.judged_sample import Content
from dprm_data.live.run_snapshot import RunSnapshot

_LEAST = 1.0  # seconds between two readings
_SHARE_OF_TIME = 3  # and so many times as long as a reading took
_LOOKS = 15.0  # seconds after a request in which somebody counts as looking


class Watcher:
    """Watches these runs in a thread of its own. Use as a context manager. waits: a folder may not be there yet."""

    def __init__(self, folders: Sequence[Path], *, waits: bool = False) -> None:
        self._runs = [RunSnapshot(folder, waits=waits) for folder in folders]
        self._thread = threading.Thread(target=self._watch, name="watcher", daemon=True)
        self._wanted = threading.Event()
        self._changed = threading.Condition()
        self._asked = float("-inf")
        self._closed = False
        self._ending = False
        self._over = False  # whether the newest state is the last
        self._state: list[Content] = []
        self._content = b""
        self._version = 0
        self._fetched = -1  # the version that a browser has

    def check(self) -> None:
        """Read every run's status. Raises `DprmError` where one cannot be shown."""
        for run in self._runs:
            run.check()

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        self._wanted.set()
        self._thread.join(5)
        for run in self._runs:
            run.close()

    def newest(self, seen: int, wait: float = 10.0) -> bytes | None:
        """The state as JSON; None if the caller has seen it already. Waits for the first."""
        self._asked = time.monotonic()
        self._wanted.set()
        with self._changed:
            self._changed.wait_for(lambda: self._version or self._closed, wait)
            self._fetched = max(self._fetched, self._version)
            return None if seen == self._version else self._content

    @property
    def looked_at(self) -> bool:
        """Whether somebody has looked lately."""
        return time.monotonic() - self._asked < _LOOKS

    def end(self, wait: float) -> None:
        """Read everything once more, and then wait until a browser that looks has got it. Each takes at most so many seconds."""
        if not self.looked_at:
            return
        self._ending = True
        self._wanted.set()
        _wait_for(lambda: self._over, wait)
        _wait_for(lambda: self._fetched == self._version, wait)

    def _watch(self) -> None:
        while not self._closed:
            self._wanted.wait()
            if not self.looked_at and not self._ending:
                self._wanted.clear()
                continue
            began = time.monotonic()
            self._read()
            if self._over:
                return
            pause = max(_LEAST, _SHARE_OF_TIME * (time.monotonic() - began))
            until = time.monotonic() + pause
            while time.monotonic() < until and not self._closed and not self._ending:
                time.sleep(0.05)

    def _read(self) -> None:
        ending = self._ending
        runs = [run.read(whole=ending) for run in self._runs]
        with self._changed:
            self._version += 1
            content = {
                "version": self._version,
                "now": time.time(),
                "over": ending,
                "program": __version__,
                "runs": runs,
            }
            self._content = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
            self._over = ending
            self._changed.notify_all()


def _wait_for(true: Callable[[], bool], seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and not true():
        time.sleep(0.05)
