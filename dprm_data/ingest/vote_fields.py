"""The fields of a vote or rating, and the names by which a table's columns are taken for them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

FIELDS = ("item_id", "annotator_id", "label", "weight", "replicate")
_ALSO_CALLED = {"item_id": ("item",), "annotator_id": ("rater_id", "annotator", "rater")}


def names_of(field: str) -> tuple[str, ...]:
    """The names of columns that are this field, the first that is there."""
    return (field, *_ALSO_CALLED.get(field, ()))


def column_of(field: str, columns: Collection[str], mapping: Mapping[str, str]) -> str | None:
    """The column of this field: the one that `mapping` (our field to the table's column) says, else by its name. None if it is not there."""
    wanted = (mapping[field],) if field in mapping else names_of(field)
    return next((name for name in wanted if name in columns), None)
