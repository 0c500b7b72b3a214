"""The responses to one prompt in order, the best first, with how sure each step of the order is and how many people share it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dprm_data.core import tables
from dprm_data.core.arrays import Floats
from dprm_data.core.errors import InputError
from dprm_data.preference.pair_shares import Side, pair_shares
from dprm_data.preference.pairs import probabilities
from dprm_data.runs.preferences import RATINGS, published_coupling
from dprm_data.runs.utilities import read_utilities

if TYPE_CHECKING:
    from dprm_data.runs.run import Run

_COLUMNS = [
    *("item_id", "group_id", "prompt", "completion", "label_distribution", "expected_reward"),
    *("reward_low", "reward_high", "reward_error", "evidence"),
]


@dataclass(frozen=True)
class RankedResponse:
    """A response. distribution: of its ratings, None without any. expected_reward: as in `tables.UTILITIES` where something was compared. probability, share, tie: that it is better than the next one,
    the share of people who prefer it to that one, and of those without a preference; None for the last, and if an older version fitted the run."""

    item_id: str
    response: list[dict[str, str]]
    distribution: list[float] | None
    expected_reward: float
    reward_low: float
    reward_high: float
    evidence: float
    probability: float | None = None
    share: float | None = None
    tie: float | None = None


@dataclass(frozen=True)
class PromptRanking:
    """A prompt and its responses that were rated or compared, the best first. without_votes: how many were not; basis: of the order: ratings, comparisons or both."""

    group_id: str
    prompt: list[dict[str, str]]
    responses: list[RankedResponse]
    without_votes: int
    basis: str = RATINGS

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def find_prompt(run: Run, prefix: str) -> PromptRanking:
    """The responses to the prompt whose id (`group_id`), or one of whose items' ids, has this prefix. Raises `InputError` unless there is exactly one prompt."""
    path = run.folder.needs("distributions")
    ids = pq.read_table(path, columns=["item_id", "group_id"])
    found = pc.or_(pc.starts_with(ids["group_id"], prefix), pc.starts_with(ids["item_id"], prefix))
    groups = pc.unique(ids.filter(found)["group_id"])
    if len(groups) != 1:
        what = "no prompt's id begins" if not len(groups) else f"{len(groups):,} prompts' ids begin"
        example = f" (one is {ids['group_id'][0].as_py()})" if len(ids) else ""
        raise InputError(
            f"{what} with {prefix!r}", hint=f"Give a group_id or item_id of {path}{example}, or its beginning."
        )
    group = groups[0].as_py()
    schema = tables.part(tables.DISTRIBUTIONS, _COLUMNS)
    there = [name for name in _COLUMNS if name in pq.read_schema(path).names]
    rows = tables.conformed(pq.read_table(path, columns=there, filters=[("group_id", "=", group)]), schema)
    joint = read_utilities(run.folder, group).to_pylist()
    found = _compared(rows.to_pylist(), joint) if joint else _rated(run, rows)
    responses = [RankedResponse(**row) for row in found]
    basis = joint[0]["basis"] if joint else RATINGS
    return PromptRanking(group, rows["prompt"][0].as_py(), responses, rows.num_rows - len(responses), basis)


def _compared(rows: list[dict[str, Any]], joint: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The responses in the order of the joint fit, with its figures."""
    about = {row["item_id"]: row for row in rows}
    return [
        {name: value for name, value in each.items() if name in RankedResponse.__dataclass_fields__}
        | {
            "response": about[each["item_id"]]["completion"],
            "distribution": about[each["item_id"]]["label_distribution"]
            if about[each["item_id"]]["evidence"]
            else None,
        }
        for each in joint
    ]


def _rated(run: Run, table: pa.Table) -> list[dict[str, Any]]:
    """The rated responses in the order of their expected rewards."""
    judged = table.filter(pc.greater(table["evidence"], 0)).sort_by([("expected_reward", "descending")])
    rows = judged.to_pylist()
    found = [
        {
            "item_id": row["item_id"],
            "response": row["completion"],
            "distribution": row["label_distribution"],
            **{name: row[name] for name in ("expected_reward", "reward_low", "reward_high", "evidence")},
        }
        for row in rows
    ]
    if len(rows) > 1 and all(row["reward_error"] is not None for row in rows):
        for row, step in zip(found, _steps(run, rows), strict=False):
            row |= step
    return found


def _steps(run: Run, rows: list[dict[str, Any]]) -> list[dict[str, float]]:
    """What is said of every response against the next."""
    reward, error = (np.array([row[name] for row in rows], dtype=float) for name in ("expected_reward", "reward_error"))
    shares: Floats = np.array([row["label_distribution"] for row in rows], dtype=np.float64)
    first = np.arange(len(rows) - 1)
    found = pair_shares(
        Side(shares[:-1], error[:-1]),
        Side(shares[1:], error[1:]),
        run.space.rewards,
        published_coupling(run.folder.read_manifest()),
    )
    above = probabilities(reward, error**2, np.stack([first, first + 1], axis=1))
    return [
        {"probability": float(p), "share": float(s), "tie": float(t)}
        for p, s, t in zip(above, found.share, found.tie, strict=True)
    ]
