"""A run as one flat table for other programs: rows with what is needed to join them back to the source.

    distributions  an item with its distribution and everybody's vote (a column each), or, `long`, a row for every vote
    preferences    a pair of responses to one prompt, the preferred one first
    annotations    one annotator's label for one item, with its status; without texts
    …              the columns of trainers and well-known datasets (`training_formats`)

The rows come a row group at a time. In memory are about 100 bytes per item and 20 per vote.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dprm_data.core import tables
from dprm_data.core.errors import InputError
from dprm_data.core.json_columns import JsonColumns
from dprm_data.runs.origins import file_and_row, metadata_columns
from dprm_data.runs.table_parts import FlatTable, parts
from dprm_data.runs.training_formats import TRAINING_FORMATS, TrainingFormat
from dprm_data.runs.votes_by_annotator import VotesByAnnotator

if TYPE_CHECKING:
    from dprm_data.runs.run import Run

What = Literal["distributions", "preferences", "annotations"] | TrainingFormat
MOST_VOTE_COLUMNS = 60

_REWARD = ("expected_reward", "reward_low", "reward_high", "reward_std", "entropy", "disagreement", "evidence")
_ANNOTATION = ("annotator_id", "annotator_kind", "model_id", "elicitation", "replicate", "label", "weight", "status", "reason", "rationale", "model", "cost", "created_at")  # fmt: skip


def flat_table(run: Run, what: What, *, long: bool = False) -> FlatTable:
    """The run's rows. long: a row for every vote. Raises `InputError` where the run has no such table yet."""
    if long and what != "distributions":
        raise InputError(f"--long is for distributions; {what} have a row for each already", hint="Omit --long.")
    if what == "annotations":
        return FlatTable(_annotations(run))
    if what in TRAINING_FORMATS:
        return TRAINING_FORMATS[what](run)
    metadata = metadata_columns(run.folder)
    if what == "preferences":
        return _preferences(run, metadata)
    fitted = run.folder.needs("distributions")
    votes = VotesByAnnotator.read(run.folder, run.space.names)
    few = len(votes.series) <= MOST_VOTE_COLUMNS
    notes = [] if few or long else [_too_many(len(votes.series))]
    return FlatTable(_distributions(run, fitted, metadata, votes if few or long else None, long), notes)


def _too_many(columns: int) -> str:
    return f"votes are left out: they would be {columns:,} columns; --long writes a row for every vote"


def _distributions(
    run: Run, fitted: object, metadata: JsonColumns, votes: VotesByAnnotator | None, long: bool
) -> Iterator[pa.Table]:
    """Items with their distributions: both files have the same rows in the same order, as `runs.dataset` writes them."""
    start = 0
    with pq.ParquetFile(run.folder.needs("items")) as items, pq.ParquetFile(fitted) as distributions:
        for found, judged in zip(parts(items, tables.ITEMS), parts(distributions, tables.DISTRIBUTIONS), strict=False):
            if not found["item_id"].equals(judged["item_id"]):
                raise InputError(
                    f"the distributions in {run.folder} do not belong to its items",
                    hint=f"Fit them again: dprm ratings fit {run.folder}",
                )
            columns = _item_columns(found, generated=run.recipe.generate is not None)
            columns["label"] = _most_probable(judged["label_distribution"], run.space.names)
            columns |= _per_label(judged["label_distribution"], run.space.names, "p_")
            columns |= {name: judged[name] for name in _REWARD}
            if votes and not long:
                columns |= votes.wide(start, start + found.num_rows)
            table = _with_metadata(pa.table(columns), metadata.arrays(found["metadata"].to_pylist()))
            yield votes.long(table, start) if votes and long else table
            start += found.num_rows


