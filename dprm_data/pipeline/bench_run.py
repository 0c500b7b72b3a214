"""A recipe's panel on a benchmark of judges: it rates every response in a run of its own, in the benchmark's folder, and the protocol sees the expected rewards.

A recipe that compares is asked about the pairs, where the benchmark has pairs (`bench_pairs`). The expected reward of a response is that of its own votes (or of its stated distribution), not of the fitted one: a fit would move it by the answers to other cases.
All answers are on the ledger: an interrupted benchmark goes on where it was, and a larger sample pays for what is new.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dprm_data.core.arrays import Floats
from dprm_data.core.errors import BudgetReached
from dprm_data.engine.plan import Plan
from dprm_data.ingest.items import Item
from dprm_data.ingest.judge_sets.judge_collection import sample_cases
from dprm_data.ingest.judge_sets.judge_set import LoadedCases
from dprm_data.pipeline import stages
from dprm_data.pipeline.bench_pairs import compared_by_panel, comparing_arm
from dprm_data.pipeline.pair_items import pair_items
from dprm_data.pipeline.validation_arms import Arm, make_arms, run_of
from dprm_data.providers.provider import Provider
from dprm_data.recipe.recipe import Recipe
from dprm_data.runs.asked_identity import asked_identity
from dprm_data.runs.run import Progress, Run
from dprm_data.validation.answers import read_answers
from dprm_data.validation.judge_bench import Judged

LEAST_CASES = 20  # with fewer, intervals say nothing
_DIGITS = 9  # of a reward: equal answers are equal rewards, whatever the order in which they were added up


@dataclass(frozen=True)
class PreparedBench:
    """What will be asked: the sampled cases, the panel's run, and its plan."""

    loaded: LoadedCases
    arm: Arm
    run: Run
    plan: Plan

    @property
    def calls(self) -> int:
        return self.plan.calls_needed

    @property
    def cost(self) -> float | None:
        return self.plan.cost


def prepare_bench(
    recipe: Recipe,
    loaded: LoadedCases,
    output: Path,
    *,
    items: int | None = None,
    seed: int = 0,
    max_cost: float | None = None,
    progress: Progress | None = None,
    provider: Provider | None = None,
) -> PreparedBench:
    """Sample the cases, as many as asked for or as the budget allows, and plan the run. Makes no call.

    items: how many cases; all of them by default. provider: an object to ask in place of the recipe's. Raises `InputError`, and `BudgetReached` if the budget allows hardly any case.
    """
    progress = progress or Progress()
    arm = comparing_arm(recipe, loaded, output) or make_arms(recipe, output, rivals=False)[0]
    sampled = sample_cases(loaded, items or len(loaded.cases), seed=seed)
    prepared = _planned(arm, sampled, output, progress, provider)
    limit = max_cost if max_cost is not None else arm.recipe.budget.max_cost
    cost = prepared.cost
    if limit is None or not cost or cost <= limit:
        return prepared
    total = len(sampled.cases)
    count = math.floor(total * limit / cost)
    if count < min(LEAST_CASES, total):
        raise BudgetReached(
            f"${limit:.4g} pays for {count} of {total} cases (${cost:.4g} in all)",
            hint="Raise --max-cost, or ask a smaller panel or a cheaper model.",
        )
    progress.say(f"{total} cases would cost about ${cost:.4g}; {count} fit the budget of ${limit:.4g}")
    return _planned(arm, sample_cases(loaded, count, seed=seed), output, progress, provider)


def _planned(
    arm: Arm, loaded: LoadedCases, output: Path, progress: Progress, provider: Provider | None
) -> PreparedBench:
    items = [item for case in loaded.cases for item in case.items()]
    run = run_of(arm, output, items, progress, provider)
    pair_items(run)
    return PreparedBench(loaded, arm, run, stages.estimate(run))


def ask_panel(prepared: PreparedBench, *, max_cost: float | None = None) -> Judged:
    """Ask what is missing, and read the rewards. Raises what stopped the run: the cases that are left would count as wrong."""
    run, loaded = prepared.run, prepared.loaded
    if run.compares:
        return compared_by_panel(run, prepared.arm.name, loaded, max_cost=max_cost)
    with run.at_work():
        stages.annotate_and_keep(run, max_cost=max_cost)
    items = {item.item_id for case in loaded.cases for item in case.items()}
    answers = read_answers(run, sorted(items))
    mean = np.where(answers.answered, np.round(answers.shares @ run.space.rewards, _DIGITS), np.nan)
    expected = dict(zip(sorted(items), mean.tolist(), strict=True))
    return Judged(
        name=prepared.arm.name,
        kind="panel",
        rewards=[_rewards(expected, case.items()) for case in loaded.cases],
        cost=answers.cost,
        calls=answers.asked,
        identity=asked_identity(run).as_dict(),
    )


def _rewards(expected: dict[str, float], items: list[Item]) -> Floats:
    return np.array([expected[item.item_id] for item in items])
