"""Terminal view of the verdict on a run."""

from __future__ import annotations

from rich.console import RenderableType
from rich.text import Text

from dprm_data.runs.verdict import Verdict
from dprm_data.terminal.table import facts


def verdict_view(found: Verdict) -> RenderableType:
    """A row for each question: the answer, in another colour where it is a reason for concern, and what there is to say about it."""
    rows = facts()
    for line in found.lines():
        answer = Text(f"{line.answer}.", style="bold yellow" if line.concern else "bold")
        rows.add_row(Text(line.question, no_wrap=True), answer.append(f" {line.detail}", style="not bold default"))
    return rows
