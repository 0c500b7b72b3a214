"""The curves of proxy and gold as one picture: for each, a panel of the proxy beside one of the gold judge."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import log2, sqrt
from textwrap import wrap

from dprm_data.core import charts
from dprm_data.core.format import minus_signs
from dprm_data.core.text import one_line
from dprm_data.labels.statistics import Interval
from dprm_trainers.evaluation.best_of_n import BestOfN
from dprm_trainers.evaluation.gold_tables import gold_of, title_of, verdict_of
from dprm_trainers.evaluation.policy_comparison import PolicyEvaluation
from dprm_trainers.evaluation.policy_curve import PolicyCurve
from dprm_trainers.progress.curves import number, ticks

_INNER = charts.WIDTH - 40
_WIDE, _GAP, _TALL = (_INNER - 40) / 2, 40.0, 200.0
_LEFT, _ABOVE, _BELOW = 46.0, 8.0, 46.0  # room for labels within a panel
_WITHIN = re.compile(r", (?=[^\[]*\])")  # an interval's comma: it is not broken there
_CHOICE, _LONGEST, _RANDOM = "#0f766e", "#b5472f", "#8a949e"


@dataclass(frozen=True)
class _Axis:
    """The x axis: the points' places from 0 to 1 and their names; marks below it: place, first line, second line."""

    at: list[float]
    names: list[str]
    marks: list[tuple[float, str, str]]
    title: str


def curves_picture(found: PolicyEvaluation) -> str:
    """All curves, one under the other."""
    parts: list[str] = []
    y = 0.0
    gold = gold_of(found)
    best = [_of_best(curve, gold) for curve in found.best_of_n]
    for drawn, tall in [*best, *(_of_policies(curve, gold) for curve in found.policy_curves)]:
        parts.append(f'<g transform="translate(0 {y:.0f})">{drawn}</g>')
        y += tall + 22
    return charts.picture("Gold against proxy", "".join(parts), y - 10)


def _of_best(curve: BestOfN, gold: str) -> tuple[str, float]:
    points = curve.points
    at = [log2(point.n) / log2(points[-1].n) for point in points]
    marks = [(share, str(p.n), f"{p.kl_bound:.2f}") for share, p in zip(at, points, strict=True)]
    axis = _Axis(at, [f"n = {p.n}" for p in points], marks, "n, and below it the KL in nats at most")
    panels = [
        _panel(
            axis,
            f"proxy: {curve.proxy}",
            [p.proxy_gain for p in points],
            _from_first([p.longest_proxy for p in points]),
        ),
        _panel(
            axis, f"{gold}: {curve.gold}", [p.gold_gain for p in points], _from_first([p.longest_gold for p in points])
        ),
    ]
    names = ["best of n by the proxy, with its interval", "the longest of n", "picked at random"]
    return _together(curve, "n = 1", panels, charts.legend(names, (_CHOICE, _LONGEST, _RANDOM), _INNER))


def _from_first(rewards: Sequence[Interval]) -> list[float]:
    return [(reward.value or 0.0) - (rewards[0].value or 0.0) for reward in rewards]


def _of_policies(curve: PolicyCurve, gold: str) -> tuple[str, float]:
    axis = _policy_axis(curve)
    panels = [
        _panel(axis, f"proxy: {curve.proxy}", [point.proxy_gain for point in curve.points]),
        _panel(axis, f"{gold}: {curve.gold}", [point.gold_gain for point in curve.points]),
    ]
    return _together(curve, curve.points[0].policy, panels, ("", 0.0))


def _policy_axis(curve: PolicyCurve) -> _Axis:
    """The square root of the KL, where it was measured for all; else the order."""
    names = [point.policy for point in curve.points]
    kl = [max(point.kl.value, 0.0) for point in curve.points if point.kl and point.kl.value is not None]
    most = sqrt(max(kl, default=0.0))
    if len(kl) == len(names) and most > 0:
        marks = [(tick / most, number(tick), "") for tick in ticks(0.0, most)]
        return _Axis([sqrt(value) / most for value in kl], names, marks, "√KL to the base, KL in nats per response")
    at = [k / (len(names) - 1) for k in range(len(names))]
    return _Axis(at, names, [], f"{names[0]} to {names[-1]}, in their order")


