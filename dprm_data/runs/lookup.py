"""Looking closer: one item or one annotator of a run, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from dprm_data.core.errors import InputError
from dprm_data.runs.folder import RunFolder

Row = dict[str, Any]


def find_item(folder: RunFolder, beginning: str) -> tuple[Row, list[Row]]:
    """The item whose id begins so, with its distribution, and all its annotations. Raises `InputError` where there is not exactly one."""
    ids = pq.read_table(folder.needs("distributions"), columns=["item_id"])["item_id"]
    matches = ids.filter(pc.starts_with(ids, beginning))
    if len(matches) != 1:
        found = "no item's id begins" if not len(matches) else f"{len(matches):,} items' ids begin"
        example = f" (one is {ids[0].as_py()})" if len(ids) else ""
        raise InputError(
            f"{found} with {beginning!r}",
            hint=f"Ids are in the summary and in {folder.table('distributions')}{example}.",
        )
    item_id = matches[0].as_py()
    row = _where(folder.needs("distributions"), "item_id", item_id).to_pylist()[0]
    return row, _where(folder.needs("annotations"), "item_id", item_id).to_pylist()


def find_annotator(folder: RunFolder, annotator_id: str) -> tuple[Row | None, pa.Table]:
    """The persona by this id (None for a person, or for the population), and all its annotations. Raises `InputError` where there are none."""
    annotations = _where(folder.needs("annotations"), "annotator_id", annotator_id)
    personas = pq.read_table(folder.needs("personas"))
    if not annotations.num_rows:
        known = ", ".join(personas["persona_id"].to_pylist()[:20])
        raise InputError(f"no annotator {annotator_id!r} in {folder}", hint=f"There are: {known}.")
    persona = personas.filter(pc.equal(personas["persona_id"], annotator_id)).to_pylist()
    return (persona[0] if persona else None), annotations


def persona_attribute(run: Path, name: str) -> dict[str, Any]:
    """The attribute of every persona of the run. Raises `InputError` where none has it."""
    personas = pq.read_table(
        RunFolder.existing(run).needs("personas"), columns=["persona_id", "attributes"]
    ).to_pylist()
    attributes = {row["persona_id"]: orjson.loads(row["attributes"] or "{}") for row in personas}
    found = {who: values[name] for who, values in attributes.items() if name in values}
    if not found:
        known = sorted({key for values in attributes.values() for key in values})
        raise InputError(
            f"no persona of {run} has the attribute {name!r}", hint=f"There are: {', '.join(known) or 'none'}."
        )
    return found


def rater_attribute(votes: Path, name: str, columns: Mapping[str, str]) -> dict[str, Any]:
    """The value of a column for every rater of a table of votes (the first that stands there). Raises `InputError` where there is no such column."""
    kind = "csv" if votes.suffix.lower() == ".csv" else "parquet"
    table = ds.dataset(votes, format=kind)
    rater = columns.get("annotator_id") or next(
        (known for known in ("annotator_id", "rater_id") if known in table.schema.names), "annotator_id"
    )
    missing = next((column for column in (rater, name) if column not in table.schema.names), None)
    if missing:
        raise InputError(f"{votes}: no column {missing!r}", hint=f"There are: {', '.join(table.schema.names)}.")
    read = table.to_table(columns=[rater, name])
    found: dict[str, Any] = {}
    for who, value in zip(read[rater].cast(pa.string()).to_pylist(), read[name].to_pylist(), strict=True):
        if value is not None and value == value:  # NaN is no value
            found.setdefault(who, value)
    return found


def _where(path: Any, column: str, value: str) -> pa.Table:
    """The rows of a Parquet file in which the column has this value; only row groups that may hold it are read."""
    return ds.dataset(path).to_table(filter=ds.field(column) == value)
