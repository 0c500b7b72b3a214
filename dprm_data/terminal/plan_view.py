"""Terminal views of a plan: calls, tokens, cost, budget."""

from __future__ import annotations

from rich.console import RenderableType
from rich.text import Text

from dprm_data.core.format import money, percent
from dprm_data.engine.plan import Plan
from dprm_data.terminal.table import facts


def plan_view(plan: Plan, budget: float | None) -> RenderableType:
    """The plan, against the budget where there is one."""
    rows = facts()
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
        rows.add_row("", f"at most {money(plan.cost_at_most)} without re-asks, if every call used all that it may")
        for assumption in plan.assumptions:
            rows.add_row("assumed", assumption)
    for id_, each in plan.models.items():
        tokens = f"{each.input_tokens:,} tokens in, {each.output_tokens:,} out"
        rows.add_row("", Text(f"{id_}: {each.calls_needed:,} calls, {tokens}, {_cost(each)}"))
    rows.add_row("prices", plan.prices)
    if plan.spent:
        rows.add_row("spent so far", money(plan.spent))
    if budget is not None:
        rows.add_row("budget", _budget(plan, budget))
    return rows


def _cost(plan: Plan) -> str:
    if plan.cost is None or plan.cost_range is None:
        return "not known"
    low, high = map(money, plan.cost_range)
    return money(plan.cost) if low == high else f"{money(plan.cost)}, in all likelihood {low} to {high}"


def _budget(plan: Plan, budget: float) -> Text:
    if plan.cost is not None and plan.spent + plan.cost <= budget:
        return Text(money(budget))
    return Text(
        f"{money(budget)}: not enough for the whole run, which would stop there and could be resumed", style="yellow"
    )
