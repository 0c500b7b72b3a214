"""The plot of a validation: what panels say of pairs against what people say, and the skill of every prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dprm_data.core.plots import Bar, Plot, Point, Strip, reliability
from dprm_data.validation.distance import Distance
from dprm_data.validation.pairwise import PairwiseCalibration

_LOWEST = -2.0  # of the skills that are drawn


def plot_validation(title: str, pairs: Mapping[str, PairwiseCalibration], distances: Sequence[Distance]) -> Plot:
    """Reliability of the panels' pairs at the left, skill at the right."""
    curves = [(name, [Point(each.said, each.true, each.pairs) for each in of.bins]) for name, of in pairs.items()]
    skills = [
        Bar(each.name, (), each.skill.value, each.skill.low, each.skill.high)
        for each in distances
        if each.skill.value is not None
    ]
    lowest = min([-0.5, *(bar.value if bar.low is None else bar.low for bar in skills)])
    strip = Strip("skill (0 average, 1 crowd)", max(lowest, _LOWEST), 1.0, mark=0.0)
    return reliability(title, curves, "share that prefers A to B, says the panel", "people say", skills, strip)
