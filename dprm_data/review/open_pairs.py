"""Which items people's answers put most published pairs in their right order for (`--select preferences`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dprm_data.core.arrays import Ints
from dprm_data.core.errors import InputError
from dprm_data.preference.next_judgement import next_judgements, rated
from dprm_data.preference.pairs import group_numbers
from dprm_data.review.panel_knowledge import order_of_gain
from dprm_data.review.records import PanelView

if TYPE_CHECKING:
    from dprm_data.runs.run import Run

_COLUMNS = ["item_id", "group_id", "label_distribution", "expected_reward", "reward_error"]


def best_order(run: Run, view: PanelView, count: int, purpose: str, each: int) -> Ints:
    """Rows of the fit, the best first: `count` items on which `each` answers serve the purpose, gain or preferences."""
    return (order_of_preferences if purpose == "preferences" else order_of_gain)(run, view, count, each)


def order_of_preferences(run: Run, view: PanelView, count: int, each: int) -> Ints:
    """Rows of the fit: the `count` items, of prompts with two responses or more, whose answers change the published preferences most, the best first. Raises `InputError` if there is none.

    What is published says how sure the order of each pair is, whoever's votes it is from.
    """
    path = run.folder.needs("distributions")
    if "reward_error" not in pq.read_schema(path).names:
        raise InputError(
            f"{path} does not say how exact its rewards are", hint=f"Fit again: dprm ratings fit {run.folder}"
        )
    table = pq.read_table(path, columns=_COLUMNS)
    mean, error = (table[name].to_numpy().astype(np.float64) for name in ("expected_reward", "reward_error"))
    shares = np.stack(table["label_distribution"].to_numpy()).astype(np.float64)
    between = shares @ run.space.rewards**2 - mean**2 - error**2  # the variance of one person's reward
    parts = rated(group_numbers(table["group_id"]), mean, error**2, np.maximum(between, 1e-6))
    if not parts:
        raise InputError(
            "--select preferences: no prompt has two responses, so there are no pairs",
            hint="Choose items with --select uncertain, or gain.",
        )
    rows = next_judgements(parts, count, each=each, once=True, settled=True).ravel()
    ids = pa.array(view.fit.votes.item_ids, pa.string())
    return np.asarray(pc.index_in(table["item_id"], value_set=ids).to_numpy()[rows], dtype=np.int64)
