"""Pairs in the columns of HelpSteer3 (arXiv 2505.11475; nvidia/HelpSteer3 on the Hugging Face Hub), as far as a run knows them.

Preferences are from -3 (response 1 is much better) over 0 (about the same) to 3 (response 2 is much better): that dataset's scale. Response 1 is the one that comes first in the
source, so that its place says nothing.

*One annotator's* is the difference of the rewards of the two labels: up to a third of the scale of rewards is slightly better (1), up to two thirds better (2), more much better
(3). Several votes of one annotator (of one model) for a response count with their mean.

*Overall*, it is 3 times the lead, rounded: the share of people who prefer the chosen response minus the share of those who prefer the other. So 0 is a lead below 1/6, and 3
one of 5/6 or more. Where the reward and the majority disagree, it is 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from dprm_data.core import tables
from dprm_data.core.arrays import Floats, Ints
from dprm_data.core.conversation import text_of
from dprm_data.runs.pair_rows import pair_rows
from dprm_data.runs.table_parts import FlatTable
from dprm_data.runs.votes_by_annotator import VotesByAnnotator

if TYPE_CHECKING:
    from dprm_data.runs.run import Run

HELPSTEER3 = pa.schema(
    [
        pa.field("context", tables.MESSAGES),
        pa.field("response1", pa.string()),
        pa.field("response2", pa.string()),
        pa.field("overall_preference", pa.int64()),
        pa.field(
            "individual_preference",
            pa.list_(
                pa.struct([("score", pa.int64()), ("annotator_id", pa.string()), ("simulated", pa.bool_())]),
            ),
        ),
    ]
)
_READ = ("prompt", "chosen", "rejected", "share", "tie")
_ROUNDING = 1e-9  # a third of the scale, as a float, may be a little more than a third

Who = tuple[str, str, str | None]  # annotator, kind, model


def helpsteer3(run: Run) -> FlatTable:
    """A row per pair (`HELPSTEER3`). In memory are 20 bytes per vote."""
    return FlatTable(_rows(run, pair_rows(run.folder, _READ)))


def _rows(run: Run, parts: Iterator[tuple[pa.Table, Ints]]) -> Iterator[pa.Table]:
    votes = VotesByAnnotator.read(run.folder, run.space.names)
    rewards = run.space.rewards
    for pairs, rows in parts:
        flipped = rows[:, 0] > rows[:, 1]
        strength = overall(pairs["share"].to_numpy(), pairs["tie"].to_numpy())
        first, second = np.sort(rows, axis=1).T
        given = {int(row): _rewards_given(votes, int(row), rewards) for row in np.unique(rows)}
        texts = [[text_of(messages) for messages in pairs[side].to_pylist()] for side in ("chosen", "rejected")]
        columns = {
            "context": pairs["prompt"],
            "response1": [texts[int(flip)][i] for i, flip in enumerate(flipped)],
            "response2": [texts[1 - int(flip)][i] for i, flip in enumerate(flipped)],
            "overall_preference": np.where(flipped, strength, -strength),
            "individual_preference": [
                _individual(given[a], given[b], float(np.ptp(rewards)))
                for a, b in zip(first.tolist(), second.tolist(), strict=True)
            ],
        }
        arrays = [
            columns[field.name] if field.name == "context" else pa.array(columns[field.name], field.type)
            for field in HELPSTEER3
        ]
        yield pa.Table.from_arrays(arrays, schema=HELPSTEER3)


def overall(share: Floats, tie: Floats) -> Ints:
    """How strongly people prefer the chosen response, 0 to 3, from the share who do and the share without a preference, (P,) each."""
    lead = np.maximum(share.astype(np.float64) - (1.0 - share - tie), 0.0)
    return np.minimum(np.floor(3.0 * np.nan_to_num(lead) + 0.5), 3.0).astype(np.int64)


def _rewards_given(votes: VotesByAnnotator, row: int, rewards: Floats) -> dict[Who, float]:
    """The mean reward of the labels that each annotator gave an item."""
    given: dict[Who, list[float]] = {}
    here = slice(*np.searchsorted(votes.row, [row, row + 1]))
    for series, label in zip(votes.of[here].tolist(), votes.label[here].tolist(), strict=True):
        given.setdefault(votes.series[series][:3], []).append(float(rewards[label]))
    return {who: float(np.mean(each)) for who, each in given.items()}


def _individual(first: dict[Who, float], second: dict[Who, float], span: float) -> list[dict[str, Any]]:
    return [
        {"score": _score(second[who] - reward, span), "annotator_id": who[0], "simulated": who[1] != "human"}
        for who, reward in first.items()
        if who in second
    ]


def _score(difference: float, span: float) -> int:
    if not span:
        return 0
    return int(np.sign(difference) * np.ceil(3.0 * abs(difference) / span - _ROUNDING))
