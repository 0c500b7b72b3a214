"""Validate a recipe's panel against people: sample the crowd's items, have every arm judge them under one budget, and measure how far they are from the crowd."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dprm_data.core.errors import BudgetReached, DprmError, Interrupted
from dprm_data.core.tables import write_text
from dprm_data.engine.plan import Plan
from dprm_data.pipeline import stages
from dprm_data.pipeline.validation_arms import Arm, make_arms, run_of, with_labels
from dprm_data.providers.provider import Provider
from dprm_data.publish.panel_findings import panel_findings
from dprm_data.publish.report.validation_page import validation_page
from dprm_data.recipe.recipe import Recipe
from dprm_data.runs.asked_identity import asked_identity
from dprm_data.runs.run import Progress, Run
from dprm_data.runs.validations import VALIDATIONS
from dprm_data.validation.alternative_annotator import EPSILON
from dprm_data.validation.answers import read_answers
from dprm_data.validation.crowd import Crowd, sampled
from dprm_data.validation.panel_validation import Asked, Validation, measure
from dprm_data.validation.score_file import write_scores

PAGE = "validation.html"
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


def validation_folder(recipe: Recipe, against: str) -> Path:
    """Where a validation is written by default: in the run's folder, where its card and report look (`runs/validations.py`)."""
    return recipe.output_folder / VALIDATIONS / Path(against).stem


@dataclass(frozen=True)
class Grid:
    """What is compared: every model with every panel and elicitation, the recipe's own where none are named; rivals: the neutral annotator and one stated distribution beside them."""

    models: Sequence[str] = ()
    panels: Sequence[str] = ()
    elicitations: Sequence[str] = ()
    rivals: bool = True


def prepare_validation(
    recipe: Recipe,
    crowd: Crowd,
    output: Path,
    *,
    items: int,
    grid: Grid | None = None,
    seed: int = 0,
    max_cost: float | None = None,
    progress: Progress | None = None,
    provider: Provider | None = None,
) -> Prepared:
    """Draw the items, as many as asked for or as the budget allows, and plan every arm. Makes no call.

    output: the folder. provider: an object to ask in place of the recipe's provider. Raises `InputError`, and `BudgetReached` if the budget allows hardly any item.
    """
    progress, grid = progress or Progress(), grid or Grid()
    arms = make_arms(
        with_labels(recipe, crowd.space),
        output,
        models=grid.models,
        panels=grid.panels,
        elicitations=grid.elicitations,
        rivals=grid.rivals,
    )
    prepared = _planned(arms, sampled(crowd, items, seed=seed), output, progress, provider)
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
    return _planned(arms, sampled(crowd, count, seed=seed), output, progress, provider)


def _planned(arms: list[Arm], crowd: Crowd, output: Path, progress: Progress, provider: Provider | None) -> Prepared:
    runs = [run_of(arm, output, crowd.items, progress, provider) for arm in arms]
    return Prepared(crowd, arms, runs, [stages.estimate(run) for run in runs])


def ask(prepared: Prepared, *, max_cost: float | None = None) -> list[Asked]:
    """Ask what is missing in every arm, and read the answers. All answers are kept.

    An arm without an answer is said and left out, the first excepted. Raises what stopped the first arm, and `Interrupted`.
    """
    item_ids = [item.item_id for item in prepared.crowd.items]
    found: list[Asked] = []
    for number, (arm, run) in enumerate(zip(prepared.arms, prepared.runs, strict=True)):
        run.progress.say(f"{number + 1} of {len(prepared.arms)}: {arm.name}")
        try:
            with run.at_work():
                stages.annotate_and_keep(run, max_cost=max_cost)
        except Interrupted:
            raise
        except DprmError as error:
            if not number and not run.folder.table("distributions").is_file():
                raise
            run.progress.say(f"{arm.name}: {error.message}")
        if run.folder.table("distributions").is_file():
            found.append(_asked(arm, run, item_ids))
    return found


def _asked(arm: Arm, run: Run, item_ids: list[str]) -> Asked:
    return Asked(
        name=arm.name,
        role=arm.role,
        panel=arm.panel,
        elicitation=run.work.elicitation.name,
        answers=read_answers(run, item_ids),
        identity=asked_identity(run).as_dict(),
        positions={
            name: {"shares": found.shares.tolist(), "p_value": found.p_value}
            for name, found in panel_findings(run).positions.items()
        },
    )


def validate(
    prepared: Prepared, output: Path, *, max_cost: float | None = None, epsilon: float = EPSILON, seed: int = 0
) -> Validation:
    """Ask, measure, and write `scores.json` and the page into the folder. Raises `DprmError`."""
    asked = ask(prepared, max_cost=max_cost)
    prepared.runs[0].progress.stage("comparing with people")
    found = measure(prepared.crowd, asked, prepared.runs[0].space, epsilon=epsilon, seed=seed)
    write_scores(found, output)
    write_text(output / PAGE, validation_page(found))
    return found
