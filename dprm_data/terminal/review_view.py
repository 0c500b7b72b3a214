"""What the terminal shows of a review: plain data in, rich renderables out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.text import Text

if TYPE_CHECKING:
    from dprm_data.review.argilla import Pulled, Pushed
    from dprm_data.review.human_annotations import Stored


def pushed_view(pushed: Pushed, run: Path) -> RenderableType:
    """The end of a push."""
    text = Text(f"{pushed.records:,} records in {pushed.dataset} ({pushed.workspace})", style="bold")
    text.append(f": {pushed.created:,} new, {pushed.updated:,} updated; {pushed.people} people each", style="not bold")
    text.append(
        "\nchosen as " + ", ".join(f"{why}: {count:,}" for why, count in pushed.purposes.items()), style="not bold"
    )
    if pushed.blind:
        text.append("\nblind: people do not see what the panel said", style="not bold")
    if pushed.other:
        text.append(
            f"\n{pushed.other:,} records there are no item of this run; they were left alone", style="yellow not bold"
        )
    text.append(f"\n{pushed.url}\n", style="not bold")
    text.append("When people have answered: ", style="dim not bold")
    text.append(f"dprm review pull {run}", style="bold cyan")
    return text


def pulled_view(pulled: Sequence[Pulled], run: Path) -> RenderableType:
    """The end of a pull."""
    text = Text()
    for one in pulled:
        text.append(f"{one.dataset} ({one.workspace})\n", style="bold")
        text.append_text(stored_lines(one.stored))
        if one.unknown:
            text.append(
                f"  {one.unknown:,} answers to records that are no item of this run, left there\n", style="yellow"
            )
    text.append_text(next_lines(run))
    return text


def imported_view(stored: Sequence[tuple[str, Stored]], run: Path) -> RenderableType:
    """The end of an import."""
    text = Text()
    for name, one in stored:
        text.append(f"{name}\n", style="bold")
        text.append_text(stored_lines(one))
    text.append_text(next_lines(run))
    return text


def stored_lines(stored: Stored) -> Text:
    """What there is from one place, and what of it is new."""
    text = Text(f"  {stored.submitted:,} submitted answers by {stored.people} people on {stored.items:,} items\n")
    text.append(
        f"  {stored.new:,} new, {stored.changed:,} changed, {stored.withdrawn:,} withdrawn, {stored.unchanged:,} as they were\n"
    )
    if stored.drafts or stored.discarded:
        text.append(f"  kept apart: {stored.drafts:,} drafts, {stored.discarded:,} discarded\n")
    return text


def next_lines(run: Path) -> Text:
    """What to do with people's answers."""
    text = Text("Next: ", style="dim")
    for command in ("review compare", "review calibrate", "fit"):
        text.append(f"dprm {command} {run}   ", style="bold cyan not dim")
    return text
