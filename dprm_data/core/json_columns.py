"""Typed columns of a table's JSON objects: what a source's other columns are where they leave the project.

A column's type is what all its values have in common: booleans, whole numbers, numbers, text, lists and objects, found by Arrow. Where they
have nothing in common, it is text, and what is no text stands in it as JSON. `times` names the columns that hold dates or times, as
ISO 8601; `from_text`: the source knows only text (CSV), so a column of whole numbers or numbers, written as Python writes them, is one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from math import isfinite
from typing import Any

import orjson
import pyarrow as pa

_MOST_COLUMNS = 500  # more are names of rows rather than of columns
_MOST_FIELDS = 200  # of an object, at any depth
_MOST_LEVELS = 20  # Arrow reads no file of more than 100
_CHUNK = 10_000
_TIMES: dict[str, pa.DataType] = {"date": pa.date32(), "timestamp": pa.timestamp("us")}
_AWARE = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True)
class JsonColumns:
    """The columns of JSON objects and their types; none if there are too many to be columns."""

    types: dict[str, pa.DataType]
    times: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls, texts: Iterable[str | None], times: Mapping[str, str] | None = None, *, from_text: bool = False
    ) -> JsonColumns:
        """Read all objects once to find the types. Memory stays flat."""
        found, chunk = _Types(times or {}, from_text), []
        for text in texts:
            chunk.append(text)
            if len(chunk) == _CHUNK:
                found.take(chunk)
                chunk = []
        found.take(chunk)
        return cls(found.settled(), times or {})

    def arrays(self, texts: Iterable[str | None]) -> dict[str, pa.Array]:
        """The columns of these objects; null where one lacks it."""
        rows = [orjson.loads(text) if text else {} for text in texts]
        return {name: _array([row.get(name) for row in rows], kind) for name, kind in self.types.items()}

    @property
    def struct_type(self) -> pa.DataType:
        """The type of all columns as one; text (JSON) where there is none."""
        return pa.struct(list(self.types.items())) if self.types else pa.string()

    def struct(self, texts: pa.ChunkedArray) -> pa.Array:
        """These objects as one column of `struct_type`."""
        if not self.types:
            return texts.combine_chunks()
        arrays = self.arrays(texts.to_pylist())
        return pa.StructArray.from_arrays(list(arrays.values()), fields=list(self.struct_type))


def json_texts(column: pa.ChunkedArray) -> pa.Array:
    """A column of objects as JSON: the inverse of `JsonColumns.struct`."""
    return pa.array(
        [None if row is None else orjson.dumps(row, default=str).decode() for row in column.to_pylist()], pa.string()
    )


class _Types:
    def __init__(self, times: Mapping[str, str], from_text: bool) -> None:
        self._times, self._from_text = times, from_text
        self._types: dict[str, pa.DataType] = {}
        self._too_many = False

    def take(self, texts: list[str | None]) -> None:
        columns: dict[str, list[Any]] = {}
        for text in texts:
            for name, value in (orjson.loads(text) if text else {}).items():
                columns.setdefault(name, []).append(value)
        self._too_many = self._too_many or len(self._types | columns) > _MOST_COLUMNS
        if not self._too_many:
            for name, values in columns.items():
                self._types[name] = _common(self._types.get(name, pa.null()), self._type(name, values))

    def _type(self, name: str, values: list[Any]) -> pa.DataType:
        if name in self._times:
            return _time_type(values, self._times[name])
        if self._from_text:
            return _type_of_texts(values)
        return _type_of(values)

    def settled(self) -> dict[str, pa.DataType]:
        return {} if self._too_many else {name: _settled(kind) for name, kind in self._types.items()}


def _type_of(values: list[Any]) -> pa.DataType:
    try:
        return pa.array(values).type
    except (pa.ArrowException, OverflowError):
        return pa.string()


def _type_of_texts(values: list[Any]) -> pa.DataType:
    present = [value for value in values if value not in (None, "")]
    try:
        numbers = [_number(value) for value in present]
    except ValueError:
        return pa.string()
    return _type_of(numbers) if numbers else pa.null()


def _number(text: Any) -> int | float:
    """The number that Python writes like this, so that nothing is lost: 007 is a text. Raises ValueError if there is none."""
    for read in (int, float):
        with suppress(ValueError):
            if isinstance(text, str) and str(read(text)) == text and isfinite(read(text)):
                return read(text)
    raise ValueError(text)


def _time_type(values: list[Any], kind: str) -> pa.DataType:
    try:
        read = [_time(value, kind) for value in values if value is not None]
    except (TypeError, ValueError):
        return pa.string()
    aware = kind == "timestamp" and any(value.tzinfo for value in read)
    return _AWARE if aware else _TIMES.get(kind, pa.string())


def _time(text: Any, kind: str) -> Any:
    return date.fromisoformat(text) if kind == "date" else datetime.fromisoformat(text)


def _common(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """The type that holds the values of both."""
    schemas = [pa.schema([("column", kind)]) for kind in (one, other)]
    try:
        return pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    except pa.ArrowException:
        return pa.string()


def _settled(kind: pa.DataType) -> pa.DataType:
    """The type as a file can hold it: no column of nulls, no object without fields, none with very many."""
    fields = _fields(kind)
    return pa.string() if fields is None or fields > _MOST_FIELDS else _without_nulls(kind)


def _fields(kind: pa.DataType, level: int = 0) -> int | None:
    """The number of fields at any depth; None if an object has none, or it is nested too deeply."""
    if level > _MOST_LEVELS:
        return None
    if pa.types.is_list(kind):
        return _fields(kind.value_type, level + 1)
    if not pa.types.is_struct(kind):
        return 1
    inner = [_fields(part.type, level + 1) for part in kind]
    return None if not inner or None in inner else sum(count for count in inner if count is not None)


def _without_nulls(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_null(kind):
        return pa.string()
    if pa.types.is_list(kind):
        return pa.list_(_without_nulls(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(part.name, _without_nulls(part.type)) for part in kind])
    return kind


def _array(values: list[Any], kind: pa.DataType) -> pa.Array:
    return pa.array([_value(value, kind) for value in values], kind)


def _value(value: Any, kind: pa.DataType) -> Any:
    """A value of JSON as this type takes it."""
    if value is None:
        return None
    if pa.types.is_string(kind):
        return value if isinstance(value, str) else orjson.dumps(value).decode()
    if pa.types.is_list(kind):
        return [_value(inner, kind.value_type) for inner in value]
    if pa.types.is_struct(kind):
        return {part.name: _value(value.get(part.name), part.type) for part in kind}
    if pa.types.is_floating(kind) or pa.types.is_integer(kind):
        return None if value == "" else float(value) if pa.types.is_floating(kind) else int(value)
    if pa.types.is_date(kind):
        return date.fromisoformat(value)
    if not pa.types.is_timestamp(kind):
        return value
    read = datetime.fromisoformat(value)
    return read.astimezone(UTC) if kind.tz and read.tzinfo else read
