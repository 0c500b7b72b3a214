"""The shape of a table of votes: long (a row per vote), or wide (a column per rater, or per item), which becomes long.

A table with a column of labels is long. Without one, columns that are numbered (r1, r2, …) and hold labels are taken for raters where every row is
an item, and for items where every row is a rater. Everything else is asked about: columns of aspects (helpfulness, harmlessness) look just like raters.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dprm_data.core.errors import VotesError
from dprm_data.ingest.column_values import decoded
from dprm_data.ingest.faults import Places
from dprm_data.ingest.table_files import Cells, Table
from dprm_data.ingest.vote_fields import FIELDS, column_of
from dprm_data.ingest.vote_scale import could_be_label
from dprm_data.labels.space import LabelSpace

_NUMBERED = re.compile(r"(.*?)[\s_.\-]*\d+")
_SHOWN = 12


@dataclass(frozen=True)
class Shape:
    """Where a table has what: our field -> its column, and of a wide table the columns of ratings and what each of them is."""

    where: dict[str, str]
    ratings: tuple[str, ...] = ()
    each: Literal["rater", "item"] | None = None
    found: bool = False  # not named by anybody

    @property
    def columns(self) -> list[str]:
        """All columns to be read."""
        return [*self.where.values(), *self.ratings]

    def said(self, table: Table) -> str:
        """What was assumed of a wide table."""
        unread = [name for name in table.names if name not in self.columns]
        aside = f"; not read: {_listed(unread)}" if unread else ""
        return f"{table.source} is wide, a column per {self.each}: {_listed(self.ratings)} ({len(self.ratings)} columns){aside}"


def shape_of(
    table: Table,
    mapping: Mapping[str, str],
    raters: Sequence[str],
    items: Sequence[str],
    space: LabelSpace,
    missing: Collection[str],
) -> Shape:
    """The shape of a table. mapping: our field -> the table's column; raters, items: the columns that are each one rater's or item's, or patterns.

    Raises `VotesError` if a column is missing, or if the shape is not known and has to be said.
    """
    where = _where(table, mapping)
    if raters and items:
        raise VotesError("columns are raters' or items', not both", hint="Give rater_columns or item_columns.")
    if raters or items:
        return _named_wide(table, where, "rater" if raters else "item", raters or items)
    if "label" in where or len(where.keys() & {"item_id", "annotator_id"}) == 2:
        return Shape(_with(where, table, "item_id", "label"))
    return _found_wide(table, where, space, missing) or Shape(_with(where, table, "item_id", "label"))


def _where(table: Table, mapping: Mapping[str, str]) -> dict[str, str]:
    """Our field -> the table's column, for the fields that it has."""
    where: dict[str, str] = {}
    for field in FIELDS:
        found = column_of(field, table.names, mapping)
        if found and table.names.count(found) > 1:
            raise VotesError(
                f"{table.source}: the column {found!r} is there twice", hint="Rename or remove one of them."
            )
        if found:
            where[field] = found
        elif field in mapping:
            raise _no_column(table, field, mapping[field])
    return where


def _with(where: dict[str, str], table: Table, *fields: str) -> dict[str, str]:
    lacking = next((field for field in fields if field not in where), None)
    if lacking:
        raise _no_column(table, lacking, lacking)
    return where


def _no_column(table: Table, field: str, name: str) -> VotesError:
    wide = (
        " If every column is one rater's, or one item's: --rater-columns or --item-columns." if field == "label" else ""
    )
    return VotesError(
        f"{table.source}: no column {name!r} for {field} (found: {', '.join(table.names)})",
        hint=f"Name the column: --column {field}=NAME (in Python: columns={{{field!r}: NAME}}).{wide}",
    )


# -- wide ---------------------------------------------------------------------------------------------------------------


def _named_wide(table: Table, where: dict[str, str], each: Literal["rater", "item"], wanted: Sequence[str]) -> Shape:
    columns: dict[str, None] = {}
    for pattern in wanted:
        found = [pattern] if pattern in table.names else [name for name in table.names if fnmatchcase(name, pattern)]
        if not found:
            raise VotesError(f"{table.source}: no column {pattern!r} (found: {', '.join(table.names)})")
        columns |= dict.fromkeys(found)
    twice = next((name for name in columns if table.names.count(name) > 1), None)
    if twice:
        raise VotesError(f"{table.source}: the column {twice!r} is there twice", hint="Rename or remove one of them.")
    rows = {
        field: name for field, name in where.items() if name not in columns and field not in ("label", f"{_ID[each]}")
    }
    return Shape(_with(rows, table, "item_id") if each == "rater" else rows, tuple(columns), each)


