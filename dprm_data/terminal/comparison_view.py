"""What the terminal shows of a comparison and of a calibration: plain data in, rich renderables out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dprm_data.labels.statistics import Interval

if TYPE_CHECKING:
    from dprm_data.review.calibrate import Calibration
    from dprm_data.review.compare import Comparison
    from dprm_data.runs.run import Run

_SHOWN = 5  # personas at either end


def comparison_view(found: Comparison, worst: int) -> RenderableType:
    """Panel and people, for a person."""
    head = Text(f"{found.items:,} items, {found.answers:,} answers by {found.people} people", style="bold")
    head.append(f"; intervals at {found.level:.0%}\n", style="not bold")
    parts: list[RenderableType] = [head, _overall(found), Text(), _agreement(found), Text(), _confusion(found), Text()]
    parts += [_direction(found), Text(), _personas(found)]
    if worst:
        parts += [Text(), _items(found, worst)]
    parts += [Text(f"note: {note}", style="yellow") for note in found.notes]
    return Group(*parts)


def said(interval: Interval, *, percent: bool = False, sign: bool = False) -> str:
    """0.31 (0.28 … 0.35), or – where there is nothing."""
    if interval.value is None:
        return "–"

    def one(value: float) -> str:
        return (
            f"{value:+.0%}" if percent and sign else f"{value:.0%}" if percent else f"{value:{'+' if sign else ''}.3f}"
        )

    if interval.low is None or interval.high is None:
        return one(interval.value)
    return f"{one(interval.value)} ({one(interval.low)} … {one(interval.high)})"


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right")
    return table


def _overall(found: Comparison) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    rows = (
        ("distance of panel and people (Wasserstein-1)", said(found.distance), "in units of reward"),
        ("  of which few answers per item explain", f"{found.floor:.3f}", "if people answered as the panel says"),
        ("  beyond that", said(found.excess, sign=True), "0: cannot be told from people"),
        ("the panel's most likely label is people's", said(found.mode_accuracy, percent=True), ""),
        ("a person says the panel's most likely label", said(found.panel_says, percent=True), ""),
        (
            "a person says the other people's",
            said(found.people_say, percent=True),
            "what can be asked of a panel at all",
        ),
        ("the panel's reward minus people's", said(found.reward_gap, sign=True), _verdict(found.reward_gap)),
    )
    for row in rows:
        table.add_row(row[0], Text(row[1], style="bold"), Text(row[2], style="dim"))
    return table


def _verdict(gap: Interval) -> str:
    if not gap.excludes_zero():
        return "no direction can be seen"
    return "the panel is too kind" if (gap.value or 0) > 0 else "the panel is too strict"


def _agreement(found: Comparison) -> Table:
    table = _table("Krippendorff's alpha", "within the panel", "within people", "between them")
    for name, what in (("nominal", "same label or not"), ("reward", "by reward")):
        alphas = found.alpha[name]
        table.add_row(what, *(said(alphas[who]) for who in ("panel", "people", "between")))
    return table


def _confusion(found: Comparison) -> Table:
    table = _table("where the panel says …", *(f"people: {name}" for name in found.labels), "items")
    for name, row, count in zip(found.labels, found.confusion, found.panel_modes, strict=True):
        cells = ["" if row is None else f"{share:.0%}" for share in (row or [0.0] * len(found.labels))]
        table.add_row(name, *cells, f"{count:,}")
    return table


def _direction(found: Comparison) -> Table:
    table = _table("wrong in one direction?", "panel minus people")
    for name, gap in zip(found.labels, found.share_gaps, strict=True):
        table.add_row(f"share of {name}", _marked(gap, said(gap, percent=True, sign=True)))
    for kind, groups in (("reward where the panel says", found.by_panel_label), ("reward in", found.by_source)):
        for name, gap in groups.items():
            table.add_row(f"{kind} {name}", _marked(gap, said(gap, sign=True)))
    return table


def _marked(gap: Interval, text: str) -> Text:
    return Text(text, style="bold yellow" if gap.excludes_zero() else "")


def _personas(found: Comparison) -> Table:
    table = _table(
        "personas, closest first", "items", "distance to a person", "says what a person says", "reward minus people's"
    )
    shown = found.personas
    if len(shown) > 2 * _SHOWN:
        shown = [*shown[:_SHOWN], *shown[-_SHOWN:]]
    for at, one in enumerate(shown):
        if at == _SHOWN and len(found.personas) > 2 * _SHOWN:
            table.add_row(Text(f"… {len(found.personas) - 2 * _SHOWN:,} more, then the farthest", style="dim"))
        table.add_row(
            one.annotator_id,
            f"{one.items:,}",
            said(one.distance),
            said(one.agreement, percent=True),
            said(one.reward_gap, sign=True),
        )
    return table


def _items(found: Comparison, worst: int) -> Table:
    table = _table("items that differ most", "panel says", "people say", "answers", "distance", "reward gap")
    for one in found.compared[:worst]:
        table.add_row(
            one.item_id[:8],
            one.panel_label,
            one.people_label,
            str(one.people),
            f"{one.distance:.3f}",
            f"{one.reward_gap:+.2f}",
        )
    return table


def calibration_view(found: Calibration, run: Run) -> RenderableType:
    """What was learned, what it gains, and what happens now."""
    text = Text(f"{found.items:,} items, {found.answers:,} answers by {found.people} people\n", style="bold")
    text.append(
        f"distance to people on items not seen: {found.distance_given:.3f} as given, {found.distance_read:.3f} as read\n"
        f"gain {said(found.gain, sign=True)} at {found.level:.0%}\n",
        style="not bold",
    )
    if not found.applied:
        text.append("Not applied: ", style="bold yellow")
        text.append(
            "no reading of the panel is clearly closer to people than its own word. The fit stays as it was.",
            style="not bold",
        )
        return text
    text.append("Applied", style="bold green")
    text.append(
        f" to all items, and fitted; a person's vote counts {found.human_weight:g} of the panel's.\n"
        f"The fit without it: {run.folder.path}/tables/uncalibrated.parquet; back to it: dprm review calibrate {run.folder} --discard\n",
        style="not bold",
    )
    return Group(text, _weights(found.weights), Text(), _bias(found.reading["shared"], run.space.names))


def _weights(weights: Mapping[str, tuple[float, float]]) -> Table:
    table = _table("persona's weight", "given", "read")
    moved = sorted(weights.items(), key=lambda pair: -abs(pair[1][1] - pair[1][0]))
    for name, (before, after) in moved[: 2 * _SHOWN]:
        table.add_row(name, f"{before:.1%}", f"{after:.1%}")
    if len(moved) > 2 * _SHOWN:
        table.add_row(Text(f"… {len(moved) - 2 * _SHOWN:,} that moved less", style="dim"))
    return table


def _bias(shared: Sequence[Sequence[float]], names: Sequence[str]) -> Table:
    table = _table("what all personas say …", *(f"read as {name}" for name in names))
    for name, row in zip(names, shared, strict=True):
        table.add_row(name, *(f"{share:.0%}" for share in row))
    return table
