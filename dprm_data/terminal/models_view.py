"""Terminal views of providers, of a provider's models, and of what a model was found to do."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from dprm_data.core.format import MISSING, duration, money
from dprm_data.engine.model_check import Finding, ModelCheck
from dprm_data.engine.model_list import ModelEntry, ProviderEntry
from dprm_data.terminal.table import table


def providers_view(entries: Sequence[ProviderEntry]) -> RenderableType:
    rows = table("provider", "key", "", "models", "address", left=("key", "", "address"))
    has: dict[bool | None, Text] = {
        True: Text("set", style="green"),
        False: Text("not set", style="dim"),
        None: Text(""),
    }
    for entry in entries:
        rows.add_row(
            Text(entry.name, style="bold"),
            entry.key_variable or ("not needed" if entry.free else MISSING),
            has[entry.has_key],
            f"{entry.models:,}" if entry.models else MISSING,
            entry.address or MISSING,
        )
    return Group(rows, Text("\nTo list a provider's models: dprm models list NAME [--search TEXT]", style="dim"))


def models_view(name: str, entries: Sequence[ModelEntry]) -> RenderableType:
    rows = table("model", "in", "out", "cached", "context", "effort", "logprobs", left=("effort", "logprobs"))
    for entry in entries:
        rows.add_row(
            Text(entry.name, style="bold"),
            _price(entry.input),
            _price(entry.output),
            _price(entry.cached),
            f"{entry.context:,}" if entry.context else MISSING,
            _effort(entry),
            {True: "yes", False: "no", None: "not known"}[entry.logprobs],
        )
    notes = f"\nDollars per million tokens. Effort: how hard it thinks before it answers; the lowest is the default. To see what works: dprm models check {name} MODEL"
    return Group(rows, Text(notes, style="dim"))


def _price(dollars: float | None) -> str:
    return MISSING if dollars is None else f"${dollars:.4g}"


def _effort(entry: ModelEntry) -> str:
    if entry.efforts:
        return f"{entry.efforts[0]} … {entry.efforts[-1]}" if len(entry.efforts) > 1 else entry.efforts[0]
    return {True: "fixed", False: MISSING, None: "not known"}[entry.reasons]


def check_view(check: ModelCheck) -> RenderableType:
    rows = table(
        "",
        "",
        "result",
        "time",
        "cost",
        "change in the recipe",
        left=("", "result", "change in the recipe"),
    )
    for found in check.findings:
        rows.add_row(
            found.what,
            _mark(found),
            found.said,
            MISSING if found.seconds is None else duration(found.seconds),
            _cost(found.cost),
            Text(found.change or MISSING, style="yellow" if found.change else ""),
        )
    cost = "cost not known" if check.cost is None else _cost(check.cost)
    end = f"\n{check.provider}, {check.model}: {check.requests} requests, {cost} ({check.prices})"
    return Group(rows, Text(end, style="dim"))


def _cost(dollars: float | None) -> str:
    return MISSING if dollars is None else "< $0.0001" if 0 < dollars < 0.0001 else money(dollars)


def _mark(found: Finding) -> Text:
    return {True: Text("works", style="green"), False: Text("fails", style="red"), None: Text("has none")}[found.works]
