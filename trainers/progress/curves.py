"""Charts of a training in SVG: a metric as a curve, and a distribution as stacked areas."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import numpy as np

from dprm_data.core import charts
from dprm_data.core.arrays import Floats

LEFT, BELOW, ABOVE, RIGHT = 46.0, 24.0, 8.0, 4.0  # room for the axis labels, and for the mark of the last value


def curve(steps: Sequence[int], values: Sequence[float], width: float, height: float) -> str:
    """A curve of one value over the steps, with gaps where it is not finite."""
    numbers = [value for value in values if math.isfinite(value)]
    low, high = _range(numbers)
    at = [LEFT + x * (width - LEFT - RIGHT) for x in _places(steps)]

    def height_of(value: float) -> float:
        return height - BELOW - (value - low) / (high - low) * (height - BELOW - ABOVE)

    parts = []
    for tick in ticks(low, high):
        if abs(_read(number(tick)) - tick) > (high - low) / 100:
            continue  # if values hardly differ, all rounded ticks are the same
        y = height_of(tick)
        parts.append(f'<line class="rule" x1="{LEFT}" x2="{width:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(charts.text(LEFT - 6, y + 4.5, number(tick), "dim", "end"))
    for line in _unbroken(at, [height_of(value) for value in values]):
        if len(line) > 1:
            points = " ".join(f"{x:.1f},{y:.1f}" for x, y in line)
            parts.append(f'<polyline class="line" points="{points}" stroke-width="2" stroke-linejoin="round"/>')
        x, y = line[-1]
        parts.append(f'<circle class="bar" cx="{x:.1f}" cy="{y:.1f}" r="{2.5 if len(line) > 1 else 3.5}"/>')
    return "".join(parts) + _step_axis(steps, width, height)


def shares(
    steps: Sequence[int],
    distributions: Floats,
    names: Sequence[str],
    colours: Sequence[str],
    width: float,
    height: float,
) -> str:
    """Stacked areas of distributions (T, K) over T steps, the first label at the top. A single step fills the width."""
    at = np.array([LEFT + x * (width - LEFT) for x in _places(steps)])
    if len(at) == 1:
        at, distributions = np.array([LEFT, width]), np.repeat(distributions, 2, axis=0)
    plot = height - BELOW
    edges = np.concatenate([np.zeros((len(at), 1)), np.cumsum(distributions, axis=1)], axis=1).clip(0, 1) * plot
    parts = []
    for k, (name, colour) in enumerate(zip(names, colours, strict=True)):
        over = [f"{x:.1f},{y:.1f}" for x, y in zip(at, edges[:, k], strict=True)]
        under = [f"{x:.1f},{y:.1f}" for x, y in zip(at, edges[:, k + 1], strict=True)]
        title = f"{name}: {distributions[0, k]:.0%} at first, {distributions[-1, k]:.0%} at last"
        points = " ".join([*over, *reversed(under)])
        parts.append(f'<polygon points="{points}" fill="{colour}"><title>{escape(title)}</title></polygon>')
    for share in (0.0, 0.5, 1.0):
        parts.append(
            charts.text(LEFT - 6, plot - share * plot + (10 if share == 1 else 4.5), f"{share:.0%}", "dim", "end")
        )
    return "".join(parts) + _step_axis(steps, width, height)


def ticks(low: float, high: float, most: int = 4) -> list[float]:
    """At most `most` + 1 round numbers from low to high."""
    raw = (high - low) / most
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [i * step + 0.0 for i in range(first, math.floor(high / step + 1e-9) + 1)]


def number(value: float | None) -> str:
    """A number in few characters; an en dash if it is not finite."""
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    size = abs(value)
    shown = f"{value:.1e}" if size < 1e-3 or size >= 1e6 else f"{value:,.0f}" if size >= 1000 else f"{value:.3g}"
    return shown.replace("-", "−")


def _read(shown: str) -> float:
    """The number that `number` shows."""
    return float(shown.replace("−", "-").replace(",", ""))


def _range(numbers: Sequence[float]) -> tuple[float, float]:
    """The range of an axis: around the numbers, but wide enough that rounding noise does not fill the chart."""
    if not numbers:
        return 0.0, 1.0
    low, high = min(numbers), max(numbers)
    least = 1e-3 * max(abs(low), abs(high)) or 1.0
    if high - low < least:
        low, high = (low + high - least) / 2, (low + high + least) / 2
    room = 0.06 * (high - low)
    return low - room, high + room


def _places(steps: Sequence[int]) -> list[float]:
    """Steps on an axis from 0 to 1."""
    first, last = steps[0], steps[-1]
    return [(step - first) / (last - first) if last > first else 1.0 for step in steps]


def _unbroken(xs: Sequence[float], ys: Sequence[float]) -> list[list[tuple[float, float]]]:
    lines: list[list[tuple[float, float]]] = [[]]
    for x, y in zip(xs, ys, strict=True):
        if math.isfinite(y):
            lines[-1].append((x, y))
        elif lines[-1]:
            lines.append([])
    return [line for line in lines if line]


def _step_axis(steps: Sequence[int], width: float, height: float) -> str:
    first, last = f"step {steps[0]:,}", f"{steps[-1]:,}"
    return charts.text(LEFT, height - 5, first, "dim") + charts.text(width, height - 5, last, "dim", "end")
