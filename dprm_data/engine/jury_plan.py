"""The plan of several models: each model's own, and their sum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from dprm_data.elicit.work import Work
from dprm_data.engine.plan import Plan, make_plan
from dprm_data.engine.prices import Prices, price_sources
from dprm_data.ledger.ledger import Ledger

# Not a sum: the same for every model, or found otherwise.
_SHARED = {
    "items",
    "annotators",
    "annotations",
    "spent",
    "prices",
    "sample",
    "error",
    "models",
    "stages",
    "cost_range",
    "assumptions",
}


def make_jury_plan(work: Work, items_file: Path, prices: Mapping[str, Prices], ledger: Ledger | None) -> Plan:
    """Count the missing calls of all models, as `make_plan` does for one. Makes none. prices: by the model's id."""
    plans = {id_: make_plan(part, items_file, prices[id_], ledger) for id_, part in work.parts.items()}
    first = next(iter(plans.values()))
    if len(plans) == 1:
        return first
    sums: dict[str, Any] = {each.name: _sum(plans, each.name) for each in fields(Plan) if each.name not in _SHARED}
    calls = max(1, sums["calls_needed"])
    return replace(
        first,
        annotators=work.annotations_per_item,
        annotations=work.annotations_of(first.items),
        prices=price_sources(prices),
        # Large runs are estimated from the same items for every model, so the errors do not cancel out.
        error=sum(plan.error * plan.calls_needed for plan in plans.values()) / calls,
        cost_range=_range(plans),
        assumptions=tuple(dict.fromkeys(each for plan in plans.values() for each in plan.assumptions)),
        models=plans,
        **sums,
    )


def _sum(plans: Mapping[str, Plan], name: str) -> float | None:
    """The sum of a figure over the models; None if one does not have it (a price that is not known)."""
    values = [getattr(plan, name) for plan in plans.values()]
    return None if None in values else sum(values)


def _range(plans: Mapping[str, Plan]) -> tuple[float, float] | None:
    """From the sum of the lowest costs to that of the highest: what makes one model's answers long makes all longer."""
    ranges = [plan.cost_range for plan in plans.values()]
    known = [each for each in ranges if each is not None]
    return (sum(low for low, _ in known), sum(high for _, high in known)) if len(known) == len(ranges) else None