def _together(
    curve: BestOfN | PolicyCurve, first: str, panels: Sequence[str], key: tuple[str, float]
) -> tuple[str, float]:
    """Title, what the curve says, legend and panels."""
    legend, tall = key
    said = minus_signs(verdict_of(curve)).replace(" [", "\u00a0[")
    lines = wrap(_WITHIN.sub(",\u00a0", said), 112)
    parts = [charts.text(0, 14, one_line(f"{title_of(curve)}: change of reward from {first}", 100))]
    parts += [charts.text(0, 34 + 17 * i, line, "dim", size=12) for i, line in enumerate(lines)]
    y = 26.0 + 17 * len(lines)
    parts.append(f'<g transform="translate(0 {y:.0f})">{legend}</g>')
    y += tall + 8
    parts += [f'<g transform="translate({i * (_WIDE + _GAP):.0f} {y:.0f})">{p}</g>' for i, p in enumerate(panels)]
    return "".join(parts), y + 22 + _TALL


def _panel(axis: _Axis, title: str, gains: Sequence[Interval], longest: Sequence[float] = ()) -> str:
    """One judge's changes of reward: of best of n with a band, 0 (dotted) and the longest (dashed); of policies with bars."""
    ends = [0.0, *longest, *(end for gain in gains for end in (gain.value, gain.low, gain.high) if end is not None)]
    room = 0.08 * (max(ends) - min(ends)) or 0.5
    low, high = min(ends) - room, max(ends) + room
    plot = _TALL - _BELOW
    xs = [_LEFT + share * (_WIDE - _LEFT - 16) for share in axis.at]

    def y(value: float | None) -> float:
        return plot - ((value or 0.0) - low) / (high - low) * (plot - _ABOVE)

    parts = []
    for tick in ticks(low, high):
        parts.append(f'<line class="rule" x1="{_LEFT}" x2="{_WIDE:.1f}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>')
        parts.append(charts.text(_LEFT - 6, y(tick) + 4.5, number(tick), "dim", "end", 12))
    lows, highs = [y(gain.low) for gain in gains], [y(gain.high) for gain in gains]
    if longest:
        parts.append(_line([xs[0], xs[-1]], [y(0.0), y(0.0)], _RANDOM, "2 3"))
        parts.append(_band(xs, lows, highs))
        parts.append(_line(xs, [y(value) for value in longest], _LONGEST, "6 4"))
    else:
        parts += [_line([x, x], [bottom, top], _CHOICE) for x, bottom, top in zip(xs, lows, highs, strict=True)]
        falling = len(gains) > 1 and (gains[-1].value or 0.0) < (gains[-2].value or 0.0)
        beside = lows[-1] + 12 if falling else highs[-1] - 4
        parts.append(charts.text(xs[-1], beside, one_line(axis.names[-1], 20), "dim", "end", 11))
    parts.append(_line(xs, [y(gain.value) for gain in gains], _CHOICE))
    for x, name, gain in zip(xs, axis.names, gains, strict=True):
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y(gain.value):.1f}" r="3.5" fill="{_CHOICE}">'
            f"<title>{charts.escape(f'{name}: {gain}')}</title></circle>"
        )
    for share, first, second in axis.marks:
        x = _LEFT + share * (_WIDE - _LEFT - 16)
        parts += [
            charts.text(x, plot + 16 + 14 * i, each, "dim", "middle", 11) for i, each in enumerate((first, second))
        ]
    under = plot + (44 if any(second for _, _, second in axis.marks) else 32)
    parts.append(charts.text((_LEFT + _WIDE) / 2, under, axis.title, "dim", "middle", 11))
    return charts.text(0, 12, one_line(title, 50)) + f'<g transform="translate(0 20)">{"".join(parts)}</g>'


def _line(xs: Sequence[float], ys: Sequence[float], colour: str, dashes: str = "") -> str:
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(xs, ys, strict=True))
    return f'<polyline points="{points}" style="fill:none;stroke:{colour};stroke-width:2;stroke-dasharray:{dashes or "none"}"/>'


def _band(xs: Sequence[float], lows: Sequence[float], highs: Sequence[float]) -> str:
    edge = [*zip(xs, lows, strict=True), *reversed(list(zip(xs, highs, strict=True)))]
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in edge)
    return f'<polygon points="{points}" style="fill:{_CHOICE};opacity:.16"/>'
