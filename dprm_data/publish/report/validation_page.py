"""A validation as one self-contained HTML page: what it means first, then every figure with its interval."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from dprm_data.core import charts
from dprm_data.core.format import count, money, number, percent, typographic
from dprm_data.core.html import inlined, page_template, svg
from dprm_data.core.text import one_line
from dprm_data.core.version import __version__
from dprm_data.validation.validation_sentences import findings, people_between

if TYPE_CHECKING:
    from dprm_data.validation.panel_validation import Validation

_WIDTH, _ROW, _NAMES = 760.0, 24.0, 290.0
_SQUARE = 300.0


def validation_page(found: Validation) -> str:
    """Render the page."""
    content = found.as_dict()
    filters: dict[str, Callable[..., Any]] = {
        "count": count,
        "share": percent,
        "number": lambda value, digits=2: typographic(number(value, digits)),
        "dollars": lambda value: money(value, "not known"),
        "minus": typographic,
        "people": people_between,
    }
    panels = [
        {
            "arm": arm,
            "findings": list(findings(content, arm)),
            "reliability": _reliability(arm["pairwise"]),
            "groups": [(by, _groups(by)) for by in arm["groups"]],
        }
        for arm in content["arms"]
        if arm["role"] == "panel"
    ]
    return page_template("validation", filters).render(
        css=inlined("report.css"),
        set={
            "title": found.title,
            "items": found.items,
            "votes": found.votes,
            "people": found.people,
            "votes_per_item": found.votes_per_item,
            "level": found.level,
            "licence": found.licence,
            "citation": found.citation,
            "leakage": found.leakage,
            "digest": found.digest,
        },
        written=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        version=__version__,
        distances=content["distances"],
        arms=content["arms"],
        panels=panels,
        labels=found.labels,
        notes=found.notes,
        skills=_skills(content["distances"]),
    )


def _skills(rows: list[Mapping[str, Any]]) -> Markup:
    """Every prediction's skill with its interval, from the worst to the crowd."""
    known = [(row["name"], [("bar", row["skill"])]) for row in rows if row["skill"]["value"] is not None]
    low = max(_least(known), -3.0)
    return _dots(known, low, 1.05, {0.0: "0 average", 1.0: "1 crowd"}, "Skill of every prediction")


def _groups(by: Mapping[str, Any]) -> Markup:
    """How far the personas of every group are from its own people (full) and from the other people (hollow), with intervals."""
    known = [
        (each["name"], [("hollow", each["others"]), ("bar", each["own"])])
        for each in by["groups"]
        if each["own"]["value"] is not None
    ]
    if not known:
        return Markup()
    high = max(_ends(known)) * 1.05 or 1.0
    low = min(_least(known), 0.0)
    ticks = {0.0: "0 as its people", high / 1.05: number(high / 1.05, 3)}
    return _dots(known, low, high, ticks, f"Distance of personas from people, by {by['attribute']}")


_Rows = list[tuple[str, list[tuple[str, Mapping[str, Any]]]]]  # name, (class of the dot, interval) of each dot


def _ends(rows: _Rows) -> list[float]:
    values = [dot[end] for _, dots in rows for _, dot in dots for end in ("low", "value", "high")]
    return [value for value in values if value is not None]


def _least(rows: _Rows) -> float:
    return min([0.0, *_ends(rows)])


def _dots(rows: _Rows, low: float, high: float, ticks: Mapping[float, str], title: str) -> Markup:
    """A row for every name: dots on one scale, each on a line that is its interval."""
    height = _ROW * len(rows) + 34

    def at(value: float) -> float:
        return _NAMES + (min(max(value, low), high) - low) / (high - low) * (_WIDTH - _NAMES - 20)

    parts = []
    for value, name in ticks.items():
        parts.append(f'<line class="rule" x1="{at(value):.1f}" x2="{at(value):.1f}" y1="0" y2="{height - 24:.1f}"/>')
        parts.append(charts.text(at(value), height - 8, name, "dim", "middle", 12))
    for i, (name, dots) in enumerate(rows):
        y = _ROW * i + 14
        parts.append(charts.text(_NAMES - 12, y + 4, one_line(name, 44), "ink", "end", 12))
        for kind, dot in dots:
            hollow = kind == "hollow"
            if dot["low"] is not None:
                colour = "var(--dim,#64748b)" if hollow else "var(--accent,#0f766e)"
                ends = f'x1="{at(dot["low"]):.1f}" x2="{at(dot["high"]):.1f}" y1="{y}" y2="{y}"'
                parts.append(f'<line {ends} style="stroke:{colour};stroke-width:3;opacity:.45"/>')
            if dot["value"] is not None:
                look = 'fill="none" style="stroke:var(--dim,#64748b);stroke-width:2"' if hollow else 'class="bar"'
                parts.append(
                    f'<circle {look} cx="{at(dot["value"]):.1f}" cy="{y}" r="5"><title>{number(dot["value"], 3 if len(dots) > 1 else 2)}</title></circle>'
                )
    return svg("".join(parts), _WIDTH, height, title)


def _reliability(pairs: Mapping[str, Any] | None) -> Markup:
    """The crowd's share against the panel's, by tenth."""
    if not pairs:
        return Markup()
    size, left, top = _SQUARE, 46.0, 10.0
    most = max(each["pairs"] for each in pairs["bins"])
    parts = [
        f'<rect class="plot" x="{left}" y="{top}" width="{size}" height="{size}"/>',
        f'<line class="rule" x1="{left}" y1="{size + top}" x2="{left + size}" y2="{top}"/>',
    ]
    for each in pairs["bins"]:
        x, y, r = left + size * each["said"], top + size * (1 - each["true"]), 3 + 9 * (each["pairs"] / most) ** 0.5
        parts.append(
            f'<circle class="bar" cx="{x:.1f}" cy="{y:.1f}" r="{r:.1f}" opacity=".7"><title>{each["pairs"]:,} pairs</title></circle>'
        )
    for share in (0.0, 0.5, 1.0):
        parts.append(charts.text(left + size * share, size + top + 16, percent(share), "dim", "middle", 12))
        parts.append(charts.text(left - 6, top + 4 + size * (1 - share), percent(share), "dim", "end", 12))
    parts.append(charts.text(left + size / 2, size + top + 34, "the panel says →", "dim", "middle", 12))
    return svg("".join(parts), left + size + 20, size + top + 40, "Reliability of pairs")
