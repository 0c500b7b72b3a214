"""The tables of a pulled dataset, read strictly: columns, types, ranges and ids. What an older version did not publish is null."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dprm_data.core import tables
from dprm_data.core.errors import PublishError
from dprm_data.core.json_columns import json_texts
from dprm_data.core.text import one_line
from dprm_data.labels.space import LabelSpace
from dprm_data.publish.configs import ANNOTATED, CONVERSATIONS, SCHEMAS, Config, map_metadata
from dprm_data.publish.conversations import texts_and_originals
from dprm_data.publish.pulled import DEPTH, is_deep

_MOST_ROWS = 100_000  # in a row group; ours have 5,000
_ORIGIN = {f"{side}{name}" for name in tables.ORIGIN for side in ("", "chosen_", "rejected_")}
# What older versions did not publish: missing, and null in what is pulled and published again.
_LATER = {
    *(
        "estimated_calls",
        "reasoning_tokens",
        "model_id",
        "reward_error",
        "chosen_item_id",
        "rejected_item_id",
    ),
    *("set_id", "place", "step_probs"),
    *tables.GENERATORS,
    *tables.PREFERENCE_FIGURES,
    *(_ORIGIN - {"source", "metadata"}),
}
_OPTIONAL = {
    *(
        "label",
        "preference",
        "role",
        "probs",
        "reason",
        "model",
        "model_id",
        "prompt_version",
        "rationale",
        "call_key",
        "cost",
        "estimated_calls",
        "reasoning_tokens",
        "reward_error",
    ),
    *_ORIGIN,
    *(tables.original(name) for names in CONVERSATIONS.values() for name in names),
    *("set_id", "place", "step_probs"),
    *tables.GENERATORS,
    *("chosen_item_id", "rejected_item_id", "created_at", "attributes", "alpha", "beta", "name", "media_type"),
}
_PER_LABEL = ("label_distribution", "votes", "probs", "chosen_distribution", "rejected_distribution")


def read_rows(file: Path, path: str, config: Config, space: LabelSpace | None) -> Iterator[pa.Table]:
    """The row groups of a data file, with the config's columns, types and ranges. Raises `PublishError`.

    path: its name in the repository. space: None for the config `run`, in which there are no labels.
    """
    schema = SCHEMAS[config]
    try:
        with pq.ParquetFile(file) as opened:
            found = set(opened.schema_arrow.names)
            later = _LATER | set(ANNOTATED) if config == "annotations" else _LATER
            missing = [name for name in schema.names if name not in found | later]
            if missing:
                raise PublishError(f"{path}: no column {missing[0]!r}")
            for group in range(opened.num_row_groups):
                if opened.metadata.row_group(group).num_rows > _MOST_ROWS:
                    raise PublishError(f"{path}: row group {group} has more than {_MOST_ROWS:,} rows")
                read = opened.read_row_group(group, columns=[name for name in schema.names if name in found])
                read = texts_and_originals(map_metadata(read, _as_json), config, path)
                table = tables.conformed(read, _with_originals(config))
                table.validate(full=True)
                _check_columns(table, path, space)
                if table.num_rows:
                    yield table
    except (pa.ArrowException, OSError, KeyError, OverflowError) as error:
        raise PublishError(f"{path}: not a table of {config}: {one_line(str(error), 150)}") from error


def _with_originals(config: Config) -> pa.Schema:
    schema = SCHEMAS[config]
    for name in CONVERSATIONS.get(config, ()):
        schema = schema.append(pa.field(tables.original(name), pa.string()))
    return schema


def _check_columns(table: pa.Table, path: str, space: LabelSpace | None) -> None:
    for name in table.column_names:
        column = table[name].combine_chunks()
        older = name in _LATER and column.null_count == len(column)
        if column.null_count and not older and name not in _OPTIONAL:
            raise PublishError(f"{path}: {name}: a value is missing")
        if pa.types.is_list(column.type):
            _check_list(column, name, path, space)
        elif pa.types.is_floating(column.type) and name != "cost" and pc.any(pc.invert(pc.is_finite(column))).as_py():
            raise PublishError(f"{path}: {name}: a value is not a finite number")
        elif name == "attributes" or name.endswith("metadata"):
            _check_json(column, name, path)
        elif name == "label" and space is not None and column.null_count < len(column):
            low, high = (pc.min_max(column)[end].as_py() for end in ("min", "max"))
            if low < 0 or high >= space.K:
                raise PublishError(f"{path}: label: {low if low < 0 else high} is not one of the {space.K} labels")


def _check_list(column: pa.ListArray, name: str, path: str, space: LabelSpace | None) -> None:
    inner = column.flatten()
    parts = inner.flatten() if pa.types.is_struct(inner.type) else [inner]
    if inner.null_count or any(part.null_count for part in parts):
        raise PublishError(f"{path}: {name}: a value is missing")
    if name in _PER_LABEL and space is not None:
        lengths = set(pc.unique(pc.list_value_length(column)).drop_null().to_pylist())
        if lengths - {space.K}:
            raise PublishError(f"{path}: {name}: there are {space.K} labels, and {(lengths - {space.K}).pop()} numbers")
        if len(inner) and not pc.all(pc.and_(pc.is_finite(inner), pc.greater_equal(inner, 0))).as_py():
            raise PublishError(f"{path}: {name}: a number is negative or not finite")


def _check_json(column: pa.Array, name: str, path: str) -> None:
    for text in column.drop_null().to_pylist():
        try:
            content = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise PublishError(f"{path}: {name}: not JSON: {error}") from error
        if not isinstance(content, dict) or is_deep(text):
            raise PublishError(f"{path}: {name}: not a JSON object of at most {DEPTH} levels")


def _as_json(column: pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Metadata as a run's tables hold them; older versions published them so."""
    return json_texts(column) if pa.types.is_struct(column.type) else column


def check_ids(items: set[str], table: pa.Table, path: str) -> None:
    """Check that the annotations, or both sides of the comparisons, are of these items. Raises `PublishError`."""
    for name in ("item_id", "first_item_id", "second_item_id"):
        found = pc.unique(table[name]).to_pylist() if name in table.column_names else []
        unknown = next((item for item in found if item not in items), None)
        if unknown is not None:
            raise PublishError(f"{path}: {name}: {one_line(unknown, 60)!r} is no item of the dataset")
