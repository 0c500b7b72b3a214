"""The catalogue: the bundled panels and label spaces, as data and as tables."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from dprm_data.core.resources import bundled_names
from dprm_data.labels.space import LabelSpace
from dprm_data.panel.panel_sources import load_panel
from dprm_data.panel.personas import Panel
from dprm_data.terminal.table import table


def panel_entries() -> list[dict[str, Any]]:
    """One entry per bundled panel."""
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
    panels = table("panel", "personas", "attributes", "description", left=("attributes", "description"))
    for entry in entries:
        name, attributes = Text(entry["name"], style="bold"), ", ".join(entry["attributes"]) or "–"
        panels.add_row(name, str(entry["personas"]), attributes, entry["description"])
    return Group(panels, Text("\nTo list a panel's personas: dprm panel show NAME", style="dim"))


def panel_view(panel: Panel) -> RenderableType:
    personas = table("persona", "weight", "attributes", "description", left=("attributes", "description"))
    for persona in panel.personas:
        attributes = ", ".join(f"{name} {value}" for name, value in persona.attributes.items())
        personas.add_row(
            Text(persona.id, style="bold"), f"{persona.weight:.3g}", attributes or "–", Text(persona.description)
        )
    return Group(Text(f"{panel.name}: {panel.description}\n"), personas)


def space_entries() -> list[dict[str, Any]]:
    """One entry per bundled label space."""
    spaces = {name: LabelSpace.load(name) for name in bundled_names("label_spaces")}
    return [
        {"name": name, "labels": space.K, "axes": [axis.name for axis in space.axes], "description": space.description}
        for name, space in spaces.items()
    ]


def spaces_view(entries: list[dict[str, Any]]) -> RenderableType:
    spaces = table("label space", "labels", "axes", "description", left=("axes", "description"))
    for entry in entries:
        name = Text(entry["name"], style="bold")
        spaces.add_row(name, str(entry["labels"]), ", ".join(entry["axes"]), entry["description"])
    return Group(
        spaces,
        Text(
            "\nA number K stands for an ordinal scale with rewards 1 … K. To show one: dprm labels show NAME",
            style="dim",
        ),
    )


def space_view(space: LabelSpace) -> RenderableType:
    axes = [axis.name for axis in space.axes]
    labels = table("label", "wording", "reward", *axes, "meaning", left=("wording", *axes, "meaning"))
    for label in space.labels:
        levels = [label.levels[axis] for axis in axes]
        labels.add_row(Text(label.name, style="bold"), label.said, f"{label.reward:g}", *levels, label.description)
    costs = table("ground cost", *space.names)
    for name, row in zip(space.names, space.ground_cost.tolist(), strict=True):
        costs.add_row(Text(name, style="bold"), *(f"{cost:g}" for cost in row))
    parts: list[RenderableType] = [Text(f"{space.name}: {space.description}\n"), labels, Text(), costs]
    parts += [Text(f"not a metric: {line}", style="yellow") for line in space.triangle_violations()[:5]]
    return Group(*parts)
