"""The pictures of a dataset card: SVG files beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq

from dprm_data.core import charts
from dprm_data.core.format import money, percent
from dprm_data.core.text import one_line
from dprm_data.publish.panel_findings import PanelFindings, clustered
from dprm_data.runs.summary import Summary

if TYPE_CHECKING:
    from dprm_data.labels.space import LabelSpace
    from dprm_data.runs.run import Run

_INNER = charts.WIDTH - 40
_MOST_ROWS = 24  # of a picture
CAPTIONS = {
    "expected_reward": "Distribution of the expected reward over the items",
    "divided": "The items on which the annotators disagree most",
    "agreement": "How often two annotators give an item the same label, in per cent; annotators who agree are adjacent",
    "cost": "What each annotator's labels cost",
}


def card_pictures(run: Run, summary: Summary, findings: PanelFindings) -> dict[str, str]:
    """Draw what the run has data for. Returns name -> SVG."""
    drawn = {
        "expected_reward": _expected_reward(run),
        "divided": _divided(summary, run.space),
        "agreement": _agreement(run, findings),
        "cost": _cost(run, summary),
    }
    return {name: svg for name, svg in drawn.items() if svg}


def _expected_reward(run: Run) -> str:
    table = pq.read_table(run.folder.needs("distributions"), columns=["expected_reward", "evidence"])
    values = table["expected_reward"].to_numpy()[table["evidence"].to_numpy() > 0]
    rewards = run.space.rewards
    body = charts.histogram(
        values.astype(np.float64), float(rewards.min()), float(rewards.max()), _INNER, 230, "expected reward"
    )
    return charts.picture(CAPTIONS["expected_reward"], body, 236)


def _divided(summary: Summary, space: LabelSpace) -> str:
    items = [line for line in summary.divided if line.evidence > 0]
    if not items:
        return ""
    colours = charts.label_colours(space.rewards)
    key, top = charts.legend(space.names, colours, _INNER)
    parts = [key]
    for i, line in enumerate(items):
        y = top + 8 + i * 62
        parts.append(charts.text(0, y + 14, one_line(line.prompt, 100), "ink"))
        parts.append(charts.text(0, y + 31, one_line(line.response, 112), "dim", size=12))
        parts.append(charts.stacked(line.distribution, colours, 0, y + 37, _INNER - 60, 14))
        parts.append(charts.text(_INNER, y + 49, percent(line.disagreement), "dim", "end"))
    return charts.picture(CAPTIONS["divided"], "".join(parts), top + 12 + len(items) * 62)


def _agreement(run: Run, findings: PanelFindings) -> str:
    who = findings.who
    if who is None or len(who.compared) < 2:
        return ""
    order = clustered(who.agreement)[:_MOST_ROWS]
    said = {persona.id: persona.said for persona in run.panel.personas}
    names = [said.get(who.annotator_ids[i], who.annotator_ids[i]) for i in who.compared[order]]
    body, height = charts.matrix(who.agreement[np.ix_(order, order)], names, _INNER)
    return charts.picture(CAPTIONS["agreement"].split(";")[0], body, height + 8)


def _cost(run: Run, summary: Summary) -> str:
    said = {persona.id: persona.said for persona in run.panel.personas}
    spent = sorted(((line.cost or 0.0, line.annotator_id) for line in summary.personas), reverse=True)[:_MOST_ROWS]
    if not any(cost for cost, _ in spent):
        return ""
    body, height = charts.bars([(said.get(who, who), cost, money(cost)) for cost, who in spent], _INNER)
    return charts.picture(CAPTIONS["cost"], body, height + 8)
