"""Plans, pilots and validations with a notebook view, equal to the output of `dprm plan`, `dprm pilot` and `dprm validate`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from rich.console import RenderableType

from dprm_data.engine.plan import Plan
from dprm_data.pipeline.pilot import Pilot
from dprm_data.terminal.pilot_view import pilot_view
from dprm_data.terminal.plan_view import plan_view
from dprm_data.terminal.rendered import as_html, as_text
from dprm_data.terminal.validation_view import validation_view
from dprm_data.validation.panel_validation import Validation


class _Shown:
    def _view(self) -> RenderableType:
        raise NotImplementedError

    def __repr__(self) -> str:
        return as_text(self._view())

    def _repr_html_(self) -> str:
        return as_html(self._view())


@dataclass(frozen=True, repr=False)
class ShownPlan(_Shown, Plan):
    """A plan beside the recipe's budget, in dollars (None: without one)."""

    budget: float | None = None

    @classmethod
    def of(cls, plan: Plan, budget: float | None) -> ShownPlan:
        return cls(**_values(plan), budget=budget)

    def _view(self) -> RenderableType:
        return plan_view(self, self.budget)


@dataclass(frozen=True, repr=False)
class ShownPilot(_Shown, Pilot):
    """What a pilot found."""

    @classmethod
    def of(cls, pilot: Pilot) -> ShownPilot:
        return cls(**_values(pilot))

    def _view(self) -> RenderableType:
        return pilot_view(self)


@dataclass(frozen=True, repr=False)
class ShownValidation(_Shown, Validation):
    """What a validation found. folder: where its page is."""

    folder: Path = Path()

    @classmethod
    def of(cls, found: Validation, folder: Path) -> ShownValidation:
        return cls(**_values(found), folder=folder)

    def as_dict(self) -> dict[str, Any]:
        content = super().as_dict()
        del content["folder"]
        return content

    def _view(self) -> RenderableType:
        return validation_view(self.as_dict(), self.folder)


def _values(found: Plan | Pilot | Validation) -> dict[str, Any]:
    return {each.name: getattr(found, each.name) for each in fields(found)}
