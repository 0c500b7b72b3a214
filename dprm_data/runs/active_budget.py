"""The pairs of a run that chooses them from its answers: how many its budget is still enough for, and what these will cost. Makes no call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from dprm_data.engine.plan import Plan
from dprm_data.ingest.item_pairs import pairs_of

if TYPE_CHECKING:
    from dprm_data.runs.run import Run


def asks_actively(run: Run) -> bool:
    """Whether the run's pairs are chosen from its answers."""
    return run.compares and run.recipe.compare.pairs == "active"


def pairs_left(run: Run) -> int:
    """How many more pairs the budget is enough for, as far as there are any; 0 in a run whose pairs are chosen beforehand."""
    if not asks_actively(run):
        return 0
    sizes = Counter(pq.read_table(run.folder.needs("items"), columns=["group_id"])["group_id"].to_pylist()).values()
    return max(0, most_pairs(run, sizes) - pairs_in(run))


def most_pairs(run: Run, sizes: Iterable[int]) -> int:
    """How many pairs the budget is enough for, as far as there are any of prompts with so many responses."""
    each = run.work.annotations_of(2)
    return min((run.recipe.compare.budget or 0) // each, sum(pairs_of(size, "all") for size in sizes))


def pairs_in(run: Run) -> int:
    """How many pairs have been chosen."""
    return int(pq.read_metadata(run.asked_items).num_rows) // 2


def planned(run: Run, found: Plan, whole: Callable[[], Plan]) -> Plan:
    """A plan that also has the pairs still to be chosen: each at the mean price of those that are there. whole: the plan of these as if nothing were answered."""
    left = pairs_left(run)
    if not left:
        return found
    new, part = whole(), left / pairs_in(run)
    low_high = None
    if found.cost_range and new.cost_range:
        low_high = (found.cost_range[0] + part * new.cost_range[0], found.cost_range[1] + part * new.cost_range[1])
    return replace(
        found,
        items=found.items + 2 * left,
        annotations=found.annotations + round(part * new.annotations),
        calls_needed=found.calls_needed + round(part * new.calls_needed),
        input_tokens=found.input_tokens + round(part * new.input_tokens),
        output_tokens=found.output_tokens + round(part * new.output_tokens),
        cost=_sum(found.cost, new.cost, part),
        cost_range=low_high,
        cost_at_most=_sum(found.cost_at_most, new.cost_at_most, part),
        assumptions=(*found.assumptions, f"{left:,} pairs are chosen later, from the answers: of the same mean length"),
    )


def _sum(one: float | None, other: float | None, part: float) -> float | None:
    return None if one is None or other is None else one + part * other
