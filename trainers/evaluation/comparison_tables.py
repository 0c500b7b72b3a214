"""A comparison of policies as Markdown tables and as a chart."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from dprm_data.core import charts
from dprm_data.core.tables import write_text
from dprm_data.core.text import markdown_row, one_line
from dprm_trainers.evaluation.gold_picture import curves_picture
from dprm_trainers.evaluation.gold_tables import CURVES, curve_tables, notes
from dprm_trainers.evaluation.policy_comparison import Judged, PolicyEvaluation
from dprm_trainers.reward.risk_measures import RiskMeasure

_INNER = charts.WIDTH - 40
_LEFT, _RIGHT = 250.0, 205.0  # room for names before the bars, and for numbers after them
_WINS = ("#0f766e", "#b9c7bd", "#b5472f")  # win, tie, lose


def write_evaluation(found: PolicyEvaluation, folder: Path) -> None:
    """Write evaluation.json, evaluation.md and evaluation.svg; with a gold judge, gold-curves.svg."""
    write_text(folder / "evaluation.json", json.dumps(found.as_dict(), indent=2, allow_nan=False) + "\n")
    write_text(folder / "evaluation.md", markdown(found))
    write_text(folder / "evaluation.svg", picture(found))
    if found.best_of_n or found.policy_curves:
        write_text(folder / CURVES, curves_picture(found))
    else:
        (folder / CURVES).unlink(missing_ok=True)  # of an earlier evaluation


def markdown(found: PolicyEvaluation) -> str:
    """The curves; for each judge the rewards with shares and the duels; then statistics of the responses; then notes."""
    lines = [f"{found.responses} responses per policy to {found.prompts} prompts; 95 % intervals over prompts.", ""]
    lines += curve_tables(found)
    for judged in found.judged:
        lines += [*_of_judge(judged, found.tie), ""]
    names = list(dict.fromkeys(name for style in found.style.values() for name in style))
    lines += ["### The responses", "", markdown_row(["", *names]), _rule(len(names))]
    for policy, style in found.style.items():
        lines.append(markdown_row([policy, *[str(style[name]) if name in style else "–" for name in names]]))
    lines += ["", *notes(found)] if notes(found) else []
    return "\n".join(lines) + "\n"


def _of_judge(judged: Judged, tie: float) -> list[str]:
    reading = "" if not RiskMeasure.of(judged.reading).needs_distribution else f", reading {judged.reading}"
    lines = [f"### Judge: {judged.judge} ({judged.kind}{reading})", ""]
    labels = list(judged.labels) if judged.shares else []
    lines += [markdown_row(["", "reward", *labels]), _rule(1 + len(labels))]
    for policy, reward in judged.reward.items():
        shares = [f"{100 * (judged.shares[policy][label].value or 0.0):.1f} %" for label in labels]
        lines.append(markdown_row([policy, str(reward), *shares]))
    if not judged.duels:
        return lines
    tied = f"within {100 * tie:g} % of the rewards’ range" if judged.shares else "equal rewards"
    heads = [
        f"win / tie ({tied}) / lose",
        "net",
        "difference of reward",
        *(["people: win / tie / lose"] if labels else []),
    ]
    lines += ["", markdown_row(["", *heads]), _rule(len(heads))]
    for duel in judged.duels:
        cells = [_three((duel.win, duel.tie, duel.lose)), str(duel.net), str(duel.difference)]
        lines.append(
            markdown_row(
                [f"{duel.first} against {duel.second}", *cells, *([_three(duel.people)] if duel.people else [])]
            )
        )
    return lines


def _three(shares: tuple[float, float, float]) -> str:
    return " / ".join(f"{100 * share:.0f}" for share in shares) + " %"


def _rule(columns: int) -> str:
    return markdown_row(["---", *["---:"] * columns])


def picture(found: PolicyEvaluation) -> str:
    """For each judge: a bar of shares and the reward per policy, and a bar of win, tie and lose per pair."""
    parts: list[str] = []
    y = 0.0
    for judged in found.judged:
        part, tall = _drawn(judged)
        parts.append(f'<g transform="translate(0 {y:.0f})">{part}</g>')
        y += tall + 18
    return charts.picture("Policies, judged on the same held-out prompts", "".join(parts), y)


def _drawn(judged: Judged) -> tuple[str, float]:
    parts = [charts.text(0, 14, one_line(f"Judge: {judged.judge} ({judged.kind})", 90))]
    y = 24.0
    colours = charts.label_colours(np.array(judged.rewards))
    order = sorted(range(len(judged.labels)), key=lambda k: -judged.rewards[k])
    if judged.shares:
        key, tall = charts.legend([judged.labels[k] for k in order], [colours[k] for k in order], _INNER)
        parts.append(f'<g transform="translate(0 {y:.0f})">{key}</g>')
        y += tall + 4
    for policy, reward in judged.reward.items():
        parts.append(charts.text(_LEFT - 10, y + 14, one_line(policy, 24), "ink", "end"))
        if judged.shares:
            shares = [judged.shares[policy][judged.labels[k]].value or 0.0 for k in order]
            parts.append(charts.stacked(shares, [colours[k] for k in order], _LEFT, y + 2, _INNER - _LEFT - _RIGHT, 16))
        parts.append(charts.text(_INNER, y + 14, f"reward {reward}".replace("-", "−"), "dim", "end", 12))
        y += 24
    if judged.duels:
        key, tall = charts.legend(["win", "tie", "lose"], _WINS, _INNER)
        parts.append(f'<g transform="translate(0 {y + 6:.0f})">{key}</g>')
        y += tall + 10
    for duel in judged.duels:
        title = one_line(f"{duel.first} against {duel.second}", 30)
        parts.append(charts.text(_LEFT - 10, y + 14, title, "ink", "end"))
        parts.append(charts.stacked((duel.win, duel.tie, duel.lose), _WINS, _LEFT, y + 2, _INNER - _LEFT - _RIGHT, 16))
        net = f"net {duel.net}".replace("-", "−")
        parts.append(charts.text(_INNER, y + 14, net, "dim", "end", 12))
        y += 24
    return "".join(parts), y
