"""A plan that shows itself as `dprm plan` does."""

from __future__ import annotations

from dataclasses import dataclass, fields

from dprm_data.engine.plan import Plan
from dprm_data.terminal.plan_view import plan_view
from dprm_data.terminal.rendered import as_html, as_text


@dataclass(frozen=True, repr=False)
class ShownPlan(Plan):
    """A plan beside the recipe's budget, in dollars (None: without one)."""

    budget: float | None = None

    @classmethod
    def of(cls, plan: Plan, budget: float | None) -> ShownPlan:
        return cls(**{each.name: getattr(plan, each.name) for each in fields(Plan)}, budget=budget)

    def __repr__(self) -> str:
        return as_text(plan_view(self, self.budget))

    def _repr_html_(self) -> str:
        return as_html(plan_view(self, self.budget))
