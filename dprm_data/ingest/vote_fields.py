"""The fields of a vote or rating, and the column names by which they are recognised."""

from __future__ import annotations

from collections.abc import Collection, Mapping

FIELDS = ("item_id", "annotator_id", "label", "weight", "replicate")
_ALSO_CALLED = {"item_id": ("item",), "annotator_id": ("rater_id", "annotator", "rater")}


def names_of(field: str) -> tuple[str, ...]:
    """The column names of this field; the first one found is used."""
    return (field, *_ALSO_CALLED.get(field, ()))


def column_of(field: str, columns: Collection[str], mapping: Mapping[str, str]) -> str | None:
    """The column of this field: from `mapping` (our field to the table's column), else by name. None if there is none."""
    wanted = (mapping[field],) if field in mapping else names_of(field)
    return next((name for name in wanted if name in columns), None)
