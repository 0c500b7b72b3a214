"""What the terminal shows of votes: drift, agreement, groups, raking."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from rich.console import Group as Stack
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from dprm_data.panel.raking import Raking
    from dprm_data.preference.agreement import Annotators
    from dprm_data.preference.drift_detection import Drift
    from dprm_data.preference.groups import Group

_MOST = 20  # rows shown; --json and --out have them all


def drift_view(found: Drift) -> RenderableType:
    moved = int(found.moved.sum())
    head = Text(
        f"{moved:,} of {len(found.item_ids):,} items moved (at most {found.rate:.0%} of them false alarms)\n",
        style="bold",
    )
    error = "" if math.isnan(found.shift_error) else f" ± {1.96 * found.shift_error:.3f}"
    head.append(f"mean reward over all compared items: {found.shift:+.3f}{error}\n", style="not bold")
    table = _table("item", "before", "after", "Bayes factor", "p")
    for i in np.flatnonzero(found.moved)[:_MOST]:
        factor = f"{math.exp(min(found.log_bayes_factor[i], 50)):.3g}"
        table.add_row(
            found.item_ids[i], f"{found.before[i]:+.3f}", f"{found.after[i]:+.3f}", factor, f"{found.p_value[i]:.3f}"
        )
    return Stack(head, table, _more(moved)) if moved else head


def agreement_view(summary: dict[str, Any], found: Annotators) -> RenderableType:
    figures = _table("", "")
    figures.show_header = False
    for name, what in (
        ("annotators", "annotators"),
        ("alpha_nominal", "Krippendorff's alpha, nominal"),
        ("alpha_ordinal", "Krippendorff's alpha, ordinal"),
        ("alpha_interval", "Krippendorff's alpha, interval (rewards)"),
        ("effective_annotators", "effective number of different annotators"),
        ("repeat_agreement", "agreement with oneself, asked again"),
    ):
        figures.add_row(what, _number(summary[name]))
    table = _table("annotator", "ratings", "severity", "±", "informativeness", "repeat")
    for i in np.argsort(-np.asarray(found.ratings), kind="stable")[:_MOST]:
        cells = (found.severity[i], 1.96 * found.severity_error[i], found.informativeness[i], found.repeat_agreement[i])
        table.add_row(found.annotator_ids[i], f"{found.ratings[i]:,}", *(_number(float(cell)) for cell in cells))
    hint = Text(
        "severity: mean reward given minus what the others gave the same items; informativeness: correlation with the others\n",
        style="dim",
    )
    return Stack(figures, Text(), table, _more(len(found.annotator_ids)), hint)


def groups_view(found: Sequence[Group]) -> RenderableType:
    table = _table("group", "votes", "differs by", "±", "keeps to the others (votes)")
    for group in found:
        table.add_row(
            group.name,
            f"{group.votes.sum():,.0f}",
            _number(group.difference),
            _number(1.96 * group.difference_error),
            f"{group.strength:,.3g}",
        )
    return Stack(
        table,
        Text("differs by: mean reward given minus what everybody else's votes say of the same items", style="dim"),
    )


def group_table(found: Sequence[Group], item_ids: Sequence[str]) -> pa.Table:
    """A row per item and group: item_id, group, label_distribution, expected_reward, reward_error, votes."""
    parts = [
        pa.table(
            {
                "item_id": pa.array(item_ids, pa.string()),
                "group": pa.array([group.name] * len(item_ids), pa.string()),
                "label_distribution": pa.array(group.distribution.tolist(), pa.list_(pa.float32())),
                "expected_reward": pa.array(group.expected_reward.astype(np.float32)),
                "reward_error": pa.array(group.reward_error.astype(np.float32)),
                "votes": pa.array(group.votes.astype(np.float32)),
            }
        )
        for group in found
    ]
    return pa.concat_tables(parts)


def raking_view(found: Raking, out: Path) -> RenderableType:
    text = Text(
        f"{len(found.weights):,} personas, as good as {found.effective_size:,.1f} of equal weight (design effect {found.design_effect:.2f})\n",
        style="bold",
    )
    text.append(
        f"the heaviest counts {found.largest:.2f} times the mean; margins are met to within {found.error:.1e}\nwrote {out}",
        style="not bold",
    )
    return text


def _number(value: float | None) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"


def _more(count: int) -> Text:
    return Text(f"… and {count - _MOST:,} more (--json has all)\n" if count > _MOST else "", style="dim")


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left")
    return table
