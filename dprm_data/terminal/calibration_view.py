"""Terminal views of a calibration: what it gains on held-out items, and what it changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dprm_data.core.format import number, percent
from dprm_data.terminal.comparison_view import estimate, signed
from dprm_data.terminal.table import table

if TYPE_CHECKING:
    from dprm_data.review.calibrate import Calibration
    from dprm_data.runs.run import Run

_SHOWN = 10  # personas
_FEW = 10  # people


def calibration_view(found: Calibration, run: Run) -> RenderableType:
    """The gain, whether the calibration was applied, and its weights and label confusion."""
    text = Text(f"{found.items:,} items, {found.answers:,} answers by {found.people} people\n", style="bold")
    text.append(
        f"distance to people on held-out items: {number(found.distance_given)} uncalibrated, "
        f"{number(found.distance_read)} calibrated\n"
        f"gain {estimate(found.gain, signed)}, {percent(found.level)} interval\n",
        style="not bold",
    )
    if found.worth is not None:
        text.append(f"{found.worth['sentence']}\n")
        if found.people < _FEW:
            few = f"Only {found.people} people have answered: the calibration cannot separate their shared taste from the population's. Ask more people, each about fewer items.\n"
            text.append(few, style="yellow")
        text.append(_in_force(run), style="not bold")
        return text
    if not found.applied:
        text.append("Not applied: ", style="bold yellow")
        text.append(
            "no calibration brings the panel clearly closer to people. The fit stays as it was.", style="not bold"
        )
        return text
    text.append("Applied", style="bold green")
    text.append(
        f" to all items, and fitted; a person's vote counts as {found.human_weight:g} of the panel's.\n"
        + _in_force(run),
        style="not bold",
    )
    return Group(text, _weights(found.weights), Text(), _confusion(found.reading["shared"], run.space.names))


def _in_force(run: Run) -> str:
    return (
        f"The uncalibrated fit: {run.folder.path}/tables/uncalibrated.parquet\n"
        f"To go back to it: dprm review calibrate {run.folder} --discard\n"
    )


def _weights(weights: Mapping[str, tuple[float, float]]) -> Table:
    personas = table("persona's weight", "before", "after")
    most_changed = sorted(weights.items(), key=lambda pair: -abs(pair[1][1] - pair[1][0]))
    for name, (before, after) in most_changed[:_SHOWN]:
        personas.add_row(name, percent(before, 1), percent(after, 1))
    if len(most_changed) > _SHOWN:
        personas.add_row(Text(f"… {len(most_changed) - _SHOWN:,} that changed less", style="dim"))
    return personas


def _confusion(shared: Sequence[Sequence[float]], names: Sequence[str]) -> Table:
    shares = table("a persona's answer …", *(f"read as {name}" for name in names))
    for name, row in zip(names, shared, strict=True):
        shares.add_row(name, *map(percent, row))
    return shares
