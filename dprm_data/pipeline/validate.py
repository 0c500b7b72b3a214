"""Validate a recipe's panel against people: sample the crowd's items, have every arm judge them under one budget, and measure how far they are from the crowd."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

from dprm_data.core.errors import BudgetReached, DprmError, Interrupted
from dprm_data.engine.plan import Plan
from dprm_data.pipeline import stages
from dprm_data.pipeline.validation_arms import Arm, run_of
from dprm_data.runs.run import Progress, Run
from dprm_data.validation.answers import Answers, read_answers
from dprm_data.validation.crowd import Crowd, sampled

LEAST_ITEMS = 20  # with fewer, intervals say nothing


@dataclass(frozen=True)
class Prepared:
    """What will be asked: the arms with their runs and plans, about the sampled items. cost: dollars still to pay for all of them; None where a price is not known."""

    crowd: Crowd
    arms: list[Arm]
    runs: list[Run]
    plans: list[Plan]

    @property
    def calls(self) -> int:
        return sum(plan.calls_needed for plan in self.plans)

    @property
    def cost(self) -> float | None:
        costs = [plan.cost for plan in self.plans]
        return None if any(cost is None for cost in costs) else sum(cost for cost in costs if cost is not None)


def prepare_validation(
    arms: list[Arm],
    crowd: Crowd,
    output: Path,
    *,
    items: int,
    seed: int = 0,
    max_cost: float | None = None,
    progress: Progress | None = None,
) -> Prepared:
    """Draw the items, as many as asked for or as the budget allows, and plan every arm. Makes no call. Raises `BudgetReached` if it allows hardly any."""
    progress = progress or Progress()
    prepared = _planned(arms, sampled(crowd, items, seed=seed), output, progress)
    limit = max_cost if max_cost is not None else arms[0].recipe.budget.max_cost
    cost = prepared.cost
    if limit is None or not cost or cost <= limit:
        return prepared
    count = math.floor(len(prepared.crowd) * limit / cost)
    if count < LEAST_ITEMS:
        raise BudgetReached(
            f"${limit:.4g} pays for {count} of {len(prepared.crowd)} items ({len(arms)} ways of asking, ${cost:.4g} in all)",
            hint="Raise --max-cost, or ask in fewer ways: --no-rivals, fewer --models, --panels, --elicitations.",
        )
    progress.say(f"{len(prepared.crowd)} items would cost about ${cost:.4g}; {count} fit the budget of ${limit:.4g}")
    return _planned(arms, sampled(crowd, count, seed=seed), output, progress)


def _planned(arms: list[Arm], crowd: Crowd, output: Path, progress: Progress) -> Prepared:
    runs = [run_of(arm, output, crowd.items, progress) for arm in arms]
    return Prepared(crowd, arms, runs, [stages.estimate(run) for run in runs])


def ask(prepared: Prepared, *, max_cost: float | None = None) -> list[Answers | None]:
    """Ask what is missing in every arm, and read the answers; None for an arm that has none. All answers are kept.

    An arm that fails is said and left out, the first excepted. Raises what stopped the first arm, and `Interrupted`.
    """
    item_ids = [item.item_id for item in prepared.crowd.items]
    found: list[Answers | None] = []
    for number, (arm, run) in enumerate(zip(prepared.arms, prepared.runs, strict=True)):
        run.progress.say(f"{number + 1} of {len(prepared.arms)}: {arm.name}")
        try:
            with run.at_work():
                stages.annotate_and_keep(run, max_cost=max_cost)
        except Interrupted:
            raise
        except BudgetReached as error:
            run.progress.say(f"{arm.name}: {error.message}")
        except DprmError as error:
            if not found:
                raise
            run.progress.say(f"{arm.name} is left out: {error.message}")
        found.append(read_answers(run, item_ids) if run.folder.table("distributions").is_file() else None)
    return found


def without_unanswered(prepared: Prepared, answers: list[Answers | None]) -> tuple[Crowd, list[Answers | None]]:
    """Nothing yet."""
    return replace(prepared.crowd), answers
