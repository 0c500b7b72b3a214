"""The progress page of a training, one self-contained HTML file, and its charts as SVG files.

The page makes no network requests, and reloads itself while the training runs. Texts of samples are escaped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from markupsafe import Markup

from dprm_data.core import charts
from dprm_data.core.html import inlined, page_template
from dprm_data.core.version import __version__
from dprm_trainers.progress.curves import curve, number, shares
from dprm_trainers.progress.history import History, Point

# The main curves: name, title, unit.
CURVES = (
    ("reward", "Reward", "mean over the responses of a step"),
    ("kl", "KL to the reference", "nats per response"),
    ("entropy", "Entropy", "nats per token"),
    ("clip_fraction", "Clipped", "share of the tokens whose ratio was clipped"),
    ("explained_variance", "Explained variance", "of the returns, by the critic"),
    ("value_loss", "Value loss", "of the critic"),
    ("length", "Length", "tokens per response"),
    ("ended", "Ended", "share of the responses with an end token"),
)
_CURVE = (520.0, 190.0)
_SHARES = (620.0, 330.0)
_LONGEST = 1200  # characters of a text in the table of samples


def progress_page(
    history: History,
    samples: Sequence[Mapping[str, Any]],
    labels: Sequence[str],
    *,
    rewards: Sequence[float] | None = None,
    name: str = "policy",
    over: bool = False,
) -> str:
    """The page. over: the training has ended, so the page does not reload itself."""
    now = datetime.now(UTC)
    values = {
        "name": name,
        "over": over,
        "written": f"{now:%Y-%m-%d %H:%M:%S} UTC",
        "written_at": int(now.timestamp() * 1000),
        "version": __version__,
        "steps": history.last.step if history.last else 0,
        "tiles": _tiles(history),
        "labels": _label_rows(history, labels, rewards),
        "shares": Markup(_shares(history, labels, rewards, *_SHARES)),
        "curves": [
            {"title": title, "unit": unit, "last": _of(history.last, key), "svg": Markup(_curve(history, key, *_CURVE))}
            for key, title, unit in CURVES
            if key in history.names()
        ],
        "figures": [(key, _of(history.first, key), _of(history.last, key)) for key in history.names()],
        "columns": [column for column in (samples[0] if samples else {}) if column != "step"],
        "samples": [{key: _cell(value) for key, value in row.items()} for row in samples],
        "samples_of": samples[0]["step"] if samples else None,
        "css": inlined("report.css") + inlined("progress.css"),
        "js": inlined("progress.js"),
    }
    return page_template("progress", {"number": number, "share": _percent}).render(values)


def pictures(history: History, labels: Sequence[str], rewards: Sequence[float] | None = None) -> dict[str, str]:
    """The charts that have data, as SVG by name: `distribution` and `curves`."""
    found: dict[str, str] = {}
    inner = charts.WIDTH - 40
    areas = _shares(history, labels, rewards, inner, 300)
    if areas:
        rows = _label_rows(history, labels, rewards)
        legend = [f"{row['name']} {_percent(row['first'])} → {_percent(row['last'])}" for row in rows]
        key, tall = charts.legend(legend, [row["colour"] for row in rows], inner)
        body = f'{key}<g transform="translate(0 {tall + 8:.0f})">{areas}</g>'
        found["distribution"] = charts.picture("The mean predicted distribution along training", body, tall + 312)
    drawn = [(title, unit, key) for key, title, unit in CURVES if key in history.names()]
    if drawn:
        wide, tall = (inner - 30) / 2, 190.0
        parts = []
        for i, (title, unit, key) in enumerate(drawn):
            x, y = (i % 2) * (wide + 30), (i // 2) * (tall + 20)
            head = charts.text(0, 14, title) + charts.text(wide, 14, unit, "dim", "end", 11)
            plot = f'<g transform="translate(0 26)">{_curve(history, key, wide, tall - 30)}</g>'
            parts.append(f'<g transform="translate({x:.0f} {y:.0f})">{head}{plot}</g>')
        found["curves"] = charts.picture("Along training", "".join(parts), math.ceil(len(drawn) / 2) * (tall + 20))
    return found


def _tiles(history: History) -> list[tuple[str, float | None, float | None]]:
    """Name, latest value and first value of the key metrics."""
    named = (("reward", "reward"), ("kl", "KL to the reference"), ("entropy", "entropy"), ("length", "tokens"))
    return [(title, _of(history.last, key), _of(history.first, key)) for key, title in named if key in history.names()]


def _curve(history: History, key: str, width: float, height: float) -> str:
    points = history.points()
    return curve(
        [point.step for point in points], [point.figures.get(key, math.nan) for point in points], width, height
    )


def _shares(
    history: History, labels: Sequence[str], rewards: Sequence[float] | None, width: float, height: float
) -> str:
    """The stacked areas, the best label at the top; empty if no distribution was logged."""
    known = [(point.step, point.distribution) for point in history.points() if point.distribution is not None]
    if not known:
        return ""
    distributions = np.array([distribution for _, distribution in known])
    names, colours = _named(labels, rewards, distributions.shape[1])
    order = _order(rewards, len(names))
    return shares(
        [step for step, _ in known],
        distributions[:, order],
        [names[k] for k in order],
        [colours[k] for k in order],
        width,
        height,
    )


def _label_rows(history: History, labels: Sequence[str], rewards: Sequence[float] | None) -> list[dict[str, Any]]:
    """The first and the last share of every label, the best first."""
    known = [p for p in (history.first, *history.points(), history.last) if p and p.distribution]
    if not known:
        return []
    first, last = known[0].distribution or (), known[-1].distribution or ()
    names, colours = _named(labels, rewards, len(first))
    return [
        {
            "name": names[k],
            "colour": colours[k],
            "reward": rewards[k] if rewards else None,
            "first": first[k],
            "last": last[k],
        }
        for k in _order(rewards, len(names))
    ]


def _named(labels: Sequence[str], rewards: Sequence[float] | None, count: int) -> tuple[list[str], list[str]]:
    """Names and colours of `count` labels; without rewards the colours follow the labels' order."""
    names = list(labels) if len(labels) == count else [f"label {k + 1}" for k in range(count)]
    order = np.asarray(rewards, dtype=np.float64) if rewards else -np.arange(count, dtype=np.float64)
    return names, charts.label_colours(order)


def _order(rewards: Sequence[float] | None, count: int) -> list[int]:
    return sorted(range(count), key=lambda k: -rewards[k]) if rewards else list(range(count))


def _of(point: Point | None, key: str) -> float | None:
    return point.figures.get(key) if point else None


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _cell(value: object) -> str | float | None:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float) or value is None:
        return value
    text = str(value)
    return text if len(text) <= _LONGEST else text[:_LONGEST].rstrip() + " …"
