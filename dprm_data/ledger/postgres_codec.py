"""Rows as PostgreSQL accepts them: whole columns as arrays, and texts without the one character that it refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from dprm_data.ledger.store import Row

# PostgreSQL refuses U+0000 in texts. It is stored as U+001A "0", and U+001A itself, which is rare, as U+001A "1".
_ESCAPE, _NUL = "\x1a", "\x00"

_TYPES = {
    "bytea": ("key", "logprobs", "plan", "item", "checksum"),
    "bigint": (
        *("id", "attempt", "batch", "rows"),
        *("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "estimated", "reasoning_tokens"),
    ),
    "double precision": ("cost", "latency", "created_at", "reserved", "held"),
}
_TYPE_OF = {name: kind for kind, names in _TYPES.items() for name in names}


def encode(text: str) -> str:
    """A text as PostgreSQL can store it."""
    if _NUL in text or _ESCAPE in text:
        return text.replace(_ESCAPE, _ESCAPE + "1").replace(_NUL, _ESCAPE + "0")
    return text


def decode(text: str) -> str:
    """The text that was encoded."""
    if _ESCAPE in text:
        return text.replace(_ESCAPE + "0", _NUL).replace(_ESCAPE + "1", _ESCAPE)
    return text


def decode_row(row: Row) -> Row:
    """A row with its texts decoded."""
    return tuple(decode(value) if isinstance(value, str) else value for value in row)


def column_type(names: Sequence[str], name: str) -> str:
    """The type of a column in a table with these columns. A failure's `status` is an HTTP number, a call's is a word."""
    if name == "status":
        return "bigint" if "kind" in names else "text"
    return _TYPE_OF.get(name, "text")


def array_placeholders(names: Sequence[str]) -> str:
    """Placeholders for whole columns."""
    return ", ".join(f"%b::{column_type(names, name)}[]" for name in names)


def to_columns(names: Sequence[str], rows: Iterable[Row]) -> list[list[Any]]:
    """Rows as whole columns, each of one type."""
    return [
        [None if value is None else convert(value) for value in column]
        for convert, column in zip(
            [_CONVERTERS[column_type(names, name)] for name in names], zip(*rows, strict=True), strict=True
        )
    ]


_CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "bytea": bytes,
    "bigint": int,
    "double precision": float,
    "text": encode,
}
