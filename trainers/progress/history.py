"""The metrics of a training in bounded memory: every step at first, later means over equal spans of steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

_MOST = 480  # points kept: more than a chart has room to show


@dataclass(frozen=True)
class Point:
    """Mean metrics, and mean predicted distribution (K,) if there is one, of the `count` steps that end with `step`."""

    step: int
    figures: Mapping[str, float]
    distribution: tuple[float, ...] | None = None
    count: int = 1


@dataclass
class History:
    """Points in the order of their steps. `first` and `last` are always single steps."""

    first: Point | None = None
    last: Point | None = None
    _whole: list[Point] = field(default_factory=list)
    _open: list[Point] = field(default_factory=list)
    _span: int = 1

    def add(self, step: int, figures: Mapping[str, float], distribution: Sequence[float] | None = None) -> None:
        point = Point(step, dict(figures), tuple(distribution) if distribution is not None else None)
        self.first = self.first or point
        self.last = point
        self._open.append(point)
        if len(self._open) < self._span:
            return
        self._whole.append(_mean(self._open))
        self._open = []
        if len(self._whole) >= _MOST:
            self._whole = [_mean(self._whole[i : i + 2]) for i in range(0, len(self._whole), 2)]
            self._span *= 2

    def points(self) -> list[Point]:
        """At most 480 points that cover all steps."""
        return self._whole + ([_mean(self._open)] if self._open else [])

    def ends(self) -> tuple[Point, Point] | None:
        """The first and the last tenth of the training, each as one point; None before the first step."""
        points = self.points()
        tenth = max(1, len(points) // 10)
        return (_mean(points[:tenth]), _mean(points[-tenth:])) if points else None

    def names(self) -> list[str]:
        """The figures there are, in the order in which they came."""
        return list(dict.fromkeys(name for point in (self.first, self.last) if point for name in point.figures))


def _mean(points: Sequence[Point]) -> Point:
    """Several points as one: means of the finite values over their steps."""
    if len(points) == 1:
        return points[0]
    names = dict.fromkeys(name for point in points for name in point.figures)
    known = [point for point in points if point.distribution is not None]
    weights = [point.count for point in known]
    mean = np.average(np.array([point.distribution for point in known]), axis=0, weights=weights) if known else None
    return Point(
        points[-1].step,
        {name: _weighted([(point.figures.get(name, np.nan), point.count) for point in points]) for name in names},
        tuple(mean.tolist()) if mean is not None else None,
        sum(point.count for point in points),
    )


def _weighted(values: Sequence[tuple[float, int]]) -> float:
    numbers = [(value, count) for value, count in values if np.isfinite(value)]
    total = sum(count for _, count in numbers)
    return sum(value * count for value, count in numbers) / total if total else float("nan")
