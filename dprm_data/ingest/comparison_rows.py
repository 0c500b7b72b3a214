"""People's comparisons: a table with a row per comparison of two responses to one prompt.

A row has the prompt and both responses, or the ids of two items that are there already, and the preference: a whole number, above 0 where the first is better (0: neither), or a word
(`first`, `second`, `tie`; `A`, `B`). A row that cannot be used is refused with its reason, and the others are read; a row without a preference is counted. Two responses to different prompts are
an error: the columns are not what they seem.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dprm_data.core.errors import VotesError
from dprm_data.ingest.column_values import cell
from dprm_data.ingest.columns import Shape, detect
from dprm_data.ingest.items import Item, Refused
from dprm_data.ingest.messages import BadRow
from dprm_data.ingest.rating_files import rating_rows
from dprm_data.ingest.sources import PEEK, Row, Rows
from dprm_data.ingest.vote_fields import names_of
from dprm_data.recipe.comparisons_config import ComparisonsConfig

_NAMES = {
    "first_item_id": ("first_item_id",),
    "second_item_id": ("second_item_id",),
    "first": ("first", "response_1", "response1", "response_a"),
    "second": ("second", "response_2", "response2", "response_b"),
    "annotator_id": names_of("annotator_id"),
    "preference": ("preference", "overall_preference"),
    "weight": ("weight",),
}
_TEXTS = ("first", "second")
_WORDS = {
    **dict.fromkeys(("first", "a", "response a", "left"), 1),
    **dict.fromkeys(("second", "b", "response b", "right"), -1),
    **dict.fromkeys(("tie", "same", "equal", "neither", "no preference"), 0),
}
_MOST = 3  # steps from a tie


@dataclass(frozen=True)
class Comparison:
    """One row: two items as they were shown, who compared them, and by how many steps the first is better. place: file and row."""

    first: str
    second: str
    group: str
    annotator: str
    preference: int
    weight: float
    replicate: int
    place: str


@dataclass
class ReadComparisons:
    """What was read. items: of rows with texts, by id; steps: of an answer; unanswered: rows without a preference; unknown: rows about items that are not there, refused: rows that cannot be
    used; named: whether the table says who compared."""

    rows: int = 0
    found: list[Comparison] = field(default_factory=list)
    items: dict[str, Item] = field(default_factory=dict)
    steps: int = 3
    unanswered: int = 0
    unknown: list[Refused] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    named: bool = False
    notes: list[str] = field(default_factory=list)


def read_comparisons(
    config: ComparisonsConfig, *, base: Path, known: Callable[[str], tuple[str, str] | None] | None
) -> ReadComparisons:
    """Read a recipe's comparisons. known: from an id to the id and the group of an item that is there; None if the table itself has the items.

    Raises `VotesError`, or `SourceError` for a table without the columns.
    """
    path = base / Path(config.path).expanduser()
    reader = _Reader(config, known, ReadComparisons())
    tables, reader.read.notes = rating_rows(path)
    for name, rows in tables:
        reader.file(name, rows)
    return reader.result(path)


@dataclass
class _Reader:
    config: ComparisonsConfig
    known: Callable[[str], tuple[str, str] | None] | None
    read: ReadComparisons
    turns: dict[tuple[str, str, str], int] = field(default_factory=dict)  # how often somebody compared these two so

    def file(self, name: str, rows: Rows) -> None:
        head = list(itertools.islice(rows, PEEK))
        columns = list(dict.fromkeys(column for _, row in head if not isinstance(row, str) for column in row))
        where = _where(columns, self.config, name) if columns else {}
        shape = self._shape(columns, where, name) if columns else None
        self.read.named = self.read.named or "annotator_id" in where
        for position, row in itertools.chain(head, rows):
            self.read.rows += 1
            place = f"{name}:{position}"
            try:
                if isinstance(row, str):
                    raise BadRow(row)
                self._row(row, place, where, shape)
            except BadRow as reason:
                self.read.refused.append(Refused(place, str(reason)))

    def _shape(self, columns: Sequence[str], where: Mapping[str, str], name: str) -> Shape | None:
        """How rows with texts are read; None for rows with ids."""
        if "first_item_id" in where and "second_item_id" in where and not set(_TEXTS) & set(self.config.columns):
            if self.known is None:
                raise VotesError(
                    f"{name}: the comparisons name responses by id, and the recipe has none",
                    hint="Give source: {path: ...} with the responses, or a table with the columns prompt, first and second.",
                )
            return None
        missing = next((field for field in _TEXTS if field not in where), None)
        if missing:
            raise VotesError(
                f"{name}: no column for {missing}, one of the two responses (found: {', '.join(columns)})",
                hint="Name the columns: comparisons: {columns: {prompt: ..., first: ..., second: ...}}, or of ids: {first_item_id: ..., second_item_id: ...}.",
            )
        given = {str(field): column for field, column in self.config.columns.items() if field in ("prompt", "system")}
        texts = [column for column in columns if column not in where.values()]
        mapped = {"chosen": where["first"], "rejected": where["second"]}
        return detect([*texts, *mapped.values()], given | mapped, [], name)

    def _row(self, row: Row, place: str, where: Mapping[str, str], shape: Shape | None) -> None:
        sides = self._sides(row, place, where, shape)
        cells = {name: cell(row.get(column)) for name, column in where.items()}
        if cells["preference"] is None:
            self.read.unanswered += 1
            return
        preference = preference_of(cells["preference"], where["preference"])
        if sides is None:
            return
        (first, group), (second, other) = sides
        if group != other:
            raise VotesError(
                f"{place}: the two responses are to different prompts ({first} and {second})",
                hint="A comparison is of two responses to one prompt. Check which columns hold them: comparisons: {columns: ...}.",
            )
        if first == second:
            raise BadRow("a response is compared with itself")
        who = cells.get("annotator_id")
        if who is None and "annotator_id" in where:
            raise BadRow(f"{where['annotator_id']} is empty: it does not say who compared")
        annotator = str(who) if who is not None else f"row {len(self.read.found) + 1}"
        key = (first, second, annotator)
        self.turns[key] = turn = self.turns.get(key, -1) + 1
        self.read.found.append(
            Comparison(
                first=first,
                second=second,
                group=group,
                annotator=annotator,
                preference=preference if self.config.positive == "first" else -preference,
                weight=_weight(cells.get("weight"), where.get("weight", "")),
                replicate=turn,
                place=place,
            )
        )

    def _sides(
        self, row: Row, place: str, where: Mapping[str, str], shape: Shape | None
    ) -> list[tuple[str, str]] | None:
        """Id and group of both responses; None if one is not there. Raises BadRow."""
        if shape is not None:
            items = [replace(item, role=None) for item in shape.items(row, place)]
            if self.known is None:
                for item in items:
                    self.read.items.setdefault(item.item_id, item)
                return [(item.item_id, item.group_id) for item in items]
            named = [item.item_id for item in items]
        else:
            cells = [(where[name], cell(row.get(where[name]))) for name in ("first_item_id", "second_item_id")]
            empty = next((column for column, cell in cells if cell is None), None)
            if empty:
                raise BadRow(f"{empty} is empty: it does not say which response was compared")
            named = [str(cell) for _, cell in cells]
        assert self.known is not None
        found = [self.known(id_) for id_ in named]
        sides = [side for side in found if side is not None]
        if len(sides) < len(found):
            unknown = next(id_ for id_, side in zip(named, found, strict=True) if side is None)
            self.read.unknown.append(Refused(place, f"no such response: {unknown}"))
            return None
        return sides

    def result(self, path: Path) -> ReadComparisons:
        read = self.read
        if not read.found:
            reasons = "".join(f"\n  {row.source}: {row.reason}" for row in [*read.refused, *read.unknown][:5])
            raise VotesError(
                f"{path}: no row has a comparison that can be used ({read.rows:,} rows: {read.unanswered:,} without a preference, "
                f"{len(read.unknown):,} of responses that are not there, {len(read.refused):,} refused){reasons}"
            )
        most = max(abs(each.preference) for each in read.found)
        needed = 2 * most + any(each.preference == 0 for each in read.found)
        read.steps = self.config.steps or next(
            steps for steps in (2, 3, 5, 7) if steps >= needed and steps // 2 >= most
        )
        allowed = read.steps // 2
        wrong = next(
            (x for x in read.found if abs(x.preference) > allowed or (x.preference == 0 and read.steps == 2)), None
        )
        if wrong:
            raise VotesError(
                f"{wrong.place}: a preference of {wrong.preference} does not fit comparisons.steps: {read.steps}",
                hint="Leave steps out, or give the number of possible answers: 2, 3 (with a tie), 5 or 7.",
            )
        return read


def _where(columns: Sequence[str], config: ComparisonsConfig, name: str) -> dict[str, str]:
    """Our field -> the table's column. Raises `VotesError` for a column that is not there."""
    where: dict[str, str] = {}
    for each, names in _NAMES.items():
        given = config.columns.get(each)  # type: ignore[call-overload]
        found = next((column for column in ((given,) if given else names) if column in columns), None)
        if found:
            where[each] = found
        elif given or each == "preference":
            raise VotesError(
                f"{name}: no column {given or each!r} for {each} (found: {', '.join(columns)})",
                hint=f"Name the column: comparisons: {{columns: {{{each}: NAME}}}}.",
            )
    return where


def preference_of(value: Any, column: str) -> int:
    """A preference, above 0 for the first. Raises BadRow."""
    if isinstance(value, str) and value.casefold() in _WORDS:
        return _WORDS[value.casefold()]
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if isinstance(value, bool) or number not in range(-_MOST, _MOST + 1):
        raise BadRow(
            f"{column}: found {value!r} (allowed: a whole number from -{_MOST} to {_MOST}; first, second, tie)"
        )
    return int(number)


def _weight(value: Any, column: str) -> float:
    """A weight, 1 where there is none. Raises BadRow."""
    if value is None:
        return 1.0
    try:
        weight = float(value)
    except (TypeError, ValueError):
        weight = -1.0
    if not 0 <= weight < float("inf"):
        raise BadRow(f"{column}: found {value!r} (allowed: a finite number, not negative)")
    return weight
