"""Plots of results: pictures that a notebook shows and a file keeps, from the shapes of `charts`.

A plot is one SVG without scripts and without network access. Its colours stand beside its style sheet, too, because some viewers of notebooks remove style sheets.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dprm_data.core import charts
from dprm_data.core.arrays import Floats
from dprm_data.core.errors import InputError
from dprm_data.core.format import number, percent, typographic
from dprm_data.core.tables import write_text
from dprm_data.core.text import one_line

_INNER = charts.WIDTH - 40.0
_ROW, _NAMES, _RIGHT = 26.0, 214.0, 190.0  # height of a row; width of the names; width of the values
_ENDS = 38.0  # room for a share at each end of a bar
_PLAIN = {
    "paper": 'fill="#ffffff" stroke="#d8dee4"',
    "ink": 'fill="#1f2328"',
    "dim": 'fill="#59636e"',
    "rule": 'stroke="#d1d9e0"',
    "bar": 'fill="#0f766e"',
    "line": 'stroke="#0f766e" fill="none"',
}
_SERIES = ("#0f766e", "#b5472f", "#4a5a8a", "#8a6d1f", "#3b82c4", "#8a8f98")
_TOP = 26.0  # of the square of a reliability picture


@dataclass(frozen=True, repr=False)
class Plot:
    """A picture: a notebook shows it, `save` writes it. svg: the picture as a file's text."""

    title: str
    svg: str = field(repr=False)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as an .svg file. Raises `InputError` for another kind of file."""
        if Path(path).suffix.lower() != ".svg":
            raise InputError(f"{os.fspath(path)}: a plot is saved as .svg", hint="Name the file .svg.")
        write_text(Path(path), self.svg)

    def _repr_svg_(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        return f"Plot: {self.title} (save('plot.svg') writes it)"


@dataclass(frozen=True)
class Bar:
    """A row: a distribution over the labels (K,), and a value with its interval (None: not known)."""

    name: str
    shares: Sequence[float]
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Strip:
    """The axis beside the bars: what its values are, its ends, and a value that is marked."""

    label: str
    low: float
    high: float
    mark: float | None = None


@dataclass(frozen=True)
class Point:
    """A place of a reliability curve: the share that was said, the share that was true, and how many cases it stands for."""

    said: float
    true: float
    cases: int


def diverging(title: str, rows: Sequence[Bar], names: Sequence[str], rewards: Floats, strip: Strip) -> Plot:
    """Distributions as bars that diverge from the middle label: what is better goes to the right, what is worse to the left.

    The middle of an odd number of labels lies half on either side. The numbers at a bar's ends are the shares of the labels below and above the middle.
    """
    order = np.argsort(rewards, kind="stable")
    colours = charts.label_colours(rewards)
    best_last = [one_line(names[i], 30) for i in order]
    legend, top = charts.legend(best_last, [colours[i] for i in order], _INNER)
    shares = np.array([[row.shares[i] for i in order] for row in rows], dtype=np.float64).reshape(-1, len(order))
    body = _Diverging(shares, [colours[i] for i in order]).drawn(rows, top + 14)
    axis = _strip(rows, strip, top + 14)
    return _plot(title, legend + body + axis, top + 14 + _ROW * len(rows) + 40)


class _Diverging:
    """The bars (N, K), the worst label first, in the space between the names and the strip."""

    def __init__(self, shares: Floats, colours: Sequence[str]) -> None:
        K = shares.shape[1]
        self.shares, self.colours = shares, colours
        weight = np.where(np.arange(K) < K / 2 - 0.5, 1.0, np.where(np.arange(K) > K / 2 - 0.5, 0.0, 0.5))
        self.left = shares @ weight  # what lies left of the centre
        self.below, self.above = shares @ (weight == 1.0), shares @ (weight == 0.0)
        most = max(float(self.left.max(initial=0.1)), 0.1), max(float((1 - self.left).max(initial=0.1)), 0.1)
        self.scale = (_INNER - _NAMES - _RIGHT - 2 * _ENDS - 24) / sum(most)
        self.centre = _NAMES + 12 + _ENDS + most[0] * self.scale

    def drawn(self, rows: Sequence[Bar], top: float) -> str:
        parts = []
        for i, row in enumerate(rows):
            y = top + i * _ROW
            x = self.centre - self.left[i] * self.scale
            parts.append(charts.text(_NAMES, y + 15, one_line(row.name, 35), "ink", "end", 12))
            parts.append(charts.stacked(self.shares[i].tolist(), self.colours, x, y + 2, self.scale, _ROW - 8))
            parts.append(charts.text(x - 6, y + 15, f"{100 * self.below[i]:.0f}%", "dim", "end", 11))
            parts.append(charts.text(x + self.scale + 5, y + 15, f"{100 * self.above[i]:.0f}%", "dim", "start", 11))
        bottom = top + _ROW * len(rows)
        parts.append(
            f'<line x1="{self.centre:.1f}" x2="{self.centre:.1f}" y1="{top - 4:.1f}" y2="{bottom:.1f}" class="rule" style="stroke-width:1.5"/>'
        )
        parts.append(charts.text(self.centre - 8, bottom + 16, "← worse", "dim", "end", 12))
        parts.append(charts.text(self.centre + 8, bottom + 16, "better →", "dim", "start", 12))
        return "".join(parts)


def _strip(rows: Sequence[Bar], strip: Strip, top: float) -> str:
    """Values with their intervals, at the right."""
    left, right = _INNER - _RIGHT + 24, _INNER - 12
    span = (strip.high - strip.low) or 1.0
    bottom = top + _ROW * len(rows)

    def at(value: float) -> float:
        return left + (min(max(value, strip.low), strip.high) - strip.low) / span * (right - left)

    parts = [f'<line class="rule" x1="{left}" x2="{right}" y1="{bottom}" y2="{bottom}"/>']
    for value in (strip.low, (strip.low + strip.high) / 2, strip.high):
        parts.append(
            f'<line class="rule" x1="{at(value):.1f}" x2="{at(value):.1f}" y1="{bottom}" y2="{bottom + 4:.1f}"/>'
        )
        parts.append(charts.text(at(value), bottom + 16, charts.figure(value), "dim", "middle", 11))
    parts.append(charts.text((left + right) / 2, bottom + 32, strip.label, "dim", "middle", 12))
    if strip.mark is not None:
        parts.append(
            f'<line class="rule" x1="{at(strip.mark):.1f}" x2="{at(strip.mark):.1f}" y1="{top - 4:.1f}" y2="{bottom}" stroke-dasharray="4 3"/>'
        )
    for i, row in enumerate(rows):
        parts.append(_dot(at, row, top + i * _ROW + _ROW / 2 - 2))
    return "".join(parts)


def _dot(at: object, row: Bar, y: float, colour: str = _SERIES[0]) -> str:
    assert callable(at)
    parts = []
    said = typographic(number(row.value, 2))
    if row.low is not None and row.high is not None:
        said += f" ({typographic(number(row.low, 2))} to {typographic(number(row.high, 2))})"
        parts.append(
            f'<line x1="{at(row.low):.1f}" x2="{at(row.high):.1f}" y1="{y:.1f}" y2="{y:.1f}" stroke="{colour}" stroke-width="3" opacity=".45"/>'
        )
    parts.append(
        f'<circle cx="{at(row.value):.1f}" cy="{y:.1f}" r="4.5" fill="{colour}"><title>{said}</title></circle>'
    )
    return "".join(parts)


def reliability(
    title: str,
    curves: Sequence[tuple[str, Sequence[Point]]],
    said: str,
    true: str,
    beside: Sequence[Bar] = (),
    strip: Strip | None = None,
) -> Plot:
    """What was said against what was true, in shares: on the diagonal both are equal. beside: values of the same predictions, at the right."""
    body, left, bottom = _square(curves, said, true)
    parts, size, top, height = [body], bottom - _TOP, _TOP, bottom + 48
    if len(curves) > 1:
        legend, tall = charts.legend(
            [name for name, _ in curves], [_SERIES[n % len(_SERIES)] for n in range(len(curves))], size + left
        )
        parts.append(f'<g transform="translate({left} {height - 4:.0f})">{legend}</g>')
        height += tall + 4
    if beside and strip is not None:
        parts.append(_values(beside, strip, left + size + 24, top))
        height = max(height, top + _ROW * len(beside) + 48)
    return _plot(title, "".join(parts), height)


def reliability_square(curves: Sequence[tuple[str, Sequence[Point]]], said: str, true: str) -> tuple[str, float, float]:
    """The square of `reliability` alone, for a page: its drawing, width and height. Its colours are those of `series_colour`."""
    body, left, bottom = _square(curves, said, true)
    return body, left + (bottom - _TOP) + 22, bottom + 44


def series_colour(number: int) -> str:
    """The colour of a curve by its number."""
    return _SERIES[number % len(_SERIES)]


def _square(curves: Sequence[tuple[str, Sequence[Point]]], said: str, true: str) -> tuple[str, float, float]:
    """The drawing, its left edge and its bottom edge."""
    size, left, top = 270.0, 46.0, _TOP
    parts = [
        f'<rect x="{left}" y="{top}" width="{size}" height="{size}" fill="none" class="rule"/>',
        f'<line class="rule" x1="{left}" y1="{top + size}" x2="{left + size}" y2="{top}" stroke-dasharray="4 3"/>',
        charts.text(left, top - 10, f"↑ {true}", "dim", "start", 12),
        charts.text(left + size / 2, top + size + 36, f"{said} →", "dim", "middle", 12),
    ]
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(charts.text(left + size * share, top + size + 17, percent(share), "dim", "middle", 11))
        parts.append(charts.text(left - 6, top + 4 + size * (1 - share), percent(share), "dim", "end", 11))
    most = max((point.cases for _, points in curves for point in points), default=1)
    for n, (_, points) in enumerate(curves):
        colour = _SERIES[n % len(_SERIES)]
        places = [
            (left + size * p.said, top + size * (1 - p.true), 3 + 7 * (p.cases / most) ** 0.5, p.cases) for p in points
        ]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y, _, _ in places)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5" opacity=".6"/>')
        parts += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{r:.1f}" fill="{colour}" opacity=".75"><title>{cases:,} cases</title></circle>'
            for x, y, r, cases in places
        ]
    return "".join(parts), left, top + size


def values(title: str, rows: Sequence[Bar], strip: Strip) -> Plot:
    """Values with their intervals, without distributions."""
    return _plot(title, _values(rows, strip, 0.0, 6.0), _ROW * len(rows) + 54)


def _values(rows: Sequence[Bar], strip: Strip, x: float, top: float) -> str:
    """Names with values and intervals, from x to the right edge."""
    inner = f'<g transform="translate(0 0)">{_strip(rows, strip, top)}</g>'
    edge = _INNER - _RIGHT + 12
    names = "".join(
        charts.text(edge, top + i * _ROW + 15, one_line(row.name, max(int((edge - x) / 6.2), 8)), "ink", "end", 12)
        for i, row in enumerate(rows)
    )
    return names + inner


def _plot(title: str, body: str, height: float) -> Plot:
    drawn = charts.picture(one_line(title, 90), body, height)
    plain = re.sub(r'class="(\w+)"', lambda found: f"{found[0]} {_PLAIN.get(found[1], '')}", drawn)
    return Plot(title, plain.replace("<svg ", '<svg font-family="system-ui,sans-serif" font-size="13" ', 1))
