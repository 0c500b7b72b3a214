"""The values of an Arrow column, however they are encoded, and of a row's cell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import DTypeLike


def cell(value: Any) -> Any:
    """The value of a row's cell; None for one in which there is nothing."""
    if isinstance(value, str):
        return value.strip() or None
    return None if isinstance(value, float) and value != value else value


def is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def value_type(column: pa.ChunkedArray) -> pa.DataType:
    return column.type.value_type if pa.types.is_dictionary(column.type) else column.type


def decoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column without a dictionary."""
    return pc.cast(column, column.type.value_type) if pa.types.is_dictionary(column.type) else column


def distinct(column: pa.ChunkedArray) -> list[Any]:
    """The different values, without null."""
    return [value for value in pc.unique(decoded(column)).to_pylist() if value is not None]


def by_value(column: pa.ChunkedArray, of: Callable[[Any], float], missing: float, dtype: DTypeLike) -> np.ndarray:
    """The result of `of` for every cell, computed once for each different value; `missing` for null."""
    if len(column) == 0:
        return np.zeros(0, dtype)
    encoded = pc.dictionary_encode(column).unify_dictionaries().combine_chunks()
    said = np.array([*map(of, encoded.dictionary.to_pylist()), missing], dtype)
    return np.asarray(said[pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)])
