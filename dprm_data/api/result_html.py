"""Results in a notebook: small pieces of HTML with inline styles, in the notebook's own colours.

Nothing is loaded from the network, there is no script, and every text is escaped: prompts, responses and labels are untrusted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dprm_data.api.overview import Overview
from dprm_data.core import charts
from dprm_data.core.charts import escape
from dprm_data.core.errors import DprmError
from dprm_data.core.format import number, percent, typographic
from dprm_data.core.text import one_line
from dprm_data.labels.space import LabelSpace
from dprm_data.runs.folder import RunFolder
from dprm_data.runs.summary import ItemLine

_LONGEST = 160  # characters of a text that are shown
_WIDTHS = ("25%", "auto", "190px", "190px")
_CELL = "padding:4px 10px 4px 0;text-align:left;vertical-align:top;border:0"


def run_html(folder: RunFolder, space: LabelSpace, found: Overview) -> str:
    """A run: how complete it is, what it cost, and its first items."""
    parts = [
        _line(f"<b>{escape(one_line(str(folder), _LONGEST))}</b>"),
        _line(escape(found.sentence())),
    ]
    if found.first:
        labels, rewards = space.names, space.rewards.tolist()
        head = _row("prompt", "response", "distribution", "expected reward", head=True)
        rows = "".join(_item(line, labels, rewards) for line in found.first)
        table = f'<table style="border-collapse:collapse;background:none;border:0;margin:6px 0">{head}{rows}</table>'
        more = found.items - len(found.first)
        parts += [legend_html(labels, rewards), table]
        parts += [_line(f"… and {more:,} more: <code>.distributions</code>", dim=True)] if more > 0 else []
    if found.annotations:
        parts.append(_line(escape(found.whose()), dim=True))
    return f'<div style="max-width:1000px">{"".join(parts)}</div>'


def fault_html(folder: RunFolder, error: DprmError) -> str:
    """A run without anything to show yet."""
    hint = _line(escape(error.hint), dim=True) if error.hint else ""
    return f"<div>{_line(f'<b>{escape(str(folder))}</b>: {escape(error.message)}')}{hint}</div>"


def distribution_html(probabilities: Mapping[str, float], rewards: Mapping[str, float], figures: str) -> str:
    """One distribution: a bar with its legend, and figures below."""
    labels = list(probabilities)
    shown = bar_html([probabilities[label] for label in labels], labels, [rewards[label] for label in labels], 360)
    shares = [f"{label} {percent(probabilities[label])}" for label in labels]
    legend = legend_html(shares, [rewards[label] for label in labels])
    return f"<div>{shown}{legend}{_line(escape(figures), dim=True)}</div>"


def legend_html(labels: Sequence[str], rewards: Sequence[float]) -> str:
    """The labels with their colours and rewards, the best first."""
    colours = charts.label_colours(np.array(rewards))
    best_first = sorted(range(len(labels)), key=lambda i: -rewards[i])
    marks = "".join(
        f'<span style="white-space:nowrap;margin-right:14px"><span style="display:inline-block;width:.75em;height:.75em;'
        f'background:{colours[i]};margin-right:5px"></span>{escape(one_line(labels[i], 40))} ({rewards[i]:g})</span>'
        for i in best_first
    )
    return f'<div style="margin:4px 0;font-size:90%">{marks}</div>'


def bar_html(distribution: Sequence[float], labels: Sequence[str], rewards: Sequence[float], width: int = 180) -> str:
    """A distribution as a bar, the best label first; the title of each part has its label and share."""
    colours = charts.label_colours(np.array(rewards))
    parts = "".join(
        f'<span title="{escape(labels[i])}: {percent(distribution[i])}" '
        f'style="width:{100 * distribution[i]:.2f}%;background:{colours[i]}"></span>'
        for i in sorted(range(len(labels)), key=lambda i: -rewards[i])
        if distribution[i] >= 0.0005
    )
    said = ", ".join(f"{name} {percent(share)}" for name, share in zip(labels, distribution, strict=True))
    return (
        f'<span role="img" aria-label="{escape(said)}" '
        f'style="display:inline-flex;width:{width}px;height:1em;overflow:hidden;vertical-align:middle">{parts}</span>'
    )


def reward_text(expected: float, low: float, high: float) -> str:
    """An expected reward with its interval."""
    value, *ends = (typographic(number(each, 2, sign=True)) for each in (expected, low, high))
    return f"{value} ({' … '.join(ends)})"


def _item(line: ItemLine, labels: Sequence[str], rewards: Sequence[float]) -> str:
    if line.evidence <= 0:
        bar, reward = "no votes", "–"
    else:
        bar = bar_html(line.distribution, labels, rewards)
        reward = escape(reward_text(line.expected_reward, line.reward_low, line.reward_high))
    return _row(_text(line.prompt), _text(line.response), bar, f'<span style="white-space:nowrap">{reward}</span>')


def _text(text: str) -> str:
    return escape(one_line(text, _LONGEST))


def _row(*cells: str, head: bool = False) -> str:
    tag = "th" if head else "td"
    columns = "".join(
        f'<{tag} style="{_CELL};width:{width}">{cell}</{tag}>' for cell, width in zip(cells, _WIDTHS, strict=True)
    )
    return f"<tr>{columns}</tr>"


def _line(content: str, *, dim: bool = False) -> str:
    return f'<div style="margin:2px 0{";opacity:.7" if dim else ""}">{content}</div>'
