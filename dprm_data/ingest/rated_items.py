"""People's ratings together with what they rated: a table with a row per rating.

A row has the prompt and the response, in the columns by which a source has them (`columns.py`), or the id of an item that is there already. The items are
the distinct prompts and responses. An id column of the table's own, if it has one, says which ratings are of one item, so that two items with the
same texts are two for the question whether somebody judged twice.

A row that cannot be used is refused with its reason, and the others are read. A row without a rating is a missing vote: it is counted.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dprm_data.core.arrays import Ints
from dprm_data.core.errors import SourceError, VotesError
from dprm_data.ingest.column_values import cell
from dprm_data.ingest.columns import Shape, detect
from dprm_data.ingest.faults import Faults
from dprm_data.ingest.items import Item, Refused
from dprm_data.ingest.messages import BadRow
from dprm_data.ingest.rating_files import rating_rows
from dprm_data.ingest.ratings import Ratings
from dprm_data.ingest.sources import PEEK, Row, Rows, object_rows
from dprm_data.ingest.vote_columns import label_indices
from dprm_data.ingest.vote_fields import FIELDS, column_of
from dprm_data.ingest.vote_scale import found_base
from dprm_data.ingest.vote_tables import deduplicated
from dprm_data.labels.space import LabelSpace
from dprm_data.recipe.people_config import RatingsConfig

_TEXT = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz")  # files in which a number is a text
UNNAMED = "unnamed"  # an item's n-th rater, where the table does not say who rated


@dataclass(frozen=True)
class RatedItems:
    """What was read. items: distinct, in the order in which they are first rated (empty if they were known before); attributes: what the table says of each
    annotator. rows: all; unrated: those without a rating; unknown: ratings of items that are not there; named: whether the table says who rated."""

    items: list[Item]
    ratings: Ratings
    attributes: dict[str, dict[str, Any]]
    refused: list[Refused]
    rows: int
    unrated: int
    unknown: int
    named: bool
    shapes: dict[str, str]
    notes: list[str] = field(default_factory=list)  # assumptions made to read the file, for the user to check


def read_rated_items(
    config: RatingsConfig,
    space: LabelSpace,
    *,
    base: Path,
    rows: Any = None,
    known: Callable[[str, str], str | None] | None = None,
) -> RatedItems:
    """Read a recipe's ratings. Labels, base and duplicates are read as `read_votes` reads them.

    rows: rows of Python in place of `config.path`, which is relative to `base`. known: from a column of ids and an id in it to the id of an item that is there
    already; None if the table itself has the items. Raises `VotesError`, or `SourceError` for a table without the columns.
    """
    if rows is None and config.path is None:
        raise VotesError("the recipe has no ratings", hint="Give ratings: {path: ...}, or rows from Python.")
    path = Path("rows") if config.path is None else base / Path(config.path).expanduser()
    reader = _Reader(config, known)
    tables, notes = (iter([("row", object_rows(rows))]), []) if rows is not None else rating_rows(path)
    for name, found in tables:
        reader.read(name, found)
    if not reader.rows:
        raise VotesError(f"{path}: no ratings: the table has no rows")
    return replace(reader.result(space, path), notes=[*notes, *reader.notes])


@dataclass
class _Reader:
    config: RatingsConfig
    known: Callable[[str, str], str | None] | None
    rows: int = 0
    unrated: int = 0
    unknown: int = 0
    named: bool = False
    refused: list[Refused] = field(default_factory=list)
    items: dict[str, Item] = field(default_factory=dict)  # by id
    shapes: dict[str, str] = field(default_factory=dict)
    attributes: dict[str, dict[str, Any]] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)  # of each rating: what the table calls the item, if it has ids
    item_ids: list[str] = field(default_factory=list)
    annotators: list[str] = field(default_factory=list)
    labels: list[Any] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    replicates: list[str] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    first: dict[str, tuple[str, str]] = field(
        default_factory=dict
    )  # by the table's own id: the item, and where it was first

    def read(self, name: str, rows: Rows) -> None:
        """The rows of one file."""
        head = list(itertools.islice(rows, PEEK))
        columns = list(dict.fromkeys(column for _, row in head if not isinstance(row, str) for column in row))
        if columns:
            where = _where(columns, self.config, name)
            self.named = self.named or "annotator_id" in where
            shape = self._shape(columns, where, name)
            if "annotator_id" not in where:
                self.notes += self._nobody_named(columns, where, shape, name)
        for position, row in itertools.chain(head, rows):
            self.rows += 1
            place = f"{name}:{position}"
            try:
                if isinstance(row, str):
                    raise BadRow(row)
                self._row(row, place, where, shape)
            except BadRow as reason:
                self.refused.append(Refused(place, str(reason)))

    def _shape(self, columns: Sequence[str], where: Mapping[str, str], name: str) -> Shape | None:
        if self.known and "item_id" in where and not self.config.text_columns:
            return None
        kept = list(dict.fromkeys([*([where["item_id"]] if "item_id" in where else []), *self.config.keep]))
        texts = [column for column in columns if column not in where.values()]
        try:
            shape = detect([*texts, *kept], self.config.text_columns, kept, name)
        except SourceError as error:
            hint = (
                f"Columns found: {', '.join(columns)}. Name them: ratings: {{columns: {{prompt: ..., response: ...}}}}."
            )
            raise VotesError(error.message, hint=hint) from error
        if shape.kind not in ("prompt and response", "conversations"):
            raise VotesError(
                f"{name}: the columns hold {shape.kind}; a rating is of one response",
                hint="Say which columns hold it: ratings: {columns: {prompt: ..., response: ...}}.",
            )
        self.shapes[name] = f"ratings of {shape.description}"
        return shape

    def _nobody_named(
        self, columns: Sequence[str], where: Mapping[str, str], shape: Shape | None, name: str
    ) -> list[str]:
        """That nobody is told apart from anybody, if a column is there that may say who rated."""
        used = {*where.values(), *self.config.attributes, *self.config.keep, *(shape.columns.values() if shape else ())}
        unused = [column for column in columns if column not in used]
        if not unused:
            return []
        example = f"ratings: {{columns: {{annotator_id: {unused[0]}}}}}"
        return [
            f"{name}: no column is known to say who rated; if one of {', '.join(unused[:8])} does, name it: {example}"
        ]

    def _row(self, row: Row, place: str, where: Mapping[str, str], shape: Shape | None) -> None:
        cells = {name: cell(row.get(column)) for name, column in where.items()}
        item_id = self._item(row, cells, place, where, shape)
        if cells["label"] is None:
            self.unrated += 1
            return
        if item_id is None:
            self.unknown += 1
            return
        who = cells.get("annotator_id")
        if who is None and "annotator_id" in where:
            raise BadRow(f"{where['annotator_id']} is empty: it does not say who rated")
        weight = _weight(cells["weight"], where["weight"]) if "weight" in where else 1.0
        self.keys.append(str(cells.get("item_id") or item_id))
        self.item_ids.append(item_id)
        self.annotators.append(str(who))
        self.labels.append(cells["label"])
        self.weights.append(weight)
        self.replicates.append(str(cells.get("replicate") or ""))
        self.places.append(place)
        known = self.attributes.setdefault(str(who), {})
        for name in self.config.attributes:
            if (value := cell(row.get(name))) is not None:
                known.setdefault(name, value)

    def _item(
        self, row: Row, cells: Mapping[str, Any], place: str, where: Mapping[str, str], shape: Shape | None
    ) -> str | None:
        """The id of the item that the row rates; None if it is not there. Raises BadRow."""
        own = cells.get("item_id")
        if shape is None:
            if own is None:
                raise BadRow(f"{where['item_id']} is empty: it does not say which item was rated")
            assert self.known is not None
            return self.known(where["item_id"], str(own))
        [item] = shape.items(row, place)
        if own is not None:
            first, there = self.first.setdefault(str(own), (item.item_id, place))
            if first != item.item_id:
                raise BadRow(f"{where['item_id']} {own!r} has another prompt or response than in {there}")
        if self.known is not None:
            return self.known("", item.item_id)
        self.items.setdefault(item.item_id, item)
        return item.item_id

    def result(self, space: LabelSpace, path: Path) -> RatedItems:
        column, from_text = _label_column(self.labels, path)
        name = self.config.columns.get("label", "label")
        base = self.config.base if self.config.base is not None else found_base(column, space, path, from_text)
        labels = label_indices(column, space, path, name, base, from_text, Faults(VotesError))
        allowed = ", ".join(space.names[:12]) + (f"; or {base} to {base + space.K - 1}" if base is not None else "")
        self.refused += [
            Refused(self.places[row], f"{name}: found {self.labels[row]!r} (allowed: {allowed})")
            for row in np.flatnonzero(labels < 0).tolist()
        ]
        rows = np.flatnonzero(labels >= 0)
        if not len(rows):
            reasons = "".join(f"\n  {row.source}: {row.reason}" for row in self.refused[:5])
            raise VotesError(f"{path}: no row has a rating that can be used ({self._counted()}){reasons}")
        read = self._ratings(space, base, labels, rows)
        return RatedItems(
            items=list(self.items.values()),
            ratings=read,
            attributes=self.attributes,
            refused=self.refused,
            rows=self.rows,
            unrated=self.unrated,
            unknown=self.unknown,
            named=self.named,
            shapes=self.shapes,
        )

    def _counted(self) -> str:
        return f"{self.rows:,} rows: {self.unrated:,} without a rating, {self.unknown:,} of items that are not there, {len(self.refused):,} refused"

    def _ratings(self, space: LabelSpace, base: int | None, labels: Ints, rows: Ints) -> Ratings:
        """The ratings in these rows, of the items by content. Somebody's ratings of one item are numbered as replicates."""
        keys, key = _codes(self.keys)
        names, people = _codes(self.annotators) if self.named else ([], np.zeros(0, dtype=np.int64))
        _, rounds = _codes(self.replicates)
        weights = np.array(self.weights)
        read = Ratings(keys, names, space.K, key, people, labels, weights, rounds, base).take(rows)
        once = deduplicated(read, self.config.duplicates, lambda row: f"ratings: {self.places[int(rows[row])]}")
        ids, of_row = _codes(self.item_ids)
        of_key = np.zeros(len(keys), dtype=np.int64)
        of_key[key] = of_row
        item = of_key[once.item]
        if self.named:
            turn = _turns(item * len(names) + once.annotator)
            return Ratings(ids, names, space.K, item, once.annotator, once.label, once.weight, turn, base)
        slot = _turns(item)
        slots = [f"{UNNAMED}-{i + 1}" for i in range(int(slot.max()) + 1)]
        return Ratings(ids, slots, space.K, item, slot, once.label, once.weight, np.zeros_like(slot), base)


