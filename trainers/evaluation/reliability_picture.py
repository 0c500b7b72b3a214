"""Pictures of reliability: predicted against held-out probabilities, a curve for each model."""

from __future__ import annotations

from collections.abc import Mapping

from markupsafe import Markup

from dprm_data.core.html import svg
from dprm_data.core.plots import Point, reliability, reliability_square
from dprm_data.core.text import one_line
from dprm_trainers.evaluation.metrics import Curve

_SAID, _TRUE = "predicted", "held out"


def picture(title: str, curves: Mapping[str, Curve]) -> str:
    """An SVG file."""
    return reliability(
        title, [(one_line(name, 40), _points(curve)) for name, curve in curves.items()], _SAID, _TRUE
    ).svg


def square(title: str, curves: Mapping[str, Curve]) -> Markup:
    """A picture in a page, without a legend: its colours are `series_colour` of the curves' places."""
    body, width, height = reliability_square([("", _points(curve)) for curve in curves.values()], _SAID, _TRUE)
    return svg(body, width, height, title)


def _points(curve: Curve) -> list[Point]:
    return [Point(said, true, cases) for said, true, cases in curve]
