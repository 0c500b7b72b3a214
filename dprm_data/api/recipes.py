"""Recipes from Python: `run` makes a dataset, `plan` estimates its cost, `pilot` asks about a few items first."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from dprm_data.engine.counters import Counters
from dprm_data.engine.plan import Plan
from dprm_data.pipeline import stages
from dprm_data.pipeline.pilot import Pilot, prepare_pilot, run_pilot
from dprm_data.providers.provider import Provider
from dprm_data.recipe.recipe import Recipe
from dprm_data.recipe.trust import check
from dprm_data.runs.folder import RunFolder
from dprm_data.runs.run import Progress, Rows, Run

RecipeLike = Recipe | str | os.PathLike[str] | dict[str, Any]


@dataclass(frozen=True, repr=False)
class RunResult:
    """The result of `run`: the folder, and the counters of this process's calls."""

    folder: RunFolder
    counters: Counters

    def __repr__(self) -> str:
        return f"RunResult({str(self.folder)!r}: {self.counters.items:,} items, {self.counters.calls:,} calls made now)"

    def distributions(self) -> Any:
        """The fitted distributions as an Arrow table (`.to_pandas()` for pandas)."""
        import pyarrow.parquet as pq

        return pq.read_table(self.folder.needs("distributions"))


def run(
    recipe: RecipeLike,
    *,
    source: Rows | None = None,
    output: str | os.PathLike[str] | None = None,
    provider: Provider | None = None,
    max_cost: float | None = None,
    retry_failed: bool = False,
    progress: Progress | None = None,
) -> RunResult:
    """Run a recipe from its items to its dataset.

    source: rows in place of the recipe's source (a `datasets` object, a list of dicts). output: the run folder, overriding the recipe's.
    provider: an object to ask in place of the recipe's provider, as `Run` takes it: the recipe needs no `provider` then.
    max_cost: dollars, overriding the recipe's budget.

    Raises `DprmError`. If the budget or the provider ends the run early, the answers so far are fitted first: the folder has a usable
    partial dataset.
    """
    job = _job(recipe, source, output, provider, progress, calls=True)
    with job.at_work():
        stages.prepare(job)
        counters = stages.annotate_and_keep(job, max_cost=max_cost, retry_failed=retry_failed)
    return RunResult(job.folder, counters)


def plan(
    recipe: RecipeLike,
    *,
    source: Rows | None = None,
    output: str | os.PathLike[str] | None = None,
    provider: Provider | None = None,
    progress: Progress | None = None,
) -> Plan:
    """Estimate a run's calls, tokens and dollars. Makes no call; stores the items in the run folder.

    The arguments are those of `run`. Raises `DprmError` for a recipe that cannot be run.
    """
    job = _job(recipe, source, output, provider, progress)
    with job.at_work():
        stages.prepare(job)
        return stages.plan(job)


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
    progress: Progress | None = None,
) -> Pilot:
    """Ask about a few items, `replicates` times, and say whether personas move the answers beyond noise, how models differ, and what the run will cost.

    items: how many are drawn at random, by `seed`. max_cost: dollars for the pilot itself. The other arguments are those of `run`. A call that the run makes too
    is paid once. Raises `DprmError`.
    """
    job = _job(recipe, source, output, provider, progress, calls=True)
    with job.at_work():
        stages.prepare(job)
        planned, _ = prepare_pilot(job, items=items, replicates=replicates, seed=seed)
        return run_pilot(job, planned, max_cost=max_cost)


def _job(
    recipe: RecipeLike,
    source: Rows | None,
    output: str | os.PathLike[str] | None,
    provider: Provider | None,
    progress: Progress | None,
    *,
    calls: bool = False,
) -> Run:
    loaded = Recipe.of(recipe, provider=provider)
    check(loaded, calls=calls and provider is None)
    return Run(loaded, RunFolder(output) if output else None, source=source, progress=progress, provider=provider)
