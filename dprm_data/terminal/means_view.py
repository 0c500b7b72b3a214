"""Terminal view of people's mean rewards, estimated from the panel and people's answers."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from dprm_data.core.format import number, percent
from dprm_data.labels.statistics import Interval
from dprm_data.review.mean import Means
from dprm_data.review.powered import Estimate
from dprm_data.terminal.table import table


def means_view(found: Means) -> RenderableType:
    """A row for all items, each group and each difference: people and panel together, people alone, the panel alone, the number of answers, and the effective sample size of an answer."""
    what = "mean reward" if found.of == "reward" else f"share of {found.of}"
    shown = table(what, "people and panel", "people alone", "panel alone", "answers", "each worth", left=(what,))
    lines = [("all items", found.whole), *found.groups.items()]
    lines += [(f"{one} − {two}", estimate) for one, two, estimate in found.differences]
    for name, estimate in lines:
        shown.add_row(name, *_figures(estimate))
    notes = Text(
        f"{percent(found.level)} intervals of people's mean over all items. The panel alone has no valid interval. Each worth: how many answers without the panel one answer with it replaces.\n",
        style="dim",
    )
    if not found.representative:
        notes.append(
            "The reviewed items were not chosen at random: the figures hold for items like these only.\n",
            style="yellow",
        )
    for name, reason in found.skipped.items():
        notes.append(f"{name} left out: {reason}\n", style="yellow")
    return Group(shown, notes)


def _figures(found: Estimate) -> tuple[str, ...]:
    return (
        _interval(found.both),
        _interval(found.people_alone),
        number(found.panel_alone, 2, sign=True),
        f"{found.answers:,} on {found.reviewed:,} of {found.items:,}",
        f"{number(found.worth, 1)} ×",
    )


def _interval(found: Interval) -> str:
    return (
        f"{number(found.value, 2, sign=True)} ({number(found.low, 2, sign=True)} … {number(found.high, 2, sign=True)})"
    )
