"""The dataset: tables to load and train on, made from a run's fit. Makes no call."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dprm_data.core import tables
from dprm_data.core.arrays import Floats, Ints
from dprm_data.preference.pairs import group_numbers, marked_pairs, outcomes, preferred_pairs

if TYPE_CHECKING:
    from dprm_data.preference.fitting import Fit

_BATCH = 10_000
_OF_ITEMS = tables.part(tables.ITEMS, ["item_id", *tables.FROM_ITEMS])
_OF_PAIRS = tables.part(tables.DISTRIBUTIONS, [*_OF_ITEMS.names, "label_distribution"])


def write_distributions(fit: Fit, items_file: Path, out: Path) -> int:
    """Join the fitted distributions with the items' texts, which are in the same order, one row group at a time. Returns the number of rows."""
    fitted = fit.to_table()
    with pq.ParquetFile(items_file) as file:
        return tables.write_parquet(out, tables.DISTRIBUTIONS, _joined(fitted, file))


def _joined(fitted: pa.Table, items: pq.ParquetFile) -> Iterator[pa.Table]:
    start = 0
    for group in range(items.num_row_groups):
        texts = tables.conformed(items.read_row_group(group, columns=_OF_ITEMS.names), _OF_ITEMS)
        part = fitted.slice(start, texts.num_rows)
        start += texts.num_rows
        assert part["item_id"].equals(texts["item_id"]), "the fit has other items"
        columns = {name: (texts if name in texts.column_names else part)[name] for name in tables.DISTRIBUTIONS.names}
        yield pa.table(columns).cast(tables.DISTRIBUTIONS)


def write_preferences(distributions: Path, out: Path) -> int:
    """Write the pairs of responses to one prompt, the one with the higher expected reward first (`preferred_pairs`). Returns their number.

    A response without votes has the prior's reward only, which is no preference: it is in no pair. Texts are held in memory until all responses to their prompt
    have been read.
    """
    return tables.write_parquet(out, tables.PREFERENCES, _preferences(distributions))


def _preferences(distributions: Path) -> Iterator[pa.Table]:
    with pq.ParquetFile(distributions) as file:
        judged = file.read(columns=["group_id", "expected_reward", "evidence"])
        reward = judged["expected_reward"].to_numpy().astype(np.float64)
        reward[judged["evidence"].to_numpy() <= 0] = np.nan
        pairs, complete = _in_order_of_completion(preferred_pairs(judged["group_id"], reward), judged["group_id"])
        needed_until = np.full(len(reward), -1)
        needed_until[pairs] = complete[:, None]
        held: list[tuple[Ints, pa.RecordBatch]] = []  # row numbers, ascending, and their texts
        end = written = 0
        for batch in file.iter_batches(columns=_OF_PAIRS.names, batch_size=_BATCH):
            held.append((np.arange(end, end + batch.num_rows), batch))
            end += batch.num_rows
            ready = int(np.searchsorted(complete, end))
            for start in range(written, ready, _BATCH):
                yield _pair_table(held, pairs[start : min(start + _BATCH, ready)], reward)
            written = ready
            held = [still for rows, texts in held if (still := _still_needed(rows, texts, needed_until[rows] >= end))]


def _in_order_of_completion(pairs: Ints, groups: pa.ChunkedArray) -> tuple[Ints, Ints]:
    """The pairs (P, 2) by the last row of their group, and that row (P,)."""
    group = group_numbers(groups)
    last = np.zeros(len(group), dtype=np.int64)
    np.maximum.at(last, group, np.arange(len(group)))
    complete = last[group[pairs[:, 0]]]
    order = np.argsort(complete, kind="stable")
    return pairs[order], complete[order]


def _still_needed(rows: Ints, texts: pa.RecordBatch, needed: NDArray[np.bool_]) -> tuple[Ints, pa.RecordBatch] | None:
    """What is still needed of held texts; copied only when that frees at least half of them."""
    if needed.mean() > 0.5:
        return rows, texts
    return (rows[needed], texts.filter(pa.array(needed))) if needed.any() else None


def _pair_table(held: list[tuple[Ints, pa.RecordBatch]], pairs: Ints, reward: Floats) -> pa.Table:
    wanted, place = np.unique(pairs, return_inverse=True)
    parts = []
    for rows, texts in held:
        start, stop = np.searchsorted(wanted, [rows[0], rows[-1] + 1])
        if start < stop:
            parts.append(texts.take(pa.array(np.searchsorted(rows, wanted[start:stop]))))
    found = tables.conformed(pa.Table.from_batches(parts), _OF_PAIRS).combine_chunks()
    chosen, rejected = (found.take(pa.array(side)) for side in place.reshape(-1, 2).T)
    columns = {
        "group_id": chosen["group_id"],
        "prompt": chosen["prompt"],
        "chosen": chosen["completion"],
        "rejected": rejected["completion"],
        "margin": reward[pairs[:, 0]] - reward[pairs[:, 1]],
        "chosen_distribution": chosen["label_distribution"],
        "rejected_distribution": rejected["label_distribution"],
        "prompt_original": chosen["prompt_original"],
        "chosen_original": chosen["completion_original"],
        "rejected_original": rejected["completion_original"],
    }
    for name in ("item_id", *tables.ORIGIN):
        columns |= {f"chosen_{name}": chosen[name], f"rejected_{name}": rejected[name]}
    return pa.table(columns).select(tables.PREFERENCES.names).cast(tables.PREFERENCES)


def pair_accuracy(items_file: Path, rewards: Floats) -> tuple[float, int] | None:
    """How often the source's chosen response has the higher expected reward: (share, pairs), a tie counting half.

    Compares each row marked chosen with all rows of its prompt marked rejected. None if the source marks none.
    rewards: shape (N,), in the items' order; NaN for items without votes.
    """
    table = pq.read_table(items_file, columns=["group_id", "role"])
    role, judged = np.array(table["role"].to_pylist(), dtype=object), ~np.isnan(rewards)
    pairs = marked_pairs(table["group_id"], (role == "chosen") & judged, (role == "rejected") & judged)
    return (float(outcomes(rewards, pairs).mean()), len(pairs)) if len(pairs) else None