def _where(columns: Sequence[str], config: RatingsConfig, name: str) -> dict[str, str]:
    """Our field -> the table's column, for what is said of a rating. Raises `VotesError` for a column that is not there."""
    where: dict[str, str] = {}
    given = {str(field): column for field, column in config.columns.items() if column}
    for each in FIELDS:
        found = column_of(each, columns, given)
        if found:
            where[each] = found
        elif each in given or each == "label":
            raise VotesError(
                f"{name}: no column {given.get(each, each)!r} for {each} (found: {', '.join(columns)})",
                hint=f"Name the column: ratings: {{columns: {{{each}: NAME}}}}.",
            )
    missing = next((column for column in (*config.attributes, *config.keep) if column not in columns), None)
    if missing:
        setting = "attributes" if missing in config.attributes else "keep"
        raise VotesError(f"{name}: ratings.{setting}: no column {missing!r} (found: {', '.join(columns)})")
    return where


def _weight(value: Any, column: str) -> float:
    """A weight. Raises BadRow."""
    try:
        weight = float(value)
    except (TypeError, ValueError):
        weight = -1.0
    if not (np.isfinite(weight) and weight >= 0):
        raise BadRow(f"{column}: found {value!r} (allowed: a finite number, not negative)")
    return weight


def _label_column(labels: list[Any], path: Path) -> tuple[pa.ChunkedArray, bool]:
    """The labels in Arrow, and whether numbers among them are texts."""
    if path.name.lower().endswith(_TEXT):
        return pa.chunked_array([pa.array(labels, pa.string())]), True
    try:
        return pa.chunked_array([pa.array(labels)]), False
    except (pa.ArrowException, OverflowError):  # numbers beside names
        return pa.chunked_array([pa.array(map(str, labels), pa.string())]), True


def _codes(names: Iterable[str]) -> tuple[list[str], Ints]:
    """The distinct names by first appearance, and each one's number."""
    number: dict[str, int] = {}
    codes = [number.setdefault(name, len(number)) for name in names]
    return list(number), np.array(codes, dtype=np.int64)


def _turns(keys: Ints) -> Ints:
    """Of every row: how many rows before it have the same key."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    turn = np.empty(len(keys), dtype=np.int64)
    turn[order] = np.arange(len(keys)) - np.repeat(starts, np.diff(np.append(starts, len(keys))))
    return turn
