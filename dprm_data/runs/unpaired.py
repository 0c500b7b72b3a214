"""Responses labelled good or bad, without pairs: what KTO trains on (Ethayarajh et al., arXiv 2402.01306).

A response is good if its pairs are more likely won than lost: where the sum of 2p - 1 over the pairs in which it is chosen, p their `probability`, is above the sum over those
in which it is rejected. A response for which the two are equal is left out, as one in no pair is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dprm_data.core import tables
from dprm_data.core.arrays import Floats
from dprm_data.core.errors import InputError
from dprm_data.runs.pair_rows import pair_rows
from dprm_data.runs.table_parts import FlatTable, parts

if TYPE_CHECKING:
    from dprm_data.runs.run import Run

_ITEM = tables.part(tables.ITEMS, ["item_id", "group_id", "prompt", "completion", *tables.ORIGINALS])
_EVEN = 1e-6  # probabilities are stored in single precision


def unpaired(run: Run) -> FlatTable:
    """A row per response that is in a pair: its ids and texts, and label (whether it is good). Raises `InputError` if none is left."""
    lead = _lead(run)
    even = int((np.abs(lead) <= _EVEN).sum())
    good, bad = int((lead > _EVEN).sum()), int((lead < -_EVEN).sum())
    if not good + bad:
        raise InputError(
            f"no response of {run.folder} is better or worse than another to its prompt",
            hint="Pairs need two rated responses to one prompt.",
        )
    notes = [f"{even:,} responses are left out: their pairs are as likely won as lost"] if even else []
    return FlatTable(_rows(run, lead), notes)


def _lead(run: Run) -> Floats:
    """By how much every item's pairs are more likely won than lost, (N,); NaN for one that is in no pair."""
    lead = np.zeros(pq.read_metadata(run.folder.needs("items")).num_rows)
    paired = np.zeros(len(lead), dtype=bool)
    for pairs, rows in pair_rows(run.folder, ["probability"]):
        won = 2.0 * np.nan_to_num(pairs["probability"].to_numpy().astype(np.float64), nan=1.0) - 1.0
        np.add.at(lead, rows[:, 0], won)
        np.add.at(lead, rows[:, 1], -won)
        paired[rows] = True
    return np.where(paired, lead, np.nan)


def _rows(run: Run, lead: Floats) -> Iterator[pa.Table]:
    start = 0
    with pq.ParquetFile(run.folder.needs("items")) as file:
        for items in parts(file, _ITEM):
            here = lead[start : start + items.num_rows]
            table = items.append_column("label", pa.array(here > 0))
            yield table.filter(pa.array(np.abs(here) > _EVEN))
            start += items.num_rows
