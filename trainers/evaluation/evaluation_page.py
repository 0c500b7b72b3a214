"""An evaluation of reward models as one self-contained HTML page: what it means first, then every figure with its interval.

The page has no script and loads nothing. Names of models, groups and files are escaped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from dprm_data.core.format import count, minus_signs, number, percent, typographic
from dprm_data.core.html import inlined, page_template
from dprm_data.core.plots import series_colour
from dprm_data.core.text import one_line
from dprm_data.core.version import __version__
from dprm_data.labels.statistics import Interval
from dprm_trainers.evaluation.evaluation_sentences import short_names
from dprm_trainers.evaluation.evaluation_tables import band_names, main_names, share_names
from dprm_trainers.evaluation.group_scores import GroupScores
from dprm_trainers.evaluation.metrics import BAND, HIGHER, LOWER, MEANINGS
from dprm_trainers.evaluation.pair_calibration import SHARES
from dprm_trainers.evaluation.reliability_picture import square
from dprm_trainers.evaluation.reward_evaluation import FEW_PROMPTS, Evaluation

_ARROWS = {LOWER: "↓", HIGHER: "↑"}
Rows = Mapping[str, Mapping[str, Interval]]  # by name of a model, then of a figure


def evaluation_page(found: Evaluation) -> str:
    """Render the page."""
    short = {name: one_line(text, 60) for name, text in short_names(found.models).items()}
    curves = list(found.pair_curves) or list(found.curves)
    filters: dict[str, Callable[..., Any]] = {
        "count": count,
        "share": percent,
        "number": lambda value, digits=3: typographic(number(value, digits)),
        "minus": minus_signs,
        "short": lambda name: short.get(name, one_line(name, 60)),
    }
    return page_template("evaluation", filters).render(
        css=inlined("report.css") + inlined("evaluation.css"),
        title=_title([short[name] for name in found.models]),
        written=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        version=__version__,
        found=found,
        about=found.evaluated,
        few=FEW_PROMPTS,
        table=_table(found.figures, main_names(found)),
        shares=_table(found.figures, share_names(found)),
        bands=_bands(found),
        cells=square("Reliability of the distributions' cells", {name: found.curves.get(name, []) for name in curves}),
        pairs=square("Reliability of the shares of pairs", {name: found.pair_curves.get(name, []) for name in curves}),
        colours={name: series_colour(i) for i, name in enumerate(curves)},
        groups=[_groups(scores) for scores in found.by_group],
    )


def _title(names: list[str]) -> str:
    if len(names) > 3:
        return f"{len(names)} reward models"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names) or "Reward models"


def _table(rows: Rows, names: Iterable[str]) -> dict[str, Any]:
    """Columns with their meanings, and the rows that have one of the figures; the best of each column is marked."""
    names = list(names)
    known = {model: figures for model, figures in rows.items() if any(name in figures for name in names)}
    columns = [
        {"name": name, "short": name.removeprefix(SHARES), "arrow": _ARROWS.get(of[1], ""), "meaning": of[0]}
        for name in names
        for of in [MEANINGS.get(name, ("", ""))]
    ]
    return {"columns": columns, "rows": known, "best": {name: _best(known, name) for name in names}}


def _best(rows: Rows, name: str) -> list[str]:
    """The models with the best value of a figure, as it is shown."""
    direction = MEANINGS.get(name, ("", ""))[1]
    values = {model: of[name].value for model, of in rows.items() if name in of}
    shown = {model: round(value, 3) for model, value in values.items() if value is not None}
    if not direction or len(shown) < 2:
        return []
    best = min(shown.values()) if direction == LOWER else max(shown.values())
    return [model for model, value in shown.items() if value == best]


def _bands(found: Evaluation) -> list[dict[str, Any]]:
    """The tables of pairs by bands: of margin, and of disagreement."""
    names = band_names(found)
    tables = []
    for what, meaning in (
        ("margin", "by how much the held-out expected rewards of the two differ"),
        ("disagreement", "how likely two people give one response different labels"),
    ):
        mine = [name for name in names if name.startswith(f"{BAND}{what} ")]
        if mine:
            heads = [name.removeprefix(f"{BAND}{what} ").partition(" (") for name in mine]
            tables.append(
                {
                    "what": what,
                    "meaning": meaning,
                    "columns": [
                        (name, head, rest.rstrip(")")) for name, (head, _, rest) in zip(mine, heads, strict=True)
                    ],
                    "rows": {m: of for m, of in found.figures.items() if any(name in of for name in mine)},
                }
            )
    return tables


def _groups(scores: GroupScores) -> dict[str, Any]:
    """An attribute, with a table of groups for each figure that some model has."""
    tables = [
        {
            "title": title,
            "figure": figure,
            "rows": {m: of for m, of in scores.figures.items() if any(figure in each for each in of.values())},
        }
        for figure, title in (("rps", "RPS"), ("pairs", "Accuracy on pairs"))
    ]
    return {"scores": scores, "tables": [table for table in tables if table["rows"]]}
