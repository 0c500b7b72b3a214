"""Terminal views of a trial: what it will cost, and each answer with what was read from it."""

from __future__ import annotations

from pathlib import Path

from rich.console import Group, RenderableType
from rich.text import Text

from dprm_data.core.format import money, percent
from dprm_data.core.text import cut, one_line, visible
from dprm_data.engine.plan import Plan
from dprm_data.pipeline.trial import RawAnswer, Trial, TriedItem
from dprm_data.terminal.pilot_view import calls_and_price, projection_view
from dprm_data.terminal.table import table

_LONGEST = 400  # characters of an answer that are shown


def trial_price(plan: Plan) -> str:
    """What the trial will ask and cost, in a line."""
    return f"the trial: {calls_and_price(plan)}"


def trial_view(found: Trial, recipe: Path) -> RenderableType:
    """The items with their answers, then the price, then what to change."""
    parts: list[RenderableType] = []
    for item in found.items:
        parts += [_item(item), Text()]
    failed = found.annotations - found.ok
    header = Text(f"{len(found.items):,} items, {found.annotations:,} annotations", style="bold")
    if found.stopped:
        header.append(", stopped early")
    header.append(f" ({failed:,} without a label)" if failed else " (all with a label)", style="not bold")
    header.append(f", {money(found.cost)}", style="not bold")
    parts += [header]
    if found.projection:
        parts += [projection_view(found.projection)]
    said = found.stopped or ""  # the error that follows has its own advice in it
    parts += [Text(f"To change: {advice}", style="bold yellow") for advice in found.advice if advice not in said]
    parts += [Text(f"These calls are in the run's ledger: dprm run {recipe} does not pay for them again.", style="dim")]
    return Group(*parts)


def _item(item: TriedItem) -> RenderableType:
    several = len({answer.model_id for answer in item.answers}) > 1
    shown = table("annotator", "answer", "read as", left=("answer", "read as"))
    for answer in item.answers:
        model = f" ({answer.model_id})" if several else ""
        replicate = f" #{answer.replicate}" if answer.replicate else ""
        for i, text in enumerate(answer.texts or ("–",)):
            last = i == len(answer.texts or ("–",)) - 1
            said = cut(visible(text).strip(), _LONGEST) or "(empty)"
            who = f"{answer.annotator_id}{replicate}{model}" if i == 0 else "  asked again"
            shown.add_row(who, said, _read(answer) if last else Text("could not be read", style="yellow"))
    return Group(
        Text(f"item {item.item_id[:8]}", style="bold"),
        Text(f"prompt: {one_line(item.prompt, 160)}"),
        Text(f"response: {one_line(item.response, 160)}"),
        shown,
    )


def _read(answer: RawAnswer) -> Text:
    if answer.status != "ok":
        return Text(
            f"{answer.status}: {one_line(answer.reason, 160)}" if answer.reason else answer.status, style="yellow"
        )
    if answer.label is None or (answer.probs and max(answer.probs.values()) < 1):
        likely = sorted((answer.probs or {}).items(), key=lambda pair: -pair[1])[:3]
        return Text(", ".join(f"{name} {percent(share)}" for name, share in likely))
    return Text(answer.label, style="green")
