"""The distributions of a run, and how they agree with the source. Makes no call."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dprm_data.core import tables
from dprm_data.core.arrays import Floats
from dprm_data.preference.pairs import marked_pairs, outcomes

if TYPE_CHECKING:
    from dprm_data.preference.fitting import Fit

_OF_ITEMS = tables.part(tables.ITEMS, ["item_id", *tables.FROM_ITEMS])


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


def pair_accuracy(items_file: Path, rewards: Floats) -> tuple[float, int] | None:
    """How often the source's chosen response has the higher expected reward: (share, pairs), a tie counting half.

    Compares each row marked chosen with all rows of its prompt marked rejected. None if the source marks none.
    rewards: shape (N,), in the items' order; NaN for items without votes.
    """
    table = pq.read_table(items_file, columns=["group_id", "role"])
    role, judged = np.array(table["role"].to_pylist(), dtype=object), ~np.isnan(rewards)
    pairs = marked_pairs(table["group_id"], (role == "chosen") & judged, (role == "rejected") & judged)
    return (float(outcomes(rewards, pairs).mean()), len(pairs)) if len(pairs) else None
