"""A job_spec: all that a process elsewhere needs to know to do a share of a run's work. It can be pickled.

What the recipe names (panel, label space, templates) is in it, so that nothing has to be read there. Keys and passwords are not: they
come from the environment of whoever opens it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from importlib.metadata import version

from dprm_data.core.errors import InputError
from dprm_data.elicit.template import PromptTemplate
from dprm_data.labels.space import LabelSpace
from dprm_data.panel.personas import Panel
from dprm_data.recipe.recipe import Recipe
from dprm_data.runs.folder import RunFolder
from dprm_data.runs.run import Run


@dataclass(frozen=True)
class JobSpec:
    """A run's recipe with everything that it names, and what was said on the command line."""

    recipe: Recipe
    space: LabelSpace
    panel: Panel
    template: PromptTemplate
    prior_template: PromptTemplate | None
    plan_key: bytes
    program: str
    max_cost: float | None
    retry_failed: bool
    began: float  # seconds since 1970: what failed after that is not asked again

    @classmethod
    def of(cls, run: Run, *, max_cost: float | None, retry_failed: bool) -> JobSpec:
        """The run as it is here."""
        return cls(
            recipe=run.recipe,
            space=run.space,
            panel=run.panel,
            template=replace(run.template),  # a copy, without what was compiled of it
            prior_template=replace(run.prior_template) if run.prior_template else None,
            plan_key=run.work.plan_key(),
            program=_program(),
            max_cost=max_cost,
            retry_failed=retry_failed,
            began=time.time(),
        )

    def open(self) -> Run:
        """The run, elsewhere; its folder is not there. Raises `InputError` where this program would ask in another way."""
        if _program() != self.program:
            raise InputError(
                f"dprm-data is {_program()} here, and {self.program} where the run was started",
                hint="Install the same version on all nodes: another one might ask, and pay, for everything again.",
            )
        run = Run(self.recipe, RunFolder(self.recipe.output_folder))
        run.space, run.panel = self.space, self.panel
        run.template, run.prior_template = self.template, self.prior_template
        if run.work.plan_key() != self.plan_key:
            raise InputError(
                "the recipe means something else here than where the run was started",
                hint="Install the same code and the same dependencies on all nodes.",
            )
        return run


def _program() -> str:
    return version("dprm-data")
