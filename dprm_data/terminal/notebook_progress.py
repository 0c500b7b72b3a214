"""Progress below a notebook's cell: what was said, and a line that is updated in place."""

from __future__ import annotations

import importlib
from collections import deque
from contextlib import AbstractContextManager
from typing import Any

from rich.console import Group
from rich.text import Text

from dprm_data.core.text import visible
from dprm_data.engine.counters import Counters
from dprm_data.runs.run import Progress
from dprm_data.terminal.counters_view import progress_line
from dprm_data.terminal.rendered import as_text, lines_as_html

_MOST_SAID = 20  # messages that stay visible


class _Shown:
    """What is seen at the moment, in both forms that notebooks keep."""

    def __init__(self, lines: list[Text]) -> None:
        self._view = Group(*lines)
        self._empty = not lines

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        if self._empty:
            return {"text/html": "", "text/plain": ""}
        return {"text/html": lines_as_html(self._view), "text/plain": as_text(self._view)}


class NotebookProgress(Progress, AbstractContextManager["NotebookProgress"]):
    """Shows a run's progress by IPython's display, which every front end updates in place. What remains at the end are messages and counters."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._said: deque[Text] = deque(maxlen=_MOST_SAID)
        self._line: Text | None = None
        self._counted: Text | None = None

    def __exit__(self, *_: object) -> None:
        self._show(self._counted)

    def stage(self, name: str) -> None:
        self._show(Text(f"{visible(name)} …", style="bold"))

    def items(self, count: int) -> None:
        self._show(Text(f"reading items … {count:,}"))

    def update(self, counters: Counters) -> None:
        self._counted = progress_line(counters)
        self._show(self._counted)

    def say(self, text: str) -> None:
        self._said.append(Text(visible(text)))
        self._show(self._line)

    def _show(self, line: Text | None) -> None:
        self._line = line
        shown = _Shown([*self._said, *([line] if line else [])])
        if self._handle is None:
            display: Any = importlib.import_module("IPython.display").display  # it has no types
            self._handle = display(shown, display_id=True)
        else:
            self._handle.update(shown)
