"""The door to the terminal: every line that `dprm` prints passes here, and shows texts instead of obeying them.

Items, personas, labels, rationales, names of files and servers' messages come from strangers. Control characters in them are made visible, and what looks like
Rich's markup is text.

A result that cannot be printed is an error. Progress and notes on stderr are not worth a run: where they cannot be printed, they are dropped.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from dprm_data.core.errors import DprmError
from dprm_data.core.text import json_line, visible


class OutputClosed(Exception):
    """Whoever read the output has stopped, as `head` does: there is nothing left to say."""


class SafeConsole(Console):
    """A console on which no text is markup, an emoji's name or a control sequence. Colours are the views' own."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(markup=False, emoji=False, **settings)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Segments as Rich renders them, with visible texts; Rich's own control segments (of a live line) stay."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)

    def print(self, *objects: Any, **settings: Any) -> None:
        try:
            super().print(*objects, **settings)
        except OSError:
            if not self.stderr:
                raise
            self.quiet = True

    def on_broken_pipe(self) -> None:
        """Rich would end the process with 1."""
        if not self.stderr:
            raise BrokenPipeError
        self.quiet = True


def print_view(view: RenderableType) -> None:
    """Print a view on stdout."""
    with _stdout():
        SafeConsole(soft_wrap=False).print(view)


def print_json(content: dict[str, Any]) -> None:
    """Print one line of JSON on stdout."""
    with _stdout() as out:
        out.write(json_line(content) + "\n")


def print_line(text: str) -> None:
    """Print a text on stdout."""
    with _stdout() as out:
        out.write(visible(text) + "\n")


def print_note(text: str) -> None:
    """Print a text on stderr, if it can be printed."""
    with suppress(OSError):
        sys.stderr.write(visible(text) + "\n")
        sys.stderr.flush()


def stderr_console() -> SafeConsole:
    """A console on stderr, for progress."""
    return SafeConsole(stderr=True, highlight=False)


def drop_output() -> None:
    """Send what is left in the buffer of stdout nowhere, or the interpreter would fail to write it at its end."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def _stdout() -> Iterator[IO[str]]:
    """stdout, flushed. Raises `OutputClosed`, or `DprmError` if it cannot be written, to a full disk for instance."""
    try:
        yield sys.stdout
        sys.stdout.flush()
    except BrokenPipeError as error:
        drop_output()
        raise OutputClosed from error
    except OSError as error:
        drop_output()
        raise DprmError(
            f"cannot write the output: {error.strerror or error}", hint="Make room there, or send it elsewhere."
        ) from error
