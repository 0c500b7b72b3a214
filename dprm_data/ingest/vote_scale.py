"""How a table numbers its labels: from 0, from 1, or by their names.

    1 … 7 on seven labels, and a 7 among them     from 1
    0 … 6 on seven labels, and a 0 among them     from 0
    2, 3 and 5 alone                              not known: the table is refused, and the message asks

A scale that was read once is stored with the distributions, so that the next table of the same people is read in the same way, whether or
not it has the lowest or highest label.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pyarrow as pa

from dprm_data.core.errors import VotesError
from dprm_data.ingest.column_values import distinct, value_type
from dprm_data.labels.space import LabelSpace


def whole(text: str) -> int | None:
    """The whole number that a text says; None for any other text. A decimal point (or comma) with nothing behind it but zeros is a whole number's."""
    text = text.strip()
    head, _, rest = text.partition("," if text.endswith((",0", ",00")) else ".")
    try:
        return int(head) if not rest.strip("0") else None
    except ValueError:
        return None


def found_base(
    column: pa.ChunkedArray, space: LabelSpace, path: Path | str, from_text: bool, *, sure: bool = False
) -> int | None:
    """The number of the lowest label, from the numbers in a column of labels; None where labels are named.

    from_text: the file has only text, so a text of digits may be a number. What is no label in either way of counting does not tell which it is.
    Raises `VotesError` if the numbers fit both ways of counting; `sure`: or neither.
    """
    if pa.types.is_nested(value_type(column)):  # no label at all: its reader says so
        return None
    values = distinct(column)
    named_by_numbers = any(whole(name) is not None for name in space.names)
    if named_by_numbers and not from_text and any(isinstance(value, str) for value in values):
        return None
    numbers = {number for value in values if (number := whole(_text(value))) is not None}
    if not numbers or _are_names(numbers, space):
        return None
    K = space.K
    numbers = {number for number in numbers if 0 <= number <= K}
    if not numbers:  # the cells that are no label are reported
        return 0
    lowest, highest = min(numbers), max(numbers)
    from_0, from_1 = highest < K, lowest >= 1
    if from_0 == from_1 and (from_0 or sure):
        seen = f"the number {lowest}" if lowest == highest else f"numbers from {lowest} to {highest}"
        fit = "may" if from_0 else "cannot all"
        raise VotesError(
            f"{path}: labels are {seen}; the space {space.name!r} has {K} labels, which {fit} be counted from 0 or from 1",
            hint=f"Say how they are counted: --base 0 (up to {K - 1}) or --base 1 (up to {K}); in Python: base=0 or base=1.",
        )
    return 1 if from_1 else 0  # if neither fits, the cells that are no label are reported


def could_be_label(column: pa.ChunkedArray, space: LabelSpace, missing: Collection[str]) -> float:
    """The share of a column's distinct values that are labels in some way of counting; 0 for a column without any, or of another type."""
    kind = value_type(column)
    if pa.types.is_nested(kind) or pa.types.is_temporal(kind) or pa.types.is_binary(kind):
        return 0.0
    values = [_text(value) for value in distinct(column)]
    found = [
        space.find(value) is not None or ((number := whole(value)) is not None and 0 <= number <= space.K)
        for value in values
        if value.strip() not in missing
    ]
    return sum(found) / len(found) if found else 0.0


def assumption(base: int, space: LabelSpace) -> str:
    """What was assumed of a table's numbers, for people to check."""
    return (
        f"labels are read as numbers from {base} ({base} is {space.names[0]!r}, {base + space.K - 1} is {space.names[-1]!r}): "
        f"{base * space.K} occurs, {(1 - base) * space.K} does not"
    )


def _text(value: object) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)


def _are_names(numbers: Collection[int], space: LabelSpace) -> bool:
    """Whether somebody named labels by these numbers. A plain scale (`--labels 7`) was named by nobody."""
    if space.is_plain:
        return False
    return all(space.find(str(number)) is not None for number in numbers)
