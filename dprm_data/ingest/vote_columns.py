"""Columns of a table of votes as arrays: ids, labels and weights. Cells that cannot be used are added to the faults."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dprm_data.core.arrays import Floats, Ints
from dprm_data.core.errors import VotesError
from dprm_data.ingest.column_values import by_value, decoded, is_text, value_type
from dprm_data.ingest.faults import Faults, rows_where
from dprm_data.ingest.vote_scale import whole
from dprm_data.labels.space import LabelSpace


def ids_column(column: pa.ChunkedArray, field: str, path: Path | str, faults: Faults) -> pa.ChunkedArray:
    """The ids as text, perhaps dictionary-encoded; missing ones are faults and become empty. Raises VotesError for a type that is no id."""
    if not is_text(value_type(column)):
        column = as_text(column, field, path)
    if column.null_count:
        missing = rows_where(pc.is_null(column).to_numpy())
        faults.add_rows(path, missing, field, lambda row: ("found nothing (allowed: an id)", None))
        column = pc.fill_null(pc.cast(column, pa.string()), "")
    return column


def as_text(column: pa.ChunkedArray, field: str, path: Path | str) -> pa.ChunkedArray:
    """A column of any plain type as text."""
    try:
        column = decoded(column)
        return pc.cast(column, pa.string())
    except pa.ArrowException as error:
        raise VotesError(
            f"{path}: column {field!r} is of type {column.type} (allowed: text or whole numbers)"
        ) from error


def label_indices(
    column: pa.ChunkedArray,
    space: LabelSpace,
    path: Path | str,
    name: str,
    base: int | None,
    from_text: bool,
    faults: Faults,
) -> Ints:
    """Indices into the space's labels; -1 for a cell that is none, which is a fault. Raises VotesError for a type that cannot be a label.

    base: the number of the lowest label; None if numbers, too, are names.
    """
    K = space.K
    column = decoded(column)
    kind = column.type
    if pa.types.is_null(kind):
        codes = np.full(len(column), -1, dtype=np.int64)
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or (pa.types.is_boolean(kind) and K == 2):
        codes = _from_numbers(column, K, base) if base is not None else _from_names(column, space)
    elif is_text(kind):
        codes = _from_text(column, space, base, from_text)
    else:
        raise VotesError(f"{path}: column {name!r} is of type {kind} (allowed: whole numbers or names of labels)")
    names = f"{', '.join(space.names[:12])}{', …' if K > 12 else ''}"
    if base is not None:
        names = f"{base} to {base + K - 1}, or a name: {names}"

    def describe(row: int) -> tuple[str, str | None]:
        value = column[row].as_py()
        shifted = base == 0 and (value == K or (isinstance(value, str) and value.strip() == str(K)))
        hint = "Labels are numbered from 0; if yours start at 1, use --base 1 (in Python: base=1)." if shifted else None
        return f"found {value!r} (allowed: {names})", hint

    faults.add_rows(path, rows_where(codes < 0), name, describe, of_label=True)
    return codes


def _from_numbers(column: pa.ChunkedArray, K: int, base: int) -> Ints:
    there = pc.is_valid(column).to_numpy()
    if pa.types.is_boolean(column.type):
        column = pc.cast(column, pa.int8())
    values = pc.fill_null(column, pa.scalar(0, column.type)).to_numpy()
    with np.errstate(invalid="ignore"):
        fits = there & (values >= base) & (values <= base + K - 1) & (values == np.floor(values))
    codes = np.full(len(values), -1, dtype=np.int64)
    codes[fits] = values[fits].astype(np.int64) - base
    return codes


def _from_names(column: pa.ChunkedArray, space: LabelSpace) -> Ints:
    """Numbers that are names of labels."""

    def code_of(value: int | float) -> int:
        number = whole(str(value))
        code = None if number is None else space.find(str(number))
        return -1 if code is None else code

    return by_value(column, code_of, -1, np.int64)


def _from_text(column: pa.ChunkedArray, space: LabelSpace, base: int | None, from_text: bool) -> Ints:
    """Names or words to indices; -1 for anything else."""
    # In a text file a number is an index. In a Parquet column of text, "3" is a label's name if labels have such names.
    indices = base is not None and (from_text or all(whole(label) is None for label in space.names))

    def code_of(text: str) -> int:
        value = text.strip()
        number = whole(value)
        code = None if from_text and number is not None and base is not None else space.find(value)
        if code is None and number is not None and base is not None and indices and 0 <= number - base < space.K:
            code = number - base
        return -1 if code is None else code

    return by_value(column, code_of, -1, np.int64)


def weights_column(table: pa.Table, path: Path | str, name: str, from_text: bool, faults: Faults) -> Floats:
    """The weights, 1 where there is no such column. What is no weight is a fault. Raises VotesError for a column without numbers.

    from_text: the file has only text, so a text may be a number, with a decimal point or comma.
    """
    if "weight" not in table.column_names:
        return np.ones(table.num_rows)
    column = decoded(table["weight"])
    if from_text and is_text(column.type):
        weights = _numbers(column)
    elif pa.types.is_floating(column.type) or pa.types.is_integer(column.type):
        weights = np.asarray(pc.cast(column, pa.float64(), safe=False).to_numpy())  # nulls become NaN
    else:
        raise VotesError(f"{path}: column {name!r} is of type {column.type} (allowed: numbers that are not negative)")
    wrong = rows_where(~np.isfinite(weights) | (weights < 0))
    faults.add_rows(
        path, wrong, name, lambda row: (f"found {column[row].as_py()!r} (allowed: a finite number, not negative)", None)
    )
    return weights


def _numbers(column: pa.ChunkedArray) -> Floats:
    """Texts as numbers, NaN for what is none. A comma is a decimal one: a table with thousands in its weights is none."""
    pointed = pc.replace_substring(pc.utf8_trim_whitespace(column), ",", ".")
    try:
        return np.asarray(pc.cast(pointed, pa.float64()).to_numpy())
    except pa.ArrowInvalid:
        return by_value(pointed, _number, np.nan, np.float64)


def _number(text: str) -> float:
    try:
        return np.nan if "_" in text else float(text)
    except ValueError:
        return np.nan
