"""Terminal views of a review: what was pushed or exported, and the answers that came back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.text import Text

if TYPE_CHECKING:
    from dprm_data.review.argilla import Pulled, Pushed
    from dprm_data.review.csv_exchange import Exported
    from dprm_data.review.human_annotations import Stored


def pushed_view(pushed: Pushed, run: Path) -> RenderableType:
    """The records in Argilla, and how to bring the answers back."""
    text = Text(f"{pushed.records:,} records in {pushed.dataset} ({pushed.workspace})", style="bold")
    text.append(f": {pushed.created:,} new, {pushed.updated:,} updated; {pushed.people} people each", style="not bold")
    purposes = ", ".join(f"{purpose}: {count:,}" for purpose, count in pushed.purposes.items())
    text.append(f"\nselected as {purposes}", style="not bold")
    if pushed.blind:
        text.append("\nblind: people do not see the panel's answers", style="not bold")
    if pushed.other:
        text.append(f"\nleft {pushed.other:,} records that are not from this run unchanged", style="yellow not bold")
    text.append(f"\n{pushed.url}\n", style="not bold")
    text.append("When people have answered: ", style="dim not bold")
    text.append(f"dprm review pull {run}", style="bold cyan")
    return text


def pulled_view(pulled: Sequence[Pulled], run: Path) -> RenderableType:
    """The answers from each Argilla dataset."""
    text = Text()
    for each in pulled:
        text.append(f"{each.dataset} ({each.workspace})\n", style="bold")
        text.append_text(_stored(each.stored))
        if each.unknown:
            text.append(f"  ignored {each.unknown:,} answers to records that are not from this run\n", style="yellow")
    return text.append_text(_next_steps(run, [each.stored for each in pulled]))


def exported_view(exported: Exported, run: Path, file: Path) -> RenderableType:
    """The table that was written, and how to bring it back."""
    column = "preference" if exported.what == "pairs" else "label"
    return Text(
        f"{exported.records:,} {exported.what} in {exported.file}, selected as {exported.purpose}\n"
        f"Fill in annotator and {column}, then: dprm review import {run} {file}"
    )


def imported_view(stored: Sequence[tuple[str, Stored]], run: Path) -> RenderableType:
    """The answers from each file."""
    text = Text()
    for name, answers in stored:
        text.append(f"{name}\n", style="bold")
        text.append_text(_stored(answers))
    return text.append_text(_next_steps(run, [answers for _, answers in stored]))


def discarded_view(existed: bool) -> RenderableType:
    """The end of `dprm review calibrate --discard`."""
    return Text(
        "Discarded the calibration; the run is fitted without it."
        if existed
        else "There was no calibration to discard."
    )


def _about(stored: Stored) -> str:
    items = stored.items - stored.pairs
    parts = [f"{items:,} items"] if items or not stored.pairs else []
    return " and ".join([*parts, *([f"{stored.pairs:,} pairs"] if stored.pairs else [])])


def _stored(stored: Stored) -> Text:
    """All answers from one place, and which of them are new."""
    text = Text(f"  {stored.submitted:,} submitted answers by {stored.people} people on {_about(stored)}\n")
    text.append(
        f"  {stored.new:,} new, {stored.changed:,} changed, {stored.withdrawn:,} withdrawn, {stored.unchanged:,} unchanged\n"
    )
    if stored.from_deleted_accounts:
        text.append(
            f"  {stored.from_deleted_accounts:,} of the submitted answers are from accounts that no longer exist\n"
        )
    if stored.cut_off:
        text.append("  an earlier write of answers was cut off; its unfinished last row was removed\n", style="yellow")
    if stored.drafts or stored.discarded:
        text.append(f"  not counted: {stored.drafts:,} drafts, {stored.discarded:,} discarded\n")
    return text


def _next_steps(run: Path, stored: Sequence[Stored]) -> Text:
    """What to do with the answers; only those about items are compared with the panel's."""
    text = Text("Next: ", style="dim")
    of_items = any(each.items > each.pairs or not each.items for each in stored)
    for command in ("review compare", "review calibrate", "ratings fit") if of_items else ("ratings fit",):
        text.append(f"dprm {command} {run}   ", style="bold cyan not dim")
    return text
