"""Tables in Python (pandas, polars, Arrow, rows, columns) and on the Hugging Face Hub, as Arrow tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa
import pyarrow.compute as pc

from dprm_data.core.errors import VotesError
from dprm_data.core.extras import extra
from dprm_data.ingest.excel import typed

_HUB = re.compile(r"hf:/{1,2}(?=[^/])")  # a path with two slashes is kept with one
_ACCEPTED = "Give a path, a pandas, polars or Arrow table, a dataset, rows as dicts, or a dict of columns."


def as_table(votes: Any) -> pa.Table:
    """A table in Python as an Arrow table. Raises `VotesError` for anything else."""
    try:
        return _plain(_table(votes))
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise VotesError(f"the table is not readable: {error}", hint=_ACCEPTED) from error


def _table(votes: Any) -> pa.Table:
    if isinstance(votes, pa.Table):
        return votes
    if type(votes).__module__.partition(".")[0] == "pandas":
        return _from_pandas(votes)
    if hasattr(votes, "with_format") and hasattr(votes, "features"):  # of the package `datasets`
        return _from_dataset(votes)
    if hasattr(votes, "__arrow_c_stream__") or hasattr(votes, "__arrow_c_array__"):
        return pa.table(votes)
    if isinstance(votes, Mapping):
        return pa.table({str(name): _column(list(cells)) for name, cells in votes.items()})
    if isinstance(votes, Iterable):
        rows = list(votes)
        if all(isinstance(row, Mapping) for row in rows):
            names = dict.fromkeys(name for row in rows for name in row)
            return pa.table({str(name): _column([row.get(name) for row in rows]) for name in names})
    raise TypeError(f"it is of type {type(votes).__name__}")


def _from_pandas(frame: Any) -> pa.Table:
    """A data frame; an index that has names is columns too. Columns of several types become text."""
    if any(frame.index.names):
        frame = frame.reset_index()
    columns = {}
    for at, name in enumerate(frame.columns):
        column = frame.iloc[:, at]
        if str(name) in columns:
            raise ValueError(f"the column {str(name)!r} is there twice")
        columns[str(name)] = _column(column.tolist()) if column.dtype == object else pa.array(column, from_pandas=True)
    return pa.table(columns)


def _column(cells: list[Any]) -> pa.Array:
    cells = [None if cell is None or cell != cell or type(cell).__name__ == "NAType" else cell for cell in cells]
    try:
        return pa.array(cells)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return typed(cells)


def _plain(table: pa.Table) -> pa.Table:
    """The table with views of strings, as polars has them, as strings."""
    for at, field in enumerate(table.schema):
        if field.type == pa.string_view():
            table = table.set_column(at, field.name, table[field.name].cast(pa.string()))
    return table


def _from_dataset(dataset: Any) -> pa.Table:
    """A split of a dataset. A column of class labels has their names."""
    if isinstance(dataset, Mapping):
        raise TypeError(f"it has several splits ({', '.join(map(str, dataset))}): give one")
    table = dataset.with_format("arrow")[:] if hasattr(dataset, "__len__") else pa.Table.from_pylist(list(dataset))
    for name, feature in (dataset.features or {}).items():
        if names := getattr(feature, "names", None):
            codes = pc.if_else(pc.less(table[name], 0), None, table[name])  # -1 is no label
            table = table.set_column(
                table.column_names.index(name), name, pa.chunked_array([pa.array(names)]).take(codes)
            )
    return table


def hub_name(votes: str) -> str | None:
    """The address hf://org/name, also as a path keeps it; None for any other path."""
    return _HUB.sub("hf://", votes, count=1) if _HUB.match(votes) else None


def from_hub(address: str) -> pa.Table:
    """The dataset at hf://org/name?split=…&config=…&revision=… (split: train). Raises `VotesError`."""
    with extra("hub", what="a dataset on the Hub"):
        from datasets import load_dataset  # imported late: it takes most of a second

    parts = urlsplit(address)
    given = {name: values[0] for name, values in parse_qs(parts.query).items()}
    wrong = sorted(given.keys() - {"split", "config", "revision"})
    if wrong:
        raise VotesError(f"{address}: {wrong[0]!r} is unknown (allowed: split, config, revision)")
    name = f"{parts.netloc}{parts.path}".strip("/")
    try:
        found = load_dataset(
            name, name=given.get("config"), split=given.get("split", "train"), revision=given.get("revision")
        )
    except Exception as error:  # the library raises almost anything, from ValueError to requests' own errors
        raise VotesError(
            f"the dataset {address} cannot be read: {type(error).__name__}: {error}",
            hint="Check the id, ?config= and ?split=, the network, and for a private dataset the environment variable HF_TOKEN.",
        ) from error
    return as_table(found)