def _item_columns(items: pa.Table, *, generated: bool) -> dict[str, pa.Array | pa.ChunkedArray]:
    file, row = file_and_row(items["source"])
    return {
        "item_id": items["item_id"],
        "group_id": items["group_id"],
        "source_id": items["source_id"],
        "source_file": file,
        "source_row": row,
        "role": items["role"],
        "prompt": items["prompt"],
        "response": items["completion"],
    } | ({"generator": items["generator"]} if generated else {})


def _preferences(run: Run, metadata: JsonColumns) -> FlatTable:
    path, notes = run.folder.needs("preferences"), []
    if "chosen_item_id" not in pq.read_schema(path).names:
        notes = [
            f"an older version wrote these pairs without the source's ids; to add them: dprm ratings fit {run.folder}"
        ]
        metadata = JsonColumns({})
    return FlatTable(_pairs(run, path, metadata, generated=run.recipe.generate is not None), notes)


def _pairs(run: Run, path: object, metadata: JsonColumns, *, generated: bool) -> Iterator[pa.Table]:
    with pq.ParquetFile(path) as file:
        for pairs in parts(file, tables.PREFERENCES):
            columns: dict[str, pa.Array | pa.ChunkedArray] = {
                name: pairs[name]
                for name in ("group_id", "prompt", "chosen", "rejected", "margin", *tables.PREFERENCE_FIGURES)
            }
            for side in ("chosen_", "rejected_"):
                columns[f"{side}item_id"], columns[f"{side}source_id"] = (
                    pairs[f"{side}item_id"],
                    pairs[f"{side}source_id"],
                )
                columns[f"{side}source_file"], columns[f"{side}source_row"] = file_and_row(pairs[f"{side}source"])
                columns |= {f"{side}generator": pairs[f"{side}generator"]} if generated else {}
                columns |= _per_label(pairs[f"{side}distribution"], run.space.names, f"{side}p_")
            table = pa.table(columns)
            for side in ("chosen_", "rejected_"):
                named = metadata.arrays(pairs[f"{side}metadata"].to_pylist())
                table = _with_metadata(table, {f"{side}{name}": column for name, column in named.items()})
            yield table


def _annotations(run: Run) -> Iterator[pa.Table]:
    """The annotations with where their items come from."""
    path = run.folder.needs("annotations")
    with pq.ParquetFile(run.folder.needs("items")) as file:
        known = [name for name in ("item_id", "group_id", "source", "source_id") if name in file.schema_arrow.names]
        schema = tables.part(tables.ITEMS, ["item_id", "group_id", "source", "source_id"])
        items = tables.conformed(file.read(columns=known), schema)
    ids = items["item_id"].combine_chunks()
    with pq.ParquetFile(path) as file:
        for votes in parts(file, tables.ANNOTATIONS):
            mine = items.take(pc.index_in(votes["item_id"], value_set=ids))
            source_file, row = file_and_row(mine["source"])
            columns = {"item_id": votes["item_id"], "group_id": mine["group_id"], "source_id": mine["source_id"]}
            columns |= {"source_file": source_file, "source_row": row}
            yield pa.table(columns | {name: votes[name] for name in _ANNOTATION})


def _per_label(lists: pa.ChunkedArray, names: list[str], prefix: str) -> dict[str, pa.Array]:
    """A column for each label's share, from a list of them in each row."""
    shares = lists.combine_chunks()
    return {f"{prefix}{name}": pc.list_element(shares, k) for k, name in enumerate(names)}


def _most_probable(lists: pa.ChunkedArray, names: list[str]) -> pa.Array:
    shares = lists.combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(-1, len(names))
    return pa.array(names).take(pa.array(shares.argmax(axis=1)))


def _with_metadata(table: pa.Table, columns: dict[str, pa.Array]) -> pa.Table:
    """The table with the source's columns under their own names, or with `metadata_` before a name that is taken."""
    for name, column in columns.items():
        while name in table.column_names or name in VotesByAnnotator.LONG:
            name = f"metadata_{name}"
        table = table.append_column(name, column)
    return table
