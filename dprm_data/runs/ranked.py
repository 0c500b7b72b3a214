"""The responses to each prompt in order, the best first, with how sure each step of the order is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dprm_data.core import tables
from dprm_data.core.arrays import Floats, Ints
from dprm_data.core.errors import InputError
from dprm_data.preference.pairs import group_numbers, probabilities
from dprm_data.runs.preferences import RATINGS
from dprm_data.runs.table_parts import FlatTable, parts
from dprm_data.runs.utilities import read_utilities

if TYPE_CHECKING:
    from dprm_data.runs.run import Run

RANKED = pa.schema(
    [
        pa.field("group_id", pa.string()),
        pa.field("item_ids", pa.list_(pa.string())),  # of the completions
        pa.field("prompt", tables.MESSAGES),
        pa.field("completions", pa.list_(tables.MESSAGES)),
        pa.field("rewards", pa.list_(pa.float64())),  # expected rewards, from the highest; see `tables.UTILITIES`
        pa.field("reward_errors", pa.list_(pa.float64())),  # their posterior standard deviations
        pa.field("probability", pa.list_(pa.float64())),  # that each is above the next: one fewer
        pa.field("basis", pa.string()),  # ratings, comparisons, both
    ]
)
# Messages as they came, where text does not say all of them (`tables.ORIGINALS`).
_ORIGINALS = [
    pa.field("prompt_original", pa.string()),
    pa.field("completions_original", pa.list_(pa.string())),
]
_WITH_ORIGINALS = pa.schema([*RANKED, *_ORIGINALS])
_FIGURES = tables.part(tables.DISTRIBUTIONS, ["item_id", "group_id", "expected_reward", "reward_error", "evidence"])
_TEXTS = tables.part(
    tables.DISTRIBUTIONS, ["item_id", "group_id", "prompt", "completion", "prompt_original", "completion_original"]
)


@dataclass(frozen=True)
class _Order:
    """Of all N rows of the distributions, by ratings, and where something was compared by the joint fit. key: the lowest is the best of its prompt; above: the probability that it is above the next
    one, NaN where ratings say that; known: whether it was rated or compared."""

    reward: Floats
    error: Floats
    key: Floats
    above: Floats
    known: NDArray[np.bool_]
    basis: list[str]


def ranked(run: Run) -> FlatTable:
    """A row per prompt with two or more responses that were rated or compared (`RANKED`, and messages as they came). Texts are in memory until all responses to their prompt have been read. Raises `InputError` if there is
    none, or if an older version fitted comparisons."""
    path = run.folder.needs("distributions")
    with pq.ParquetFile(path) as file:
        there = [name for name in _FIGURES.names if name in file.schema_arrow.names]
        figures = tables.conformed(file.read(columns=there), _FIGURES)
    order = _order(figures, read_utilities(run.folder))
    group = group_numbers(figures["group_id"])
    size = np.bincount(group[order.known], minlength=len(group))
    in_list = order.known & (size[group] > 1)
    if not in_list.any():
        raise InputError(
            f"no prompt of {run.folder} has two responses with votes", hint="A ranking needs two or more to one prompt."
        )
    return FlatTable(_lists(run, np.where(in_list, group, -1), size, order))


def _order(figures: pa.Table, joint: pa.Table) -> _Order:
    reward, error, evidence = (
        figures[name].to_numpy().astype(np.float64) for name in ("expected_reward", "reward_error", "evidence")
    )
    rows = pc.index_in(joint["item_id"], value_set=figures["item_id"].combine_chunks()).to_numpy().astype(np.int64)
    key, above, known = -reward, np.full(len(reward), np.nan), evidence > 0
    reward[rows], error[rows], above[rows] = (
        joint[name].to_numpy().astype(np.float64) for name in ("expected_reward", "reward_error", "probability")
    )
    key[rows], known[rows] = np.arange(len(rows)), True
    basis = np.full(len(reward), RATINGS, dtype=object)
    basis[rows] = joint["basis"].to_pylist()
    return _Order(reward, error, key, above, known, basis.tolist())


def _lists(run: Run, group: Ints, size: Ints, order: _Order) -> Iterator[pa.Table]:
    """group (N,): of every row, -1 for one that is in no list; size: rows of each group's list."""
    waiting: dict[int, list[tuple[int, dict[str, Any]]]] = defaultdict(list)  # by group: rows and their texts
    row = 0
    with pq.ParquetFile(run.folder.needs("distributions")) as file:
        for texts in parts(file, _TEXTS):
            complete = []
            for response in texts.to_pylist():
                number = int(group[row])
                if number >= 0:
                    waiting[number].append((row, response))
                    if len(waiting[number]) == size[number]:
                        complete.append(_list(waiting.pop(number), order))
                row += 1
            if complete:
                yield pa.Table.from_pylist(complete, schema=_WITH_ORIGINALS)


def _list(found: list[tuple[int, dict[str, Any]]], order: _Order) -> dict[str, Any]:
    found = sorted(found, key=lambda each: order.key[each[0]])
    rows, responses = np.array([row for row, _ in found]), [response for _, response in found]
    return {
        **{name: responses[0][name] for name in ("group_id", "prompt", "prompt_original")},
        "item_ids": [each["item_id"] for each in responses],
        "completions": [each["completion"] for each in responses],
        "completions_original": [each["completion_original"] for each in responses],
        "rewards": shortest(order.reward[rows]),
        "reward_errors": shortest(order.error[rows]),
        "probability": shortest(_above(rows, order)),
        "basis": order.basis[rows[0]],
    }


def _above(rows: Ints, order: _Order) -> Floats:
    """That each of these rows is above the next, (R - 1,); NaN in a table of an older version."""
    if order.basis[rows[0]] != RATINGS:
        return order.above[rows[:-1]]
    steps = np.stack([rows[:-1], rows[1:]], axis=1)
    unknown = np.isnan(order.error[steps]).any(axis=1)
    return np.where(unknown, np.nan, probabilities(order.reward, order.error**2, steps))


def shortest(values: Floats) -> list[float | None]:
    """Figures of single precision as the shortest numbers that mean the same; None for NaN."""
    return [None if np.isnan(value) else float(str(value)) for value in values.astype(np.float32)]
