"""What the joint fit of comparisons and ratings says of each response, best first: the order in which a prompt's responses are shown and exported.

It is kept as a table, because the fit takes all comparisons of the run.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dprm_data.core.arrays import Floats, Ints
from dprm_data.core.errors import InputError
from dprm_data.core.tables import UTILITIES, write_parquet
from dprm_data.preference.fitting import Fit
from dprm_data.runs.comparison_table import Compared
from dprm_data.runs.folder import RunFolder


def write_utilities(folder: RunFolder, fitted: Fit, compared: Compared | None) -> None:
    """Write the responses to prompts with a comparison (`tables.UTILITIES`), prompt by prompt and the best first; no table without a comparison."""
    path = folder.table("utilities")
    if compared is None:
        path.unlink(missing_ok=True)
        return
    fit, group = compared.fit, compared.data.group
    known = np.flatnonzero(~np.isnan(fit.mean))
    rows = known[np.lexsort((-fit.mean[known], group[known]))]
    mean, error = _in_rewards(fitted, compared, rows)
    low, high = fit.interval(mean, error)
    groups = pq.read_table(folder.needs("items"), columns=["group_id"])["group_id"]
    columns: dict[str, Any] = {
        "item_id": pa.array([fitted.votes.item_ids[row] for row in rows], pa.string()),
        "group_id": groups.take(pa.array(rows)),
        "expected_reward": mean,
        "reward_low": low,
        "reward_high": high,
        "reward_error": error,
        "evidence": fitted.evidence[rows] + compared.by[rows],
        **_steps(compared, rows),
        "basis": _basis(compared, rows),
    }
    write_parquet(path, UTILITIES, [pa.table(columns).select(UTILITIES.names).cast(UTILITIES)])


def _in_rewards(fitted: Fit, compared: Compared, rows: Ints) -> tuple[Floats, Floats]:
    """Utilities of these items as rewards, and their errors (R,) each. The mean of a prompt's rated responses is that of their ratings; without one, it is 0."""
    group = compared.data.group[rows]
    utility = compared.slope * compared.fit.mean[rows]
    rated = compared.rated[rows]
    above = np.where(rated, fitted.expected_reward[rows] - utility, 0.0)
    size = int(group.max()) + 1
    total, number = np.bincount(group, above, minlength=size), np.bincount(group[rated], minlength=size)
    return utility + (total / np.maximum(number, 1))[group], compared.slope * compared.fit.errors()[rows]


def _steps(compared: Compared, rows: Ints) -> dict[str, pa.Array]:
    """What is known of each response against the next one of its prompt; null for the last."""
    pairs = np.stack([rows, np.roll(rows, -1)], axis=1)
    last = compared.data.group[pairs[:, 0]] != compared.data.group[pairs[:, 1]]
    last[-1] = True
    share, _, _, tie = compared.fit.shares(pairs[~last])
    found = {"probability": compared.fit.probability(pairs[~last]), "share": share, "tie": tie}
    columns = {}
    for name, values in found.items():
        column = np.zeros(len(rows))
        column[~last] = values
        columns[name] = pa.array(column, mask=last)
    return columns


def _basis(compared: Compared, rows: Ints) -> list[str]:
    """Of the prompt: both where a response to it is rated, else comparisons."""
    group = compared.data.group
    rated = np.zeros(int(group.max()) + 1, dtype=bool)
    rated[group[compared.rated]] = True
    return ["both" if rated[group[row]] else "comparisons" for row in rows]


def read_utilities(folder: RunFolder, group_id: str | None = None) -> pa.Table:
    """The table, or its rows of one prompt; empty in a run without comparisons. Raises `InputError` if the run has comparisons, and an older version fitted it."""
    if not (folder.read_manifest().get("preferences") or {}).get("compared"):
        return UTILITIES.empty_table()
    if not folder.table("utilities").is_file():
        raise InputError(
            f"{folder} does not say in which order its comparisons put the responses: it is pulled, or an older version fitted it",
            hint=f"Fit it again, which makes no call: dprm ratings fit {folder}",
        )
    return pq.read_table(folder.needs("utilities"), filters=None if group_id is None else [("group_id", "=", group_id)])
