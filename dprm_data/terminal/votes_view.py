"""Terminal views of votes: drift, agreement, groups, raking."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Group as Stack
from rich.console import RenderableType
from rich.text import Text

from dprm_data.core.format import count, number, percent
from dprm_data.core.text import visible
from dprm_data.terminal.table import facts, table

if TYPE_CHECKING:
    from dprm_data.panel.raking import Raking
    from dprm_data.preference.agreement import Annotators
    from dprm_data.preference.drift_detection import Drift
    from dprm_data.preference.groups import Group
    from dprm_data.preference.rater_effects import Raters

_MOST = 20  # rows shown
_UNITS = {
    "rater": " (the rater as the unit)",
    "assumed": " (the rater as the unit; who gave the others is assumed to be as few people as possible)",
    "vote": " (as if every vote were another person's: nobody says who voted)",
}


def drift_view(found: Drift) -> RenderableType:
    """The items whose reward moved, strongest evidence first, and the mean shift of all."""
    moved = int(found.moved.sum())
    header = Text(
        f"{moved:,} of {len(found.item_ids):,} items moved (false discovery rate at most {percent(found.rate)})\n",
        style="bold",
    )
    error = "" if math.isnan(found.shift_error) else f" ± {number(1.96 * found.shift_error)}"
    header.append(
        f"mean shift of the reward over all compared items: {number(found.shift, sign=True)}{error}{_UNITS[found.unit]}\n",
        style="not bold",
    )
    items = table("item", "before", "after", "Bayes factor", "p")
    for i in np.flatnonzero(found.moved)[:_MOST]:
        items.add_row(
            found.item_ids[i],
            number(found.before[i], sign=True),
            number(found.after[i], sign=True),
            f"{math.exp(min(found.log_bayes_factor[i], 50)):.3g}",
            number(found.p_value[i]),
        )
    return Stack(header, items, *_more(moved)) if moved else header


def agreement_view(
    summary: dict[str, Any], found: Annotators, learned: Raters | None = None, said: str = ""
) -> RenderableType:
    """Agreement of all annotators, the figures of each, and their severities as the model of raters has them."""
    figures = facts()
    figures.add_row("annotators", count(summary["annotators"]))
    for name, meaning in (
        ("alpha_nominal", "Krippendorff's alpha, nominal"),
        ("alpha_ordinal", "Krippendorff's alpha, ordinal"),
        ("alpha_interval", "Krippendorff's alpha, interval (rewards)"),
        ("effective_annotators", "effective number of annotators"),
        ("repeat_agreement", "repeat agreement (same annotator, same item)"),
    ):
        figures.add_row(meaning, number(summary[name]))
    annotators = table("annotator", "ratings", "severity", "±", "informativeness", "repeat")
    for i in np.argsort(-np.asarray(found.ratings), kind="stable")[:_MOST]:
        cells = (found.severity[i], 1.96 * found.severity_error[i], found.informativeness[i], found.repeat_agreement[i])
        annotators.add_row(
            Text(visible(found.annotator_ids[i])), count(found.ratings[i]), *(number(float(cell)) for cell in cells)
        )
    hint = Text(
        "severity: mean reward given, minus that of the others on the same items; informativeness: correlation with the others\n"
        "alpha: over all pairs of ratings of an item; a run’s verdict takes those of different annotators only",
        style="dim",
    )
    rest = [Text(f"\n{said}"), *([_severities(learned)] if learned else [])] if said else []
    return Stack(figures, Text(), annotators, *_more(len(found.annotator_ids)), hint, *rest)


def _severities(learned: Raters) -> RenderableType:
    rows = table("annotator", "votes", "severity", "90 % interval")
    low, high = learned.severity_interval()
    for i in np.argsort(learned.severity, kind="stable")[:_MOST]:
        ends = f"{number(low[i], sign=True)} … {number(high[i], sign=True)}"
        rows.add_row(
            Text(visible(learned.annotator_ids[i])),
            count(learned.votes[i]),
            number(learned.severity[i], sign=True),
            ends,
        )
    return Stack(rows, *_more(len(learned.annotator_ids)))


def groups_view(found: Sequence[Group]) -> RenderableType:
    """Every group's votes, its difference from the others, and how far its distributions are shrunk towards theirs."""
    from dprm_data.preference.groups import MOST_STRENGTH

    groups = table("group", "votes", "reward against the others'", "± (95%)", "p", "the others' view counts as")
    for group in found:
        groups.add_row(
            Text(visible(group.name)),
            count(float(group.votes.sum())),
            number(group.difference),
            number(1.96 * group.difference_error),
            number(group.p_value),
            "every vote" if group.strength >= MOST_STRENGTH else f"at most {group.strength:,.1f} votes",
        )
    hint = Text(
        "reward against the others': how much more reward the group's raters give than the others on the same items; ± and p take the rater, not "
        "the vote, as the unit; the others' view of an item: "
        "as how many of the group's own votes theirs count at most, however many they are",
        style="dim",
    )
    return Stack(groups, hint)


def raking_view(found: Raking, out: Path) -> RenderableType:
    """The weights' effective sample size, the largest weight, and the file."""
    text = Text(
        f"{len(found.weights):,} personas, effective sample size {found.effective_size:,.1f} (design effect {found.design_effect:.2f})\n",
        style="bold",
    )
    text.append(
        f"largest weight {found.largest:.2f} times the mean; margins are met to within {found.error:.1e}\nwrote {out}",
        style="not bold",
    )
    return text


def _more(rows: int) -> list[Text]:
    return [Text(f"… and {rows - _MOST:,} more (all of them with --json)", style="dim")] if rows > _MOST else []
