"""The curves of proxy and gold as Markdown tables, and what they say in a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dprm_data.core.text import markdown_row
from dprm_trainers.evaluation.best_of_n import BestOfN
from dprm_trainers.evaluation.gold_fall import Fall
from dprm_trainers.evaluation.policy_comparison import PolicyEvaluation
from dprm_trainers.evaluation.policy_curve import PolicyCurve

CURVES = "gold-curves.svg"
_HOW = "Intervals of changes hold for all pairs of points at once."


def summary(found: PolicyEvaluation, folder: Path) -> str:
    """For the screen: the curves, the notes, and where everything is."""
    picture = f", {folder / CURVES}" if found.best_of_n or found.policy_curves else ""
    return "\n".join([*curve_tables(found), *notes(found), "", f"All tables: {folder / 'evaluation.md'}{picture}"])


def notes(found: PolicyEvaluation) -> list[str]:
    """The caveats of the comparison and of every judge, as a list."""
    of_judges = [f"{judged.judge}: {note}" for judged in found.judged for note in judged.notes]
    return [f"- {note}" for note in (*found.notes, *of_judges)]


def curve_tables(found: PolicyEvaluation) -> list[str]:
    """The lines of all curves' tables."""
    lines: list[str] = []
    for best in found.best_of_n:
        lines += [*_of_best(best, gold_of(found)), ""]
    for along in found.policy_curves:
        lines += [*_of_policies(along, gold_of(found)), ""]
    return lines


def gold_of(found: PolicyEvaluation) -> str:
    """What to call the gold judge: simulated labels are called so."""
    return "simulated gold" if found.gold_simulated else "gold"


def title_of(curve: BestOfN | PolicyCurve) -> str:
    """What the curve shows."""
    if isinstance(curve, BestOfN):
        return f"Best of n responses of {curve.policy}, chosen by the proxy"
    return "Policies under proxy and gold"


def verdict_of(curve: BestOfN | PolicyCurve) -> str:
    """What the curve says of over-optimisation, and where gold is highest."""
    return f"{_of_fall(curve.fall)} Gold is highest at {_highest(curve)}."


def _of_fall(fall: Fall | None) -> str:
    if fall is None:
        return "No over-optimisation is visible: gold falls nowhere where the proxy rises."
    change = f"from {fall.start} to {fall.end} gold changes by {fall.gold}, the proxy by {fall.proxy}."
    if fall.visible:
        return f"Over-optimisation: {change}"
    return f"No over-optimisation is visible within the error. The deepest fall: {change}"


def _highest(curve: BestOfN | PolicyCurve) -> str:
    at = int(np.nanargmax([np.nan if point.gold.value is None else point.gold.value for point in curve.points]))
    return f"n = {curve.points[at].n}" if isinstance(curve, BestOfN) else curve.points[at].policy


def _of_best(curve: BestOfN, gold: str) -> list[str]:
    heads = ["n", "KL at most", "proxy", "gold", "gold, gain over n = 1", "gold of the longest of n"]
    rows = [
        [
            "1 (at random)" if point.n == 1 else str(point.n),
            f"{point.kl_bound:.2f}",
            *map(str, (point.proxy, point.gold)),
            "–" if point.n == 1 else str(point.gold_gain),
            str(point.longest_gold),
        ]
        for point in curve.points
    ]
    return [
        f"### {title_of(curve)}",
        "",
        f"Proxy: {curve.proxy}; {gold}: {curve.gold}; {curve.responses} responses to each of {curve.prompts} prompts.",
        "",
        *_table(heads, rows),
        "",
        f"{verdict_of(curve)} {_HOW}",
        f"Gold at n = {curve.responses}, the proxy's choice minus the longest: {curve.beyond_longest}.",
    ]


def _of_policies(curve: PolicyCurve, gold: str) -> list[str]:
    measured = all(point.kl for point in curve.points)
    heads = ["", *(["KL, nats"] if measured else []), "proxy", "gold", f"gold, gain over {curve.points[0].policy}"]
    rows = [
        [
            point.policy,
            *([str(point.kl)] if measured else []),
            *map(str, (point.proxy, point.gold)),
            "–" if point is curve.points[0] else str(point.gold_gain),
        ]
        for point in curve.points
    ]
    unmeasured = "" if measured else " KL was not measured (--reference)."
    return [
        f"### {title_of(curve)}",
        "",
        f"Proxy: {curve.proxy}; {gold}: {curve.gold}.{unmeasured}",
        "",
        *_table(heads, rows),
        "",
        f"{verdict_of(curve)} {_HOW}",
    ]


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [markdown_row(heads), markdown_row(["---", *["---:"] * (len(heads) - 1)]), *map(markdown_row, rows)]
