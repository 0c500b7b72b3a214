"""Terminal views of a benchmark of judges: the judge's figures beside the rivals'."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from dprm_data.core.format import money
from dprm_data.pipeline.bench_run import PreparedBench
from dprm_data.terminal.table import table
from dprm_data.validation.judge_bench import FILE


def bench_price(prepared: PreparedBench) -> str:
    """What the panel will be asked, in one line."""
    cases, calls, cost = prepared.loaded.cases, prepared.calls, prepared.cost
    said = f"{calls:,} calls" if calls else "no call is left to make"
    price = "" if cost is None or not calls else f", about {money(cost)}"
    responses = sum(len(case.responses) for case in cases)
    return f"{len(cases):,} cases of {prepared.loaded.about.title}, {responses:,} responses: {said}{price}"


def bench_view(content: Mapping[str, Any], folder: Path) -> RenderableType:
    """A row for each figure, with the judge's interval and the rivals; then cost, notes, and where the file is."""
    rivals = content["rivals"]
    made = table("section", "cases", "score", "95 % interval", *rivals)
    for name, value in content["scores"].items():
        cases = content["cases"] if name == "overall" else content["cases_by_section"].get(name)
        low, high = content["intervals"][name]
        made.add_row(
            name,
            "" if cases is None else f"{cases:,}",
            _share(value),
            "" if low is None else f"{_share(low)} to {_share(high)}",
            *(_share(rival["scores"][name]) for rival in rivals.values()),
        )
    parts: list[RenderableType] = [Text(f"{content['model']} on {content['benchmark']}", style="bold"), made, Text()]
    if content["model_type"] == "panel":
        parts.append(Text(f"{content['calls']:,} annotations, {money(content['cost'])}"))
    parts += [Text(content["protocol"], style="dim"), Text(content["data"]["leakage"], style="dim")]
    parts += [Text(f"note: {note}", style="yellow") for note in content["notes"]]
    parts.append(Text(f"All figures: {folder / FILE}"))
    return Group(*parts)


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"
