"""The specification of a run for actors on other nodes. It can be pickled.

It includes what the recipe names (panel, label space, templates), so that nodes need no files, but no keys or passwords: those come from
the environment of the process that opens it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from dprm_data.core.errors import InputError
from dprm_data.core.version import __version__
from dprm_data.elicit.template import PromptTemplate
from dprm_data.labels.space import LabelSpace
from dprm_data.panel.personas import Panel
from dprm_data.recipe.recipe import Recipe
from dprm_data.runs.folder import RunFolder
from dprm_data.runs.run import Run


@dataclass(frozen=True)
class JobSpec:
    """A run's recipe with everything it names, and the options of the command."""

    recipe: Recipe
    space: LabelSpace
    panel: Panel
    template: PromptTemplate
    prior_template: PromptTemplate | None
    plan_key: bytes
    program: str
    max_cost: float | None
    retry_failed: bool
    began: float  # seconds since 1970: failures after that are not retried

    @classmethod
    def of(cls, run: Run, *, max_cost: float | None, retry_failed: bool) -> JobSpec:
        """The specification of this run."""
        return cls(
            recipe=run.recipe,
            space=run.space,
            panel=run.panel,
            template=replace(run.template),  # a copy, without its compiled parts
            prior_template=replace(run.prior_template) if run.prior_template else None,
            plan_key=run.work.plan_key(),
            program=_program(),
            max_cost=max_cost,
            retry_failed=retry_failed,
            began=time.time(),
        )

    def open(self) -> Run:
        """The run, on another node, without its folder. Raises `InputError` if this version would make other calls."""
        if _program() != self.program:
            raise InputError(
                f"dprm-data is {_program()} here, and {self.program} where the run was started",
                hint="Install the same version on all nodes: another version might make, and pay for, all calls again.",
            )
        run = Run(self.recipe, RunFolder(self.recipe.output_folder))
        run.space, run.panel = self.space, self.panel
        run.template, run.prior_template = self.template, self.prior_template
        if run.work.plan_key() != self.plan_key:
            raise InputError(
                "the recipe has another meaning here than where the run was started",
                hint="Install the same code and the same dependencies on all nodes.",
            )
        return run


def _program() -> str:
    return __version__
