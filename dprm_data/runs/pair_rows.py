"""The pairs of a run with the rows of their two responses, by which the other tables are looked up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dprm_data.core import tables
from dprm_data.core.arrays import Ints
from dprm_data.core.errors import InputError
from dprm_data.runs.folder import RunFolder
from dprm_data.runs.table_parts import parts

_SIDES = ("chosen_item_id", "rejected_item_id")


def pair_rows(
    folder: RunFolder, columns: Iterable[str], among: Literal["items", "distributions"] = "items"
) -> Iterator[tuple[pa.Table, Ints]]:
    """These columns of the preferences, part by part, and with each part the rows (P, 2) of chosen and rejected in the items or the distributions.

    In memory are the items' ids. Raises `InputError`: before the first part, if an older version wrote the pairs without these columns; while reading, if they are of other items.
    """
    path = folder.needs("preferences")
    columns = list(columns)
    there = pq.read_schema(path).names
    if not {*_SIDES, *columns} <= set(there):
        raise InputError(
            f"an older version wrote the pairs of {folder}, without what this needs of them",
            hint=f"Fit them again, which makes no call: dprm ratings fit {folder}",
        )
    return _pair_rows(folder, among, tables.part(tables.PREFERENCES, [*columns, *_SIDES]))


def _pair_rows(
    folder: RunFolder, among: Literal["items", "distributions"], schema: pa.Schema
) -> Iterator[tuple[pa.Table, Ints]]:
    ids = pq.read_table(folder.needs(among), columns=["item_id"])["item_id"].combine_chunks()
    with pq.ParquetFile(folder.needs("preferences")) as file:
        for pairs in parts(file, schema):
            rows = [pc.index_in(pairs[name], value_set=ids) for name in _SIDES]
            if any(side.null_count for side in rows):
                raise InputError(
                    f"the pairs in {folder} do not belong to its {among}",
                    hint=f"Fit them again: dprm ratings fit {folder}",
                )
            sides = [side.to_numpy().astype(np.int64) for side in rows]
            yield pairs.drop_columns(list(_SIDES)), np.stack(sides, axis=1)
