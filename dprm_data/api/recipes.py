"""Recipes from Python: `run` and `arun` make a dataset, `plan` estimates its cost, `pilot` asks about a few items first."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dprm_data.api.run_result import RunResult
from dprm_data.api.shown import ShownPilot, ShownPlan
from dprm_data.engine.callers_loop import Waiter, in_callers_loop
from dprm_data.engine.counters import Counters
from dprm_data.engine.plan import Plan
from dprm_data.pipeline import generate_stage, stages, two_stage_plan
from dprm_data.pipeline.announcement import say_sendings
from dprm_data.pipeline.pilot import Pilot, prepare_pilot, run_pilot
from dprm_data.providers.provider import Provider
from dprm_data.recipe.recipe import Recipe
from dprm_data.recipe.trust import check
from dprm_data.runs.folder import RunFolder
from dprm_data.runs.run import Progress, Rows, Run
from dprm_data.terminal.default_progress import shown_progress

RecipeLike = Recipe | str | os.PathLike[str] | dict[str, Any]


def run(
    recipe: RecipeLike,
    *,
    source: Rows | None = None,
    output: str | os.PathLike[str] | None = None,
    provider: Provider | None = None,
    max_cost: float | None = None,
    retry_failed: bool = False,
    progress: Progress | bool | None = True,
) -> RunResult:
    """Run a recipe from its items to its dataset.

    source: rows in place of the recipe's source (a `datasets` object, a list of dicts). output: the run folder, overriding the recipe's.
    provider: an object to ask in place of the recipe's provider, as `Run` takes it: the recipe needs no `provider` then.
    max_cost: dollars, overriding the recipe's budget. progress: True shows it below a notebook's cell, as a live line on a terminal, and as plain lines
    anywhere else; False shows nothing; or an object of your own.

    Works in a notebook, too, but blocks the cell; `arun` does not.

    Raises `DprmError`. If the budget, the provider or an interrupt ends the run early, the answers so far are fitted first: the folder has a usable
    partial dataset (`open_run`).
    """
    with _job(recipe, source, output, provider, progress, calls=True) as job:
        return _made(job, max_cost, retry_failed)


async def arun(
    recipe: RecipeLike,
    *,
    source: Rows | None = None,
    output: str | os.PathLike[str] | None = None,
    provider: Provider | None = None,
    max_cost: float | None = None,
    retry_failed: bool = False,
    progress: Progress | bool | None = True,
) -> RunResult:
    """`run` for callers with an event loop, such as notebooks and servers: calls are made in that loop, files are read and written in a thread.

    The arguments are those of `run`. Several runs in different folders may go on at once.

    Cancelling the task (also by `asyncio.timeout`) does what Ctrl-C does: calls in flight finish, every answer is kept, and the answers so far are
    fitted before `CancelledError` is raised. A second cancellation ends it at once. To continue, call it again.
    """
    with _job(recipe, source, output, provider, progress, calls=True) as job:
        return await in_callers_loop(lambda waiter: _made(_interrupted_by(waiter, job), max_cost, retry_failed))


def plan(
    recipe: RecipeLike,
    *,
    source: Rows | None = None,
    output: str | os.PathLike[str] | None = None,
    provider: Provider | None = None,
    progress: Progress | bool | None = True,
) -> Plan:
    """Estimate a run's calls, tokens and dollars. Makes no paid call; may load a local model. Stores the items in the run folder.

    The arguments are those of `run`. Raises `DprmError` for a recipe that cannot be run.
    """
    with _job(recipe, source, output, provider, progress) as job, job.at_work():
        say_sendings(job)
        stages.prepare(job)
        return ShownPlan.of(two_stage_plan.plan(job), job.recipe.budget.max_cost)


def pilot(
    recipe: RecipeLike,
    *,
    items: int = 25,
    replicates: int = 2,
    seed: int = 0,
    source: Rows | None = None,
    output: str | os.PathLike[str] | None = None,
    provider: Provider | None = None,
    max_cost: float | None = None,
    progress: Progress | bool | None = True,
) -> Pilot:
    """Ask about a few items, `replicates` times, and say whether personas move the answers beyond noise, how models differ, and what the run will cost.

    items: how many are drawn at random, by `seed`. max_cost: dollars for the pilot itself. The other arguments are those of `run`. A call that the run makes too
    is paid once. Raises `DprmError`.
    """
    with _job(recipe, source, output, provider, progress, calls=True) as job, job.at_work():
        stages.prepare(job)
        planned, _ = prepare_pilot(job, items=items, replicates=replicates, seed=seed)
        return ShownPilot.of(run_pilot(job, planned, max_cost=max_cost))


@contextmanager
def _job(
    recipe: RecipeLike,
    source: Rows | None,
    output: str | os.PathLike[str] | None,
    provider: Provider | None,
    progress: Progress | bool | None,
    *,
    calls: bool = False,
) -> Iterator[Run]:
    loaded = Recipe.of(recipe, provider=provider)
    check(loaded, calls=calls and provider is None)
    with shown_progress(progress) as shown:
        yield Run(loaded, RunFolder(output) if output else None, source=source, progress=shown, provider=provider)


def _made(job: Run, max_cost: float | None, retry_failed: bool) -> RunResult:
    with job.at_work():
        stages.prepare(job)
        generate_stage.generate(job, max_cost=max_cost, retry_failed=retry_failed)
        generate_stage.make_usable(job)
        counters = stages.annotate_and_keep(job, max_cost=max_cost, retry_failed=retry_failed)
    return RunResult(job.folder, counters)


def _interrupted_by(waiter: Waiter, job: Run) -> Run:
    """The run. Its source is not read further after an interrupt, and its tables are not written after two."""
    job.progress = _Interruptible(job.progress, waiter)
    return job


class _Interruptible(Progress):
    def __init__(self, shown: Progress, waiter: Waiter) -> None:
        self._shown = shown
        self._waiter = waiter

    def stage(self, name: str) -> None:
        self._waiter.check(most=1)
        self._shown.stage(name)

    def items(self, count: int) -> None:
        self._waiter.check()
        self._shown.items(count)

    def update(self, counters: Counters) -> None:
        self._shown.update(counters)

    def say(self, text: str) -> None:
        self._shown.say(text)
