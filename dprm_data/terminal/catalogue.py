"""The catalogue: bundled panels and label spaces, as data and for the terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dprm_data.core.resources import bundled_names
from dprm_data.labels.space import LabelSpace
from dprm_data.panel.panel_sources import load_panel
from dprm_data.panel.personas import Panel


def panel_entries() -> list[dict[str, Any]]:
    """Every bundled panel in short."""
    panels = {name: load_panel(name) for name in bundled_names("personas")}
    return [
        {
            "name": name,
            "personas": len(panel.personas),
            "attributes": panel.attribute_names,
            "description": panel.description,
        }
        for name, panel in panels.items()
    ]


def panels_view(entries: list[dict[str, Any]]) -> RenderableType:
    table = _table("panel", "personas", "attributes", "what it is")
    for entry in entries:
        table.add_row(
            Text(entry["name"], style="bold"),
            str(entry["personas"]),
            ", ".join(entry["attributes"]) or "–",
            entry["description"],
        )
    return Group(table, Text("\ndprm panels NAME shows the personas of one.", style="dim"))


def panel_view(panel: Panel) -> RenderableType:
    table = _table("persona", "weight", "attributes", "who it is")
    for persona in panel.personas:
        attributes = ", ".join(f"{name} {value}" for name, value in persona.attributes.items())
        table.add_row(
            Text(persona.id, style="bold"), f"{persona.weight:.3g}", attributes or "–", Text(persona.description)
        )
    return Group(Text(f"{panel.name}: {panel.description}\n"), table)


def space_entries() -> list[dict[str, Any]]:
    """Every bundled label space in short."""
    spaces = {name: LabelSpace.load(name) for name in bundled_names("label_spaces")}
    return [
        {"name": name, "labels": space.K, "axes": [axis.name for axis in space.axes], "description": space.description}
        for name, space in spaces.items()
    ]


def spaces_view(entries: list[dict[str, Any]]) -> RenderableType:
    table = _table("label space", "labels", "axes", "what it is")
    for entry in entries:
        table.add_row(
            Text(entry["name"], style="bold"), str(entry["labels"]), ", ".join(entry["axes"]), entry["description"]
        )
    return Group(
        table, Text("\nA number K is a plain scale with rewards 1 … K. dprm labels NAME shows one.", style="dim")
    )


def space_view(space: LabelSpace) -> RenderableType:
    labels = _table("label", "said as", "reward", *(axis.name for axis in space.axes), "meaning")
    for label in space.labels:
        levels = [label.levels[axis.name] for axis in space.axes]
        labels.add_row(Text(label.name, style="bold"), label.said, f"{label.reward:g}", *levels, label.description)
    costs = _table("ground cost", *space.names)
    for name, row in zip(space.names, space.ground_cost.tolist(), strict=True):
        costs.add_row(Text(name, style="bold"), *(f"{cost:g}" for cost in row))
    parts: list[RenderableType] = [Text(f"{space.name}: {space.description}\n"), labels, Text(), costs]
    parts += [Text(f"no metric: {line}", style="yellow") for line in space.triangle_violations()[:5]]
    return Group(*parts)


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column)
    return table
