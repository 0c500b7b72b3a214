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
        {"arm": arm, "findings": list(findings(content, arm)), "reliability": _reliability(arm["pairwise"])}
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
    """Every prediction's skill with its interval, on one line from the worst to the crowd."""
    known = [row for row in rows if row["skill"]["value"] is not None]
    ends = [
        end
        for row in known
        for end in (row["skill"]["low"], row["skill"]["high"], row["skill"]["value"])
        if end is not None
    ]
    low: float = max(min([0.0, *ends]), -3.0)
    high = 1.05
    height = _ROW * len(known) + 34

    def at(value: float) -> float:
        return _NAMES + (min(max(value, low), high) - low) / (high - low) * (_WIDTH - _NAMES - 20)

    parts = []
    for value, name in ((0.0, "0 average"), (1.0, "1 crowd")):
        parts.append(f'<line class="rule" x1="{at(value):.1f}" x2="{at(value):.1f}" y1="0" y2="{height - 24:.1f}"/>')
        parts.append(charts.text(at(value), height - 8, name, "dim", "middle", 12))
    for i, row in enumerate(known):
        y, skill = _ROW * i + 14, row["skill"]
        parts.append(charts.text(_NAMES - 12, y + 4, one_line(row["name"], 44), "ink", "end", 12))
        if skill["low"] is not None:
            parts.append(
                f'<line x1="{at(skill["low"]):.1f}" x2="{at(skill["high"]):.1f}" y1="{y}" y2="{y}" style="stroke:var(--accent,#0f766e);stroke-width:3;opacity:.45"/>'
            )
        parts.append(
            f'<circle class="bar" cx="{at(skill["value"]):.1f}" cy="{y}" r="5"><title>{number(skill["value"], 2)}</title></circle>'
        )
    return svg("".join(parts), _WIDTH, height, "Skill of every prediction")


def _reliability(pairs: Mapping[str, Any] | None) -> Markup:
    """The crowd's share against the panel's, by tenth."""
    if not pairs:
        return Markup()
    size, left = _SQUARE, 40.0
    most = max(each["pairs"] for each in pairs["bins"])
    parts = [
        f'<rect class="plot" x="{left}" y="4" width="{size}" height="{size}"/>',
        f'<line class="rule" x1="{left}" y1="{size + 4}" x2="{left + size}" y2="4"/>',
    ]
    for each in pairs["bins"]:
        x, y, r = left + size * each["said"], 4 + size * (1 - each["true"]), 3 + 9 * (each["pairs"] / most) ** 0.5
        parts.append(
            f'<circle class="bar" cx="{x:.1f}" cy="{y:.1f}" r="{r:.1f}" opacity=".7"><title>{each["pairs"]:,} pairs</title></circle>'
        )
    for share in (0.0, 0.5, 1.0):
        parts.append(charts.text(left + size * share, size + 20, percent(share), "dim", "middle", 12))
        parts.append(charts.text(left - 6, 8 + size * (1 - share), percent(share), "dim", "end", 12))
    parts.append(charts.text(left + size / 2, size + 38, "the panel says →", "dim", "middle", 12))
    return svg("".join(parts), left + size + 20, size + 44, "Reliability of pairs")