_ID = {"rater": "annotator_id", "item": "item_id"}


def _found_wide(table: Table, where: dict[str, str], space: LabelSpace, missing: Collection[str]) -> Shape | None:
    """The shape of a table without labels; None if it has no columns that may be ratings. Raises `VotesError` if somebody has to say it."""
    rest = [name for name in table.names if name not in where.values() and table.names.count(name) == 1]
    read, _ = table.read(rest, Cells(text=rest, missing=missing))
    shares = {name: could_be_label(read[name], space, missing) for name in rest}
    rated = [name for name in rest if shares[name] > 0]
    if len(rated) < 2:
        return None
    each: Literal["rater", "item"] = "item" if "annotator_id" in where else "rater"
    series = _series(rated)
    if len(series) == 1 and where.keys() & {"item_id", "annotator_id"}:
        return Shape(where, series[0], each, found=True)
    if each == "item" and not series and all(shares[name] in (0, 1) for name in rest):
        return Shape(where, tuple(rated), each, found=True)
    raise _ask(table, where, series[0] if series else rated)


def _series(names: Sequence[str]) -> list[tuple[str, ...]]:
    """The names that are numbered, by what stands before the number."""
    series: dict[str, list[str]] = defaultdict(list)
    for name in names:
        if matched := _NUMBERED.fullmatch(name):
            series[matched[1]].append(name)
    return [tuple(members) for members in series.values() if len(members) > 1]


def _ask(table: Table, where: Mapping[str, str], columns: Sequence[str]) -> VotesError:
    stem = _NUMBERED.fullmatch(columns[0])
    pattern = f"{stem[1]}*" if stem and stem[1] else ""
    matched = [name for name in table.names if pattern and fnmatchcase(name, pattern)]
    shown = [repr(pattern)] if matched == list(columns) else [_quoted(name) for name in columns[:_SHOWN]]
    other = next((name for name in table.names if name not in columns), "NAME")

    def options(option: str, field: str) -> str:
        named = "" if field in where else f" --column {field}={_quoted(other)}"
        return " ".join(f"--{option} {name}" for name in shown) + named

    return VotesError(
        f"{table.source}: no column of labels, and it is not known what each column is (found: {', '.join(table.names)})",
        hint=f"Is every column a rater, and every row an item? {options('rater-columns', 'item_id')}\n"
        f"Is every column an item, and every row a rater? {options('item-columns', 'annotator_id')}\n"
        "Is every row one vote? --column label=NAME",
    )


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"[\w.-]+", name) else repr(name)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= _SHOWN else f"{', '.join(names[: _SHOWN - 2])}, … {names[-1]}"


def as_long(
    read: pa.Table, shape: Shape, rows: np.ndarray | None, source: Path | str
) -> tuple[pa.Table, Places | None]:
    """A table with the columns of `shape` as one vote per row, under our names, and where each vote stood (None: where it stands)."""
    if shape.each is None:
        return read.rename_columns(list(shape.where)), None if rows is None else Places(rows)
    N, R = read.num_rows, len(shape.ratings)
    numbers = np.arange(N) if rows is None else rows
    again = np.tile(np.arange(N), R)
    long = {field: read[name].combine_chunks().take(pa.array(again)) for field, name in shape.where.items()}
    names, cells = pa.array(shape.ratings, pa.string()), np.repeat(np.arange(R), N)
    long[_ID[shape.each]] = pa.DictionaryArray.from_arrays(pa.array(cells, pa.int32()), names)
    if "annotator_id" not in long:
        long["annotator_id"] = pa.array([f"row {number + 1}" for number in numbers.tolist()], pa.string()).take(
            pa.array(again)
        )
    long["label"] = _stacked([read[name] for name in shape.ratings], source)
    return pa.table(long), Places(np.tile(numbers, R), cells, shape.ratings)


def _stacked(columns: Sequence[pa.ChunkedArray], source: Path | str) -> pa.ChunkedArray:
    """Columns of ratings, one after the other: of numbers if all are, else of text."""
    plain = [decoded(column) for column in columns]
    kinds = {column.type for column in plain if not pa.types.is_null(column.type)}
    if len(kinds) > 1:
        number = all(pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in kinds)
        kinds = {pa.float64() if number else pa.string()}
    kind = next(iter(kinds), pa.null())
    try:
        return pa.chunked_array([chunk for column in plain for chunk in pc.cast(column, kind).chunks], kind)
    except pa.ArrowException as error:
        raise VotesError(f"{source}: the columns of ratings are of types that do not go together: {error}") from error
