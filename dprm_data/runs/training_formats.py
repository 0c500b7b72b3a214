"""A run in the columns that trainers and well-known datasets have, so that nothing need be converted.

    pairs          what RewardTrainer and DPOTrainer of TRL take, with soft labels beside
    unpaired       what KTOTrainer takes (`unpaired`)
    ranked         a row per prompt, its responses in order (`ranked`)
    ultrafeedback  the columns of HuggingFaceH4/ultrafeedback_binarized
    helpsteer3     the columns of nvidia/HelpSteer3 (`helpsteer`)

TRL's columns: huggingface.co/docs/trl, "Dataset formats and types". Texts come part by part; messages are roles and texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dprm_data.core import tables
from dprm_data.core.arrays import Ints
from dprm_data.runs.helpsteer import helpsteer3
from dprm_data.runs.pair_rows import pair_rows
from dprm_data.runs.ranked import ranked, shortest
from dprm_data.runs.table_parts import FlatTable, parts
from dprm_data.runs.unpaired import unpaired

if TYPE_CHECKING:
    from dprm_data.runs.run import Run

TrainingFormat = Literal["pairs", "unpaired", "ranked", "ultrafeedback", "helpsteer3"]
WITH_LISTS = ("ranked", "ultrafeedback", "helpsteer3")  # what a cell of a spreadsheet cannot hold

_PAIRS = tables.part(
    tables.PREFERENCES, ["prompt", "chosen", "rejected", "margin", "probability", "share", "tie", "votes"]
)
ULTRAFEEDBACK = pa.schema(
    [
        pa.field("prompt", pa.string()),  # the conversation's first turn
        pa.field("prompt_id", pa.string()),
        pa.field("chosen", tables.MESSAGES),  # whole conversations
        pa.field("rejected", tables.MESSAGES),
        pa.field("messages", tables.MESSAGES),  # the chosen one
        pa.field("score_chosen", pa.float64()),  # expected rewards
        pa.field("score_rejected", pa.float64()),
    ]
)


def pairs(run: Run) -> FlatTable:
    """A row per pair (`_PAIRS`)."""
    path = run.folder.needs("preferences")
    margin = pq.read_table(path, columns=["margin"])["margin"].to_numpy()
    ties, notes = int((margin == 0).sum()), []
    if "probability" not in pq.read_schema(path).names:
        notes.append(
            f"an older version wrote these pairs without soft labels; to add them: dprm ratings fit {run.folder}"
        )
    if ties:
        are = "is a tie" if ties == 1 else "are ties"
        notes.append(
            f"{ties:,} of these {len(margin):,} pairs {are} (margin 0), in which neither is preferred: train on probability, or leave them out"
        )
    return FlatTable(_pairs(run), notes)


def _pairs(run: Run) -> Iterator[pa.Table]:
    with pq.ParquetFile(run.folder.needs("preferences")) as file:
        yield from parts(file, _PAIRS)


def ultrafeedback(run: Run) -> FlatTable:
    """A row per pair (`ULTRAFEEDBACK`). In memory are the expected rewards."""
    return FlatTable(
        _binarized(run, pair_rows(run.folder, ["group_id", "prompt", "chosen", "rejected"], "distributions"))
    )


def _binarized(run: Run, found: Iterator[tuple[pa.Table, Ints]]) -> Iterator[pa.Table]:
    judged = pq.read_table(run.folder.needs("distributions"), columns=["expected_reward"])["expected_reward"]
    reward = judged.to_numpy().astype(np.float64)
    for table, rows in found:
        prompts = table["prompt"].to_pylist()
        chosen, rejected = (
            [prompt + response for prompt, response in zip(prompts, table[side].to_pylist(), strict=True)]
            for side in ("chosen", "rejected")
        )
        columns: list[Any] = [[_first_turn(prompt) for prompt in prompts], table["group_id"].to_pylist()]
        columns += [chosen, rejected, chosen, shortest(reward[rows[:, 0]]), shortest(reward[rows[:, 1]])]
        arrays = [pa.array(values, field.type) for values, field in zip(columns, ULTRAFEEDBACK, strict=True)]
        yield pa.Table.from_arrays(arrays, schema=ULTRAFEEDBACK)


def _first_turn(prompt: list[dict[str, str]]) -> str:
    return next((message["content"] for message in prompt if message["role"] != "system"), prompt[0]["content"])


_RANKED = ("prompt", "completions", "rewards", "reward_errors", "probability", "basis")
TRAINING_FORMATS: dict[str, Callable[[Run], FlatTable]] = {
    "pairs": pairs,
    "unpaired": lambda run: unpaired(run).only("prompt", "completion", "label"),
    "ranked": lambda run: ranked(run).only(*_RANKED),
    "ultrafeedback": ultrafeedback,
    "helpsteer3": helpsteer3,
}
