"""The forecast: what a run will cost, said anew once its first answers are there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dprm_data.core.format import money
from dprm_data.elicit.work import Work
from dprm_data.engine.cost_estimates import learned_from
from dprm_data.engine.plan import guess_and_correction
from dprm_data.engine.prices import Prices
from dprm_data.engine.replay import TaskState
from dprm_data.providers.request import Usage


async def forecast(
    work: Work, items_file: Path, prices: Prices, first: Sequence[TaskState], *, what: str = "the whole run"
) -> str | None:
    """One line on the cost of all of the work, from the tasks that ended first, in their order; None if there is nothing to say.

    Says so where that is outside what a plan without answers would have said.
    """
    if not prices.cost(Usage(1000, 1000)):
        return None
    by_item: dict[str, list[TaskState]] = {}
    for state in first:
        by_item.setdefault(state.task.prefix.item.item_id, []).append(state)
    learned = {voice: known for voice, known in learned_from(by_item.values(), prices).items() if known.enough}
    if not learned:
        return None
    guess, now = await guess_and_correction(work, items_file, prices, learned)
    answers = sum(known.answers for known in learned.values())
    said = (
        f"after {answers} answers, {what} is expected to cost {money(now.expected)} "
        f"({money(now.low)} to {money(now.high)})"
    )
    if guess.low <= now.expected <= guess.high:
        return said
    side = "more" if now.expected > guess.high else "less"
    warning = "; Ctrl-C stops it, and budget: max_cost bounds it" if side == "more" else ""
    return f"{said}: {side} than the plan's {money(guess.low)} to {money(guess.high)}{warning}"
