"""Terminal views of a validation: what it means, then the table of distances."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from dprm_data.core.format import money
from dprm_data.pipeline.validate import PAGE, Prepared
from dprm_data.runs.validations import FILE
from dprm_data.terminal.table import facts, table
from dprm_data.validation.validation_sentences import between, findings


def validation_price(prepared: Prepared) -> str:
    """What the validation will ask, in one line."""
    crowd, cost = prepared.crowd, prepared.cost
    calls = f"{prepared.calls:,} calls" if prepared.calls else "no call is left to make"
    price = "" if cost is None or not prepared.calls else f", about {money(cost)}"
    ways = f"{len(prepared.arms)} way{'s' if len(prepared.arms) != 1 else ''} of asking"
    people = f" by {crowd.people:,} people" if crowd.named else ""
    return f"{len(crowd):,} items of {crowd.title or crowd.name}, {int(crowd.counts.sum()):,} answers{people}; {ways}: {calls}{price}"


def validation_view(content: Mapping[str, Any], folder: Path) -> RenderableType:
    """The panels' findings, the table of all predictions, notes, and where the page is."""
    parts: list[RenderableType] = []
    for arm in content["arms"]:
        if arm["role"] == "panel":
            parts += [Text(arm["name"], style="bold"), _findings(content, arm), Text()]
    parts += [_distances(content), Text()]
    parts += [Text(f"note: {note}", style="yellow") for note in content["notes"]]
    parts.append(Text(f"The page: {folder / PAGE}    All figures: {folder / FILE}"))
    return Group(*parts)


def _findings(content: Mapping[str, Any], arm: Mapping[str, Any]) -> RenderableType:
    rows = facts()
    for line in findings(content, arm):
        said = Text(line.answer, style="bold yellow" if line.concern else "bold")
        if line.detail:
            said.append(f"  {line.detail}", style="not bold dim")
        rows.add_row(line.question, said)
    return rows


def _distances(content: Mapping[str, Any]) -> RenderableType:
    made = table("prediction", "items", "RPS", "W1", "log", "skill")
    for row in content["distances"]:
        made.add_row(
            row["name"],
            f"{row['items']:,}",
            between(row["rps"], 3),
            between(row["w1"]),
            between(row["log"]),
            between(row["skill"]),
        )
    return made


def sets_view(rows: list[dict[str, str]]) -> RenderableType:
    """The public sets that are known by name."""
    made = table(
        "set",
        "levels",
        "raters an item",
        "what people judged",
        "licence",
        left=("levels", "raters an item", "what people judged", "licence"),
    )
    for row in rows:
        made.add_row(row["name"], row["levels"], row["raters an item"], row["what people judged"], row["licence"])
    return Group(
        made,
        Text(
            "--against NAME fetches a set from the Hub, or reads it from the folder of --data. Details: docs/people-sets.md"
        ),
    )
