"""Progress on stderr, so that stdout is free for `--json`: a live line on a terminal, plain lines in a pipe."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from rich.live import Live
from rich.text import Text

from dprm_data.core.text import visible
from dprm_data.engine.counters import Counters
from dprm_data.runs.run import Progress
from dprm_data.terminal.console import SafeConsole
from dprm_data.terminal.counters_view import progress_line

_PLAIN_EVERY = 10.0  # seconds between plain lines


class TerminalProgress(Progress, AbstractContextManager["TerminalProgress"]):
    """Shows a run's progress on the console. quiet: show nothing."""

    def __init__(self, console: SafeConsole, *, quiet: bool = False) -> None:
        self._console = console
        self._quiet = quiet
        self._live = (
            Live(console=console, refresh_per_second=8, transient=True) if console.is_terminal and not quiet else None
        )
        self._spoke = time.monotonic()
        self.doing = "preparing the run"  # the present stage, in words

    def __enter__(self) -> TerminalProgress:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the terminal to somebody else, such as a question."""
        if self._live:
            self._live.stop()
        try:
            yield
        finally:
            if self._live:
                self._live.start()

    def stage(self, name: str) -> None:
        self.doing = name
        self._spoke = time.monotonic()
        if self._live:
            self._live.update(Text(f"{name} …", style="bold"))
        elif not self._quiet:
            self._print(f"{name} …")

    def items(self, count: int) -> None:
        self._line(Text(f"reading items … {count:,}"))

    def update(self, counters: Counters) -> None:
        self._line(progress_line(counters))

    def say(self, text: str) -> None:
        if not self._quiet:
            self._print(text)

    def _print(self, text: str) -> None:
        self._console.print(Text(visible(text)), soft_wrap=True)

    def _line(self, text: Text) -> None:
        if self._live:
            self._live.update(text)
        elif not self._quiet and time.monotonic() - self._spoke >= _PLAIN_EVERY:
            self._spoke = time.monotonic()
            self._console.print(text, soft_wrap=True)
