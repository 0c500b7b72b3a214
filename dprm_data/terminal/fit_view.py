"""Terminal views of a fit of people's votes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dprm_data.core.format import number
from dprm_data.labels.space import LabelSpace
from dprm_data.terminal.bars import share_bar
from dprm_data.terminal.table import table

if TYPE_CHECKING:
    from pathlib import Path

    from dprm_data.preference.fitting import Fit


def fit_view(fitted: Fit, space: LabelSpace, out: Path) -> RenderableType:
    """The mean share of every label, the fit's figures, and its file."""
    figures = fitted.summary()
    text = Text(
        f"{figures['items']:,} items, {figures['votes']:,.0f} votes, family {figures['family']}\n", style="bold"
    )
    text.append(
        f"mean expected reward {number(figures['mean_expected_reward'], sign=True)}, "
        f"mean width of credible intervals {number(figures['mean_interval_width'])}\n"
        f"mean disagreement {number(figures['mean_disagreement'])}, {figures['divided_items']:,} items divided into two camps\n",
        style="not bold",
    )
    if fitted.raters_said:
        text.append(f"{fitted.raters_said}\n", style="not bold")
    if fitted.text_said and not fitted.texts:
        text.append(f"{fitted.text_said}\n", style="not bold")
    for note in figures["notes"]:
        text.append(f"{note}\n", style="yellow not bold")
    text.append(f"wrote {out}", style="bold")
    return Group(_shares(space, fitted.distribution.mean(axis=0).tolist()), text)


def _shares(space: LabelSpace, shares: list[float]) -> Table:
    labels = table("label", "reward", "share", "", left=("",))
    rewards = space.rewards.tolist()
    for i, name in enumerate(space.names):
        labels.add_row(name, f"{rewards[i]:g}", number(shares[i]), share_bar(shares[i], rewards, i, 40))
    return labels
