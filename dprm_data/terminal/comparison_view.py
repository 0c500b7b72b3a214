"""Terminal views of a comparison of the panel with people."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dprm_data.core.format import number, percent
from dprm_data.labels.statistics import Interval
from dprm_data.terminal.table import facts, table

if TYPE_CHECKING:
    from dprm_data.review.compare import Comparison

Format = Callable[[float | None], str]

_SHOWN = 5  # personas at either end
signed: Format = partial(number, sign=True)
_signed_percent: Format = partial(percent, sign=True)


def comparison_view(found: Comparison, worst: int) -> RenderableType:
    """Distance, agreement, confusion, bias, personas, and the `worst` items."""
    header = Text(f"{found.items:,} items, {found.answers:,} answers by {found.people} people", style="bold")
    header.append(f"; {percent(found.level)} intervals\n", style="not bold")
    parts: list[RenderableType] = [
        header,
        _overall(found),
        Text(),
        _agreement(found),
        Text(),
        _confusion(found),
        Text(),
    ]
    parts += [_bias(found), Text(), _personas(found)]
    if worst:
        parts += [Text(), _items(found, worst)]
    parts += [Text(f"note: {note}", style="yellow") for note in found.notes]
    return Group(*parts)


def estimate(interval: Interval, write: Format = number) -> str:
    """A value with its interval: 0.31 (0.28 … 0.35)."""
    if interval.value is None or interval.low is None or interval.high is None:
        return write(interval.value)
    return f"{write(interval.value)} ({write(interval.low)} … {write(interval.high)})"


def _overall(found: Comparison) -> Table:
    rows = facts()
    for name, value, note in (
        ("distance between panel and people (Wasserstein-1)", estimate(found.distance), "in units of reward"),
        (
            "  explained by few answers per item",
            number(found.floor),
            "expected if people answered as the panel predicts",
        ),
        ("  excess", estimate(found.excess, signed), "0: indistinguishable from people"),
        ("most likely label is the same", estimate(found.mode_accuracy, percent), ""),
        ("a person gives the panel's most likely label", estimate(found.panel_says, percent), ""),
        ("a person gives the other people's", estimate(found.people_say, percent), "the most a panel can reach"),
        ("panel's reward minus people's", estimate(found.reward_gap, signed), _verdict(found.reward_gap)),
    ):
        rows.add_row(name, Text(value, style="bold"), Text(note, style="dim"))
    return rows


def _verdict(gap: Interval) -> str:
    if not gap.excludes_zero():
        return "no bias detected"
    return "the panel is too lenient" if (gap.value or 0) > 0 else "the panel is too strict"


def _agreement(found: Comparison) -> Table:
    alphas = table("Krippendorff's alpha", "within the panel", "within people", "between them")
    for name, meaning in (("nominal", "nominal"), ("reward", "interval (rewards)")):
        alphas.add_row(meaning, *(estimate(found.alpha[name][who]) for who in ("panel", "people", "between")))
    return alphas


def _confusion(found: Comparison) -> Table:
    shares = table("where the panel says …", *(f"people: {name}" for name in found.labels), "items")
    for name, row, items in zip(found.labels, found.confusion, found.panel_modes, strict=True):
        shares.add_row(name, *([""] * len(found.labels) if row is None else map(percent, row)), f"{items:,}")
    return shares


def _bias(found: Comparison) -> Table:
    gaps = table("bias", "panel minus people")
    for name, gap in zip(found.labels, found.share_gaps, strict=True):
        gaps.add_row(f"share of {name}", _marked(gap, _signed_percent))
    for kind, groups in (("reward where the panel says", found.by_panel_label), ("reward in", found.by_source)):
        for name, gap in groups.items():
            gaps.add_row(f"{kind} {name}", _marked(gap, signed))
    return gaps


def _marked(gap: Interval, write: Format) -> Text:
    return Text(estimate(gap, write), style="bold yellow" if gap.excludes_zero() else "")


def _personas(found: Comparison) -> Table:
    personas = table(
        "personas, closest first", "items", "distance to a person", "agrees with a person", "reward minus people's"
    )
    hidden = max(len(found.personas) - 2 * _SHOWN, 0)
    shown = [*found.personas[:_SHOWN], *found.personas[_SHOWN + hidden :]]
    for i, each in enumerate(shown):
        if i == _SHOWN and hidden:
            personas.add_row(Text(f"… {hidden:,} more, then the farthest", style="dim"))
        personas.add_row(
            each.annotator_id,
            f"{each.items:,}",
            estimate(each.distance),
            estimate(each.agreement, percent),
            estimate(each.reward_gap, signed),
        )
    return personas


def _items(found: Comparison, worst: int) -> Table:
    items = table(
        "items that differ most", "panel", "people", "answers", "distance", "reward gap", left=("panel", "people")
    )
    for each in found.compared[:worst]:
        items.add_row(
            each.item_id[:8],
            each.panel_label,
            each.people_label,
            str(each.people),
            number(each.distance),
            number(each.reward_gap, 2, sign=True),
        )
    return items
