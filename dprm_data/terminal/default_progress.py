"""The progress that suits the place: a notebook, a terminal, or a pipe."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dprm_data.runs.run import Progress
from dprm_data.terminal.console import stderr_console


@contextmanager
def shown_progress(wanted: Progress | bool | None) -> Iterator[Progress]:
    """The progress that was given; for True one that shows it here, for False or None one that shows nothing."""
    if isinstance(wanted, Progress):
        yield wanted
        return
    if not wanted:
        yield Progress()
        return
    console = stderr_console()
    if console.is_jupyter:
        from dprm_data.terminal.notebook_progress import NotebookProgress

        with NotebookProgress() as below_the_cell:
            yield below_the_cell
    else:
        from dprm_data.terminal.progress import TerminalProgress

        with TerminalProgress(console) as on_stderr:
            yield on_stderr
