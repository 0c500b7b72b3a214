"""Looking up one item or annotator of a run, or an attribute of all annotators, as plain data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from dprm_data.core.errors import InputError
from dprm_data.runs.folder import RunFolder
from dprm_data.runs.raters import annotator_named, raters

Row = dict[str, Any]


def find_item(folder: RunFolder, prefix: str) -> tuple[Row, list[Row]]:
    """The row of distributions and all annotations of the item whose id has this prefix. Raises `InputError` unless there is exactly one."""
    ids = pq.read_table(folder.needs("distributions"), columns=["item_id"])["item_id"]
    matches = ids.filter(pc.starts_with(ids, prefix))
    if len(matches) != 1:
        found = "no item's id begins" if not len(matches) else f"{len(matches):,} items' ids begin"
        example = f" (one is {ids[0].as_py()})" if len(ids) else ""
        raise InputError(
            f"{found} with {prefix!r}",
            hint=f"The summary and {folder.table('distributions')} list the ids{example}.",
        )
    item_id = matches[0].as_py()
    row = _rows(folder.needs("distributions"), "item_id", item_id).to_pylist()[0]
    return row, _rows(folder.needs("annotations"), "item_id", item_id).to_pylist()


def find_annotator(folder: RunFolder, annotator_id: str) -> tuple[Row | None, pa.Table]:
    """The persona with this id (None for a person, or for the population) and all its annotations. Raises `InputError` if there are none.

    A person is known by the pseudonym, or by the name in the table of ratings.
    """
    annotator_id = annotator_named(folder, annotator_id)
    annotations = _rows(folder.needs("annotations"), "annotator_id", annotator_id)
    personas = pq.read_table(folder.needs("personas"))
    if not annotations.num_rows:
        names = [*personas["persona_id"].to_pylist(), *(row["rater"] for row in raters(folder))]
        known = ", ".join(names[:20])
        raise InputError(f"no annotator {annotator_id!r} in {folder}", hint=f"Annotators: {known}.")
    persona = personas.filter(pc.equal(personas["persona_id"], annotator_id)).to_pylist()
    return (persona[0] if persona else None), annotations


def annotator_attributes(run: Path) -> dict[str, dict[str, Any]]:
    """The attributes of every persona and every rater of the run. Raises `InputError` if it has no personas yet."""
    folder = RunFolder.existing(run)
    personas = pq.read_table(folder.needs("personas"), columns=["persona_id", "attributes"]).to_pylist()
    attributes = {row["persona_id"]: orjson.loads(row["attributes"] or "{}") for row in personas}
    return attributes | {row["annotator_id"]: row["attributes"] for row in raters(folder)}


def persona_attribute(run: Path, name: str) -> dict[str, Any]:
    """The value of the attribute for every persona of the run that has it, and every rater. Raises `InputError` if none has."""
    attributes = annotator_attributes(run)
    found = {who: values[name] for who, values in attributes.items() if name in values}
    if not found:
        known = sorted({key for values in attributes.values() for key in values})
        who = "annotator" if raters(RunFolder(run)) else "persona"
        raise InputError(
            f"no {who} of {run} has the attribute {name!r}",
            hint=f"Attributes: {', '.join(known) or 'none'}.",
        )
    return found


def _rows(path: Any, column: str, value: str) -> pa.Table:
    """The rows of a Parquet file with this value in the column; reads only row groups that may hold it."""
    return ds.dataset(path).to_table(filter=ds.field(column) == value)
