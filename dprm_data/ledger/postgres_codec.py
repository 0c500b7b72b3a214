"""How rows travel to PostgreSQL and back: whole columns as arrays, and texts in which a character may stand that PostgreSQL refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from dprm_data.ledger.store import Row

# PostgreSQL has no U+0000 in texts. It is kept as U+001A and "0", and U+001A itself, which nearly no text has, as U+001A and "1".
_MARK, _NUL = "\x1a", "\x00"

_TYPES = {
    "bytea": ("key", "logprobs", "plan", "item"),
    "bigint": (
        *("id", "attempt", "batch", "rows"),
        *("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "estimated"),
    ),
    "double precision": ("cost", "latency", "created_at", "reserved"),
}
_TYPE_OF = {name: kind for kind, names in _TYPES.items() for name in names}


def kept(text: str) -> str:
    """A text as PostgreSQL can keep it."""
    if _NUL in text or _MARK in text:
        return text.replace(_MARK, _MARK + "1").replace(_NUL, _MARK + "0")
    return text


def original(text: str) -> str:
    """The text that was kept."""
    if _MARK in text:
        return text.replace(_MARK + "0", _NUL).replace(_MARK + "1", _MARK)
    return text


def back(row: Row) -> Row:
    """A row as it was before it was kept."""
    return tuple(original(value) if isinstance(value, str) else value for value in row)


def type_of(names: Sequence[str], name: str) -> str:
    """A column's type. A failure's `status` is the number of HTTP, a call's is a word."""
    if name == "status":
        return "bigint" if "kind" in names else "text"
    return _TYPE_OF.get(name, "text")


def arrays(names: Sequence[str]) -> str:
    """Placeholders for whole columns."""
    return ", ".join(f"%b::{type_of(names, name)}[]" for name in names)


def columns(names: Sequence[str], rows: Iterable[Row]) -> list[list[Any]]:
    """Rows as whole columns, each of one type."""
    return [
        [None if value is None else convert(value) for value in column]
        for convert, column in zip(
            [_CONVERTERS[type_of(names, name)] for name in names], zip(*rows, strict=True), strict=True
        )
    ]


_CONVERTERS: dict[str, Callable[[Any], Any]] = {"bytea": bytes, "bigint": int, "double precision": float, "text": kept}
