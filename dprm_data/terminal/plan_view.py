"""Terminal views of a plan: calls, tokens, cost, budget."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from dprm_data.core.format import money, percent
from dprm_data.engine.plan import Plan
from dprm_data.terminal.table import facts


def plan_view(plan: Plan, budget: float | None) -> RenderableType:
    """The plan, against the budget where there is one."""
    rows = facts()
    if plan.stages:
        responses = plan.stages["responses"]
        rows.add_row("prompts", f"{responses.items:,}  ({responses.annotators} responses to each)")
    rows.add_row("items", f"{plan.items:,}")
    if not plan.annotators:
        rows.add_row(
            "calls to make", Text("no calls: people's ratings are the labels, and no model is asked", style="bold")
        )
        return rows
    rows.add_row("annotations", f"{plan.annotations:,}  ({plan.annotators} per item)")
    sampled = f"  (estimated from {plan.sample:,} items, ± {percent(plan.error)})" if plan.error else ""
    rows.add_row("calls to make", Text(f"{plan.calls_needed:,}{sampled}", style="bold"))
    if plan.calls_known:
        rows.add_row("", f"{plan.calls_known:,} more are in the ledger already, at no cost")
    basis = f"from {plan.corrected_by:,} real answers" if plan.corrected_by else "a guess"
    rows.add_row("tokens", f"{plan.input_tokens:,} in, {plan.output_tokens:,} out  ({basis})")
    rows.add_row("cost", Text(_cost(plan), style="bold"))
    if plan.cost:
        rows.add_row("", f"at most {money(plan.cost_at_most)} if every call costs its worst case (re-asks not counted)")
        _list(rows, "assumed", plan.assumptions)
    _list(rows, "by stage", [f"{name}: {_totals(each)}" for name, each in plan.stages.items()])
    _list(rows, "by model", [f"{id_}: {_totals(each)}" for id_, each in plan.models.items()])
    _list(rows, "prices", [f"{id_}: {each.prices}" for id_, each in plan.models.items()] or [plan.prices])
    if plan.spent:
        rows.add_row("spent so far", money(plan.spent))
    if budget is not None:
        rows.add_row("budget", _budget(plan, budget))
    return rows


def _list(rows: Table, name: str, lines: Sequence[str]) -> None:
    """Add rows under one name."""
    for place, line in enumerate(lines):
        rows.add_row("" if place else name, Text(line))


def _totals(plan: Plan) -> str:
    return f"{plan.calls_needed:,} calls, {plan.input_tokens:,} tokens in, {plan.output_tokens:,} out, {_cost(plan)}"


def _cost(plan: Plan) -> str:
    if plan.cost is None or plan.cost_range is None:
        return "not known"
    low, high = map(money, plan.cost_range)
    return money(plan.cost) if low == high else f"{money(plan.cost)}, likely {low} to {high}"


def _budget(plan: Plan, budget: float) -> Text:
    if plan.cost is not None and plan.spent + plan.cost <= budget:
        return Text(money(budget))
    return Text(
        f"{money(budget)}: not enough for the whole run, which would stop there and could be resumed", style="yellow"
    )
