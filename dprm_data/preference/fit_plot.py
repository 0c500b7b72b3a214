"""Plots of a fit: items' distributions, and how groups of people differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from dprm_data.core.arrays import Floats, Ints
from dprm_data.core.format import percent
from dprm_data.core.plots import Bar, Plot, Strip, diverging
from dprm_data.labels.space import LabelSpace

if TYPE_CHECKING:
    from dprm_data.preference.groups import Group


def spread_out(rewards: Floats, most: int) -> Ints:
    """At most so many rows, from the best to the worst, evenly over their order."""
    order = np.argsort(-rewards, kind="stable")
    return order[np.unique(np.linspace(0, len(order) - 1, min(most, len(order))).round().astype(np.int64))]


def plot_items(
    rows: Ints,
    names: Sequence[str],
    distribution: Floats,
    rewards: tuple[Floats, Floats, Floats],
    level: float,
    space: LabelSpace,
    title: str,
) -> Plot:
    """Some rows of the distributions (N, K), with the expected reward, its lower and its upper end (N,) each."""
    expected, low, high = rewards
    bars = [
        Bar(names[i], distribution[i].tolist(), float(expected[i]), float(low[i]), float(high[i]))
        for i in rows.tolist()
    ]
    ends = float(space.rewards.min()), float(space.rewards.max())
    return diverging(
        title, bars, space.names, space.rewards, Strip(f"expected reward, {percent(level)} interval", *ends)
    )


def plot_groups(groups: Sequence[Group], space: LabelSpace) -> Plot:
    """Every group's mean distribution, and how much more reward it gives than the others on the same items."""
    bars = [
        Bar(
            group.name,
            group.distribution.mean(axis=0).tolist(),
            group.difference,
            group.difference - 1.96 * group.difference_error,
            group.difference + 1.96 * group.difference_error,
        )
        for group in groups
    ]
    return plot_differences("How groups judge the same items", bars, space)


def plot_differences(title: str, bars: Sequence[Bar], space: LabelSpace) -> Plot:
    """Mean distributions, with differences to the others on an axis around 0."""
    known = [abs(end) for bar in bars for end in (bar.value, bar.low, bar.high) if end is not None and np.isfinite(end)]
    widest = max([0.1 * float(np.ptp(space.rewards)), *known])
    strip = Strip("more reward than others, 95%", -1.1 * widest, 1.1 * widest, mark=0.0)
    return diverging(title, bars, space.names, space.rewards, strip)
