"""The report: one self-contained HTML page about a run, for deciding whether to pay for more labels or to publish.

The page contains its style, script and figures, and loads nothing from a network. Items' texts are embedded as JSON without any `<`, and the
script inserts them as text, never as HTML.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
from markupsafe import Markup

from dprm_data.core import charts
from dprm_data.core.format import count, minus_signs, money, number, percent, typographic
from dprm_data.core.html import inlined, page_template, svg
from dprm_data.core.text import one_line
from dprm_data.core.version import __version__
from dprm_data.publish.models import models_asked, prompts_sent
from dprm_data.publish.panel_findings import clustered
from dprm_data.publish.report.comparison import Comparison, compare
from dprm_data.publish.report.findings import Findings, find
from dprm_data.publish.report.variance_section import variance_section
from dprm_data.publish.validation_section import validation_section
from dprm_data.runs.comparison_findings import comparison_sentences
from dprm_data.runs.pair_findings import pair_findings

if TYPE_CHECKING:
    from dprm_data.core.arrays import Floats
    from dprm_data.runs.run import Run

_MOST_IN_MATRIX = 60
_CELLS = (48, 26)  # columns and rows of a density map
_CHART = (520.0, 250.0)  # width and height


def report(run: Run, against: Run | None = None) -> str:
    """Render the page. Raises `DprmError` if the run is not fitted, or `against` cannot be compared with it."""
    found = find(run)
    filters: dict[str, Callable[..., Any]] = {
        "count": count,
        "signed": _signed,
        "share": percent,
        "number": _number,
        "dollars": _dollars,
        "minus": minus_signs,
        "excerpt": lambda text: one_line(text, 90),
    }
    other = compare(run, against) if against else None
    parts = {"css": inlined("report.css"), "js": inlined("pieces.js") + inlined("report.js")}
    return page_template("report", filters).render(_values(run, found, other) | parts)


def _values(run: Run, found: Findings, other: Comparison | None) -> dict[str, Any]:
    space, fit, recipe = run.space, found.fit, run.recipe
    colours = charts.label_colours(space.rewards)
    moved = np.abs(fit.distribution - fit.posterior).max(axis=1) > 1e-9
    judged = fit.evidence > 0
    manifest = run.folder.read_manifest()
    return {
        "name": recipe.name,
        "verdict": found.verdict.lines(),
        "signal": found.verdict.signal,
        "summary": found.summary,
        "local": recipe.is_demo,
        "written": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "version": __version__,
        "labels": [
            {
                "name": label.name,
                "reward": label.reward,
                "colour": colour,
                "ink": charts.ink_on(colour),
                "about": label.description,
            }
            for label, colour in zip(space.labels, colours, strict=True)
        ],
        "space": space,
        "panel": run.panel,
        "recipe": recipe,
        "states_population": run.states_population,
        "models_asked": models_asked(run),
        "prompts": prompts_sent(run),
        "expected": run.expected_annotations,
        "last": manifest.get("last_annotate", {}),
        "spending": found.spending,
        "annotators": found.annotators,
        "agreement": found.panel.agreement,
        "compared_rows": found.panel.rows,
        "soft": found.panel.soft,
        "positions": found.panel.positions,
        "matrix": _matrix(run, found),
        "spread": _spread(found),
        "pairs": pair_findings(run),
        "compared_by": comparison_sentences(manifest),
        "fit": fit,
        "quality": found.quality,
        "calibration": _calibration(found),
        "worst": len(found.worst) > 0,
        "settings": recipe.fit,
        "smoothed": {
            "changed": int(moved.sum()),
            "share": float(moved.mean()) if len(moved) else 0.0,
            "change": float(((fit.distribution - fit.posterior) @ space.rewards)[moved].mean()) if moved.any() else 0.0,
            "largest": float(np.abs((fit.distribution - fit.posterior) @ space.rewards).max(initial=0.0)),
            "before": [float(share) for share in fit.posterior.mean(axis=0)] if len(fit) else [],
            "after": [float(share) for share in fit.distribution.mean(axis=0)] if len(fit) else [],
        },
        "items_by": found.items_by,
        "people_by": found.people_by,
        "histogram": _histogram(fit.expected_reward[judged], space.rewards),
        "map": _map(fit.expected_reward[judged], fit.disagreement[judged], space.rewards),
        "low": float(space.rewards.min()),
        "high": float(space.rewards.max()),
        "validation": found.verdict.validated and found.verdict.validated.on_items,
        "validated": validation_section(run),
        "review": manifest.get("review"),
        "reading": manifest.get("calibration"),
        "against": other,
        "scatter": _scatter(other, space.rewards) if other else "",
        "payload": _payload(found, colours, space.names),
        "shown": len(found.shown.rows),
    }


def _payload(found: Findings, colours: list[str], names: list[str]) -> Markup:
    """The items as JSON for a script element: without `<`, `>` and `&`."""
    content = {"labels": names, "colours": colours, "columns": found.columns, "prompts": found.shown.prompts}
    content["items"] = found.shown.rows
    text = orjson.dumps(content).decode()
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def _calibration(found: Findings) -> list[dict[str, float]]:
    """Observed and fitted share of every label, over the items with votes, weighted by their votes."""
    weights = found.fit.evidence / max(found.fit.evidence.sum(), 1e-12)
    fitted = weights @ found.fit.posterior
    return [{"observed": float(o), "fitted": float(f)} for o, f in zip(found.observed, fitted, strict=True)]


def _matrix(run: Run, found: Findings) -> dict[str, Any] | None:
    """The agreement matrix, with annotators who agree side by side."""
    who = found.panel.who
    if who is None or len(who.compared) < 2:
        return None
    most = np.argsort(-who.ratings[who.compared], kind="stable")[:_MOST_IN_MATRIX]
    square = who.agreement[np.ix_(most, most)]
    order = clustered(square)
    said = {row.id: row.name for row in found.annotators}
    ids = [who.annotator_ids[i] for i in who.compared[most][order]]
    cells = square[np.ix_(order, order)]
    rows = [
        [
            None
            if np.isnan(value)
            else {"value": float(value), "colour": charts.heat(value), "ink": charts.ink_on(charts.heat(value))}
            for value in row
        ]
        for row in cells
    ]
    return {"names": [said.get(i, i) for i in ids], "rows": rows, "left_out": len(who.compared) - len(ids)}


def _spread(found: Findings) -> dict[str, Any] | None:
    section = variance_section(found.variance)
    if section is None:
        return None
    return section | {"figure": svg(section["body"], section["width"], section["height"], "Shares of the spread")}


def _histogram(values: Floats, rewards: Floats) -> Markup:
    body = charts.histogram(values, float(rewards.min()), float(rewards.max()), *_CHART, "expected reward")
    return svg(body, *_CHART, "Histogram of the expected reward")


def _map(rewards: Floats, disagreement: Floats, scale: Floats) -> Markup:
    """Density of the items over expected reward and disagreement."""
    low, high = float(scale.min()), float(scale.max())
    top = max(1.1 * float(disagreement.max(initial=0.0)), 0.5)
    return _density(rewards, disagreement, (low, high), (0.0, top), "expected reward", "two annotators differ")


def _scatter(other: Comparison, scale: Floats) -> Markup:
    bounds = float(scale.min()), float(scale.max())
    return _density(other.rewards[:, 0], other.rewards[:, 1], bounds, bounds, "this run", other.name, diagonal=True)


def _density(
    x: Floats,
    y: Floats,
    across: tuple[float, float],
    up: tuple[float, float],
    below: str,
    beside: str,
    *,
    diagonal: bool = False,
) -> Markup:
    width, height = _CHART
    counts, _, _ = np.histogram2d(x, y, bins=_CELLS, range=[across, up])
    most = max(float(counts.max(initial=0)), 1.0)
    wide, tall = (width - 40) / _CELLS[0], (height - 44) / _CELLS[1]
    parts = [f'<rect class="plot" x="40" y="4" width="{width - 40:.0f}" height="{height - 44:.0f}"/>']
    if diagonal:
        parts.append(f'<line class="rule" x1="40" y1="{height - 40:.0f}" x2="{width:.0f}" y2="4"/>')
    for i, j in zip(*np.nonzero(counts), strict=True):
        count = counts[i, j]
        opacity = 0.25 + 0.75 * float(np.sqrt(count / most))
        parts.append(
            f'<rect class="bar" x="{40 + i * wide:.1f}" y="{4 + (_CELLS[1] - 1 - j) * tall:.1f}" width="{wide - 0.6:.1f}" '
            f'height="{tall - 0.6:.1f}" opacity="{opacity:.2f}"><title>{int(count):,}</title></rect>'
        )
    for share in (0.0, 0.5, 1.0):
        anchor = ("start", "middle", "end")[int(share * 2)]
        parts.append(
            charts.text(
                40 + share * (width - 40),
                height - 24,
                charts.figure(across[0] + share * (across[1] - across[0])),
                "dim",
                anchor,
                12,
            )
        )
        parts.append(
            charts.text(
                34, 14 + (1 - share) * (height - 54), charts.figure(up[0] + share * (up[1] - up[0])), "dim", "end", 12
            )
        )
    parts.append(charts.text(40 + (width - 40) / 2, height - 6, f"{below} →", "dim", "middle", 12))
    parts.append(charts.text(46, 18, f"↑ {one_line(beside, 40)}", "dim", "start", 12))
    return svg("".join(parts), width, height, f"{beside} against {below}")


# -- filters ----------------------------------------------------------------------------------------------------------


def _number(value: float | None, digits: int = 2) -> str:
    return typographic(number(value, digits))


def _signed(value: float | None, digits: int = 2) -> str:
    return typographic(number(value, digits, sign=True))


def _dollars(value: float | None) -> str:
    return money(value, "not known")
