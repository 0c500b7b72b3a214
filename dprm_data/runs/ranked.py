"""The responses to each prompt in order, the best first, with how sure each step of the order is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dprm_data.core import tables
from dprm_data.core.arrays import Floats, Ints
from dprm_data.core.errors import InputError
from dprm_data.preference.pairs import group_numbers, probabilities
from dprm_data.runs.table_parts import FlatTable, parts

if TYPE_CHECKING:
    from dprm_data.runs.run import Run

RANKED = pa.schema(
    [
        pa.field("prompt", tables.MESSAGES),
        pa.field("completions", pa.list_(tables.MESSAGES)),
        pa.field("rewards", pa.list_(pa.float64())),  # expected rewards, from the highest
        pa.field("reward_errors", pa.list_(pa.float64())),  # their posterior standard deviations
        pa.field("probability", pa.list_(pa.float64())),  # that each is above the next: one fewer
    ]
)
_FIGURES = tables.part(tables.DISTRIBUTIONS, ["group_id", "expected_reward", "reward_error", "evidence"])
_TEXTS = tables.part(tables.DISTRIBUTIONS, ["prompt", "completion"])


def ranked(run: Run) -> FlatTable:
    """A row per prompt with two or more responses that have votes (`RANKED`). Texts are in memory until all responses to their prompt have been read. Raises `InputError` if there is none."""
    path = run.folder.needs("distributions")
    with pq.ParquetFile(path) as file:
        there = [name for name in _FIGURES.names if name in file.schema_arrow.names]
        figures = tables.conformed(file.read(columns=there), _FIGURES)
    reward, error, evidence = (
        figures[name].to_numpy().astype(np.float64) for name in ("expected_reward", "reward_error", "evidence")
    )
    group = group_numbers(figures["group_id"])
    judged = evidence > 0
    size = np.bincount(group[judged], minlength=len(group))
    in_list = judged & (size[group] > 1)
    if not in_list.any():
        raise InputError(
            f"no prompt of {run.folder} has two responses with votes", hint="A ranking needs two or more to one prompt."
        )
    return FlatTable(_lists(run, np.where(in_list, group, -1), size, reward, error))


def _lists(run: Run, group: Ints, size: Ints, reward: Floats, error: Floats) -> Iterator[pa.Table]:
    """group (N,): of every row, -1 for one that is in no list; size: rows of each group's list."""
    waiting: dict[int, list[tuple[int, Any]]] = defaultdict(list)  # by group: rows and their texts
    prompts: dict[int, Any] = {}
    row = 0
    with pq.ParquetFile(run.folder.needs("distributions")) as file:
        for texts in parts(file, _TEXTS):
            complete = []
            for prompt, completion in zip(texts["prompt"].to_pylist(), texts["completion"].to_pylist(), strict=True):
                number = int(group[row])
                if number >= 0:
                    waiting[number].append((row, completion))
                    prompts.setdefault(number, prompt)
                    if len(waiting[number]) == size[number]:
                        complete.append(_list(prompts.pop(number), waiting.pop(number), reward, error))
                row += 1
            if complete:
                yield pa.Table.from_pylist(complete, schema=RANKED)


def _list(prompt: Any, responses: list[tuple[int, Any]], reward: Floats, error: Floats) -> dict[str, Any]:
    responses = sorted(responses, key=lambda each: -reward[each[0]])
    rows = np.array([row for row, _ in responses])
    steps = np.stack([rows[:-1], rows[1:]], axis=1)
    above = np.where(np.isnan(error[steps]).any(axis=1), np.nan, probabilities(reward, error**2, steps))
    return {
        "prompt": prompt,
        "completions": [completion for _, completion in responses],
        "rewards": shortest(reward[rows]),
        "reward_errors": shortest(error[rows]),
        "probability": shortest(above),
    }


def shortest(values: Floats) -> list[float | None]:
    """Figures of single precision as the shortest numbers that mean the same; None for NaN."""
    return [None if np.isnan(value) else float(str(value)) for value in values.astype(np.float32)]
