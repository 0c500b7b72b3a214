"""A panel that compares, on a benchmark of pairs: every pair in both orders, a verdict in each by the panel's weighted mean, and the two together as a reward.

Two verdicts for one response are 2, one and a tie 1, one each way 0: so a protocol that looks which reward is higher counts as JudgeBench does.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dprm_data.core.arrays import Floats
from dprm_data.core.errors import InputError
from dprm_data.ingest.judge_sets.judge_set import Case, LoadedCases
from dprm_data.pipeline import stages
from dprm_data.pipeline.validation_arms import Arm, make_arms
from dprm_data.recipe.comparisons_config import CompareConfig
from dprm_data.recipe.recipe import Recipe
from dprm_data.runs.asked_identity import asked_identity
from dprm_data.runs.comparison_table import judgements
from dprm_data.runs.run import Run
from dprm_data.runs.summary import known_cost
from dprm_data.validation.judge_bench import Judged

_OF_PAIRS = {"compare", "compare_logprobs"}


def comparing_arm(recipe: Recipe, loaded: LoadedCases, output: Path) -> Arm | None:
    """The recipe's panel, comparing in both orders; None for a recipe that rates. Raises `InputError` where cases are no pairs."""
    if recipe.elicitation not in _OF_PAIRS:
        return None
    if any(len(case.responses) != 2 for case in loaded.cases):
        raise InputError(
            f"elicitation: {recipe.elicitation} is asked about two responses, and {loaded.about.name} has cases with more",
            hint="Give a recipe that rates responses, such as elicitation: choice.",
        )
    arm = make_arms(recipe.model_copy(update={"elicitation": "choice"}), output, rivals=False)[0]
    asked = (recipe.compare or CompareConfig()).model_copy(update={"pairs": "all", "budget": None, "orders": "both"})
    changes = {"elicitation": recipe.elicitation, "compare": asked}
    return replace(arm, elicitation=recipe.elicitation, recipe=arm.recipe.model_copy(update=changes))


def compared_by_panel(run: Run, name: str, loaded: LoadedCases, *, max_cost: float | None = None) -> Judged:
    """Ask what is missing, and read the verdicts. Raises what stopped the run."""
    with run.at_work():
        stages.annotate_and_keep(run, max_cost=max_cost, fitted=False)
    verdicts = _verdicts(run)
    costs = judgements(run.folder, ["cost"])
    return Judged(
        name=name,
        kind="panel",
        rewards=[_rewards(case, verdicts) for case in loaded.cases],
        cost=known_cost(costs),
        calls=costs.num_rows,
        identity=asked_identity(run).as_dict(),
    )


def _verdicts(run: Run) -> dict[tuple[str, str], float]:
    """For each pair in the order in which it was shown: 1 if the panel prefers the first, -1 the second, 0 neither."""
    columns = ["first_item_id", "second_item_id", "preference", "weight", "status"]
    table = pq.read_table(run.folder.needs("comparisons"), columns=columns)
    table = table.filter(pc.and_(pc.equal(table["status"], "ok"), pc.is_valid(table["preference"])))
    found: dict[tuple[str, str], float] = {}
    for row in table.to_pylist():
        shown = row["first_item_id"], row["second_item_id"]
        found[shown] = found.get(shown, 0.0) + row["weight"] * row["preference"]
    return {shown: float(np.sign(round(total, 9))) for shown, total in found.items()}


def _rewards(case: Case, verdicts: dict[tuple[str, str], float]) -> Floats:
    """The first response's verdicts against 0; NaN if there is none. An order without an answer is undecided."""
    first, second = (item.item_id for item in case.items())
    known = [verdicts.get((first, second)), verdicts.get((second, first))]
    if known == [None, None]:
        return np.full(2, np.nan)
    return np.array([(known[0] or 0.0) - (known[1] or 0.0), 0.0])
