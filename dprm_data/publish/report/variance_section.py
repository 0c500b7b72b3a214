"""The section of a report about what makes ratings differ: its figure and its rows."""

from __future__ import annotations

from typing import Any

from dprm_data.core import charts
from dprm_data.core.format import percent
from dprm_data.labels.statistics import Interval
from dprm_data.preference.variance_components import VarianceComponents
from dprm_data.runs.panel_variance import PanelVariance
from dprm_data.runs.variance_sentences import sentences, warns

WIDTH = 720.0


def variance_section(found: PanelVariance | None) -> dict[str, Any] | None:
    """The template's values; None where there is no spread to speak of. `body` and `height` are the figure's."""
    if found is None or not found.components.total:
        return None
    body, height = _figure(found.components)
    return {
        "found": found,
        "sentences": sentences(found.components),
        "warns": warns(found.components),
        "body": body,
        "width": WIDTH,
        "height": height,
    }


def _figure(components: VarianceComponents) -> tuple[str, float]:
    rows = []
    for part in components.components:
        value, low, high = _ends(part.share)
        rows.append((part.name, value, low, high, f"{percent(value)}  ({percent(low)} to {percent(high)})"))
    return charts.bars_with_intervals(rows, WIDTH)


def _ends(share: Interval) -> tuple[float, float, float]:
    value = share.value or 0.0
    return value, value if share.low is None else share.low, value if share.high is None else share.high
