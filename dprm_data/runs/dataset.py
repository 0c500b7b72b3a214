"""The dataset: tables to load and train on, made from a run's fit. Makes no call."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dprm_data.core import tables
from dprm_data.core.arrays import Floats

if TYPE_CHECKING:
    from dprm_data.preference.fitting import Fit

_ALL_PAIRS_UP_TO = 8  # responses to one prompt; with more, the best is paired with each of the others
_BATCH = 10_000


def write_distributions(fit: Fit, items_file: Path, out: Path) -> int:
    """Join the fitted distributions with the items' texts, which are in the same order, one row group at a time. Returns the number of rows."""
    fitted = fit.to_table()
    with pq.ParquetFile(items_file) as file:
        return tables.write_parquet(out, tables.DISTRIBUTIONS, _joined(fitted, file))


def _joined(fitted: pa.Table, items: pq.ParquetFile) -> Iterator[pa.Table]:
    start = 0
    for group in range(items.num_row_groups):
        texts = items.read_row_group(group, columns=["item_id", "group_id", "prompt", "completion"])
        part = fitted.slice(start, texts.num_rows)
        start += texts.num_rows
        assert part["item_id"].equals(texts["item_id"]), "the fit has other items"
        columns = {name: (texts if name in texts.column_names else part)[name] for name in tables.DISTRIBUTIONS.names}
        yield pa.table(columns).cast(tables.DISTRIBUTIONS)


def write_preferences(distributions: Path, out: Path) -> int:
    """Write pairs of responses to one prompt, the one with the higher expected reward first. Returns the number of pairs.

    A prompt with up to 8 responses gives every pair; one with more gives its best with each of the others. Exact ties are left out.
    Memory holds only the prompts whose responses have not all been read yet.
    """
    return tables.write_parquet(out, tables.PREFERENCES, _batches(_pairs(distributions)))


def _pairs(distributions: Path) -> Iterator[dict[str, Any]]:
    columns = ["group_id", "prompt", "completion", "label_distribution", "expected_reward", "evidence"]
    with pq.ParquetFile(distributions) as file:
        missing = Counter(
            itertools.chain.from_iterable(
                batch.column(0).to_pylist() for batch in file.iter_batches(columns=["group_id"])
            )
        )
        open_groups: dict[str, list[dict[str, Any]]] = {}
        for batch in file.iter_batches(columns=columns, batch_size=_BATCH):
            for row in batch.filter(pc.is_in(batch.column("group_id"), _paired_groups(missing))).to_pylist():
                group = row["group_id"]
                open_groups.setdefault(group, []).append(row)
                if len(open_groups[group]) == missing[group]:
                    yield from _pairs_of(open_groups.pop(group))


def _paired_groups(sizes: Counter[str]) -> pa.Array:
    return pa.array([group for group, size in sizes.items() if size > 1], pa.string())


def _pairs_of(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    judged = [row for row in rows if row["evidence"] > 0]  # without a vote, only the prior would prefer one
    ranked = sorted(judged, key=lambda row: -row["expected_reward"])
    best = len(ranked) if len(ranked) <= _ALL_PAIRS_UP_TO else 1
    for i, chosen in enumerate(ranked[:best]):
        for rejected in ranked[i + 1 :]:
            margin = chosen["expected_reward"] - rejected["expected_reward"]
            if margin > 0:
                yield {
                    "group_id": chosen["group_id"],
                    "prompt": chosen["prompt"],
                    "chosen": chosen["completion"],
                    "rejected": rejected["completion"],
                    "margin": margin,
                    "chosen_distribution": chosen["label_distribution"],
                    "rejected_distribution": rejected["label_distribution"],
                }


def _batches(rows: Iterator[dict[str, Any]]) -> Iterator[pa.RecordBatch]:
    while batch := list(itertools.islice(rows, _BATCH)):
        yield pa.RecordBatch.from_pylist(batch, schema=tables.PREFERENCES)


def pair_accuracy(items_file: Path, rewards: Floats) -> tuple[float, int] | None:
    """How often the source's chosen response has the higher expected reward: (share, pairs), a tie counting half.

    Compares each row marked chosen with all rows of its prompt marked rejected. None if the source marks none.
    rewards: shape (N,), in the items' order; NaN for items without votes.
    """
    table = pq.read_table(items_file, columns=["group_id", "role"])
    by_group: dict[str, tuple[list[float], list[float]]] = {}
    for group, role, reward in zip(
        table["group_id"].to_pylist(), table["role"].to_pylist(), rewards.tolist(), strict=True
    ):
        if role in ("chosen", "rejected") and not np.isnan(reward):
            by_group.setdefault(group, ([], []))[role == "rejected"].append(reward)
    outcomes = [(c > r) + 0.5 * (c == r) for chosen, rejected in by_group.values() for c in chosen for r in rejected]
    return (float(np.mean(outcomes)), len(outcomes)) if outcomes else None
