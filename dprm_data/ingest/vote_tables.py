"""Reading tables of people's votes, long or wide, of any kind that people have them in.

Whole columns are processed at once, in Arrow and NumPy; only the columns needed are read.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dprm_data.core.errors import VotesError
from dprm_data.core.tables import ANNOTATIONS
from dprm_data.ingest.column_values import decoded, distinct, is_text, value_type
from dprm_data.ingest.faults import Faults, Places, rows_where
from dprm_data.ingest.ratings import Ratings, ratings_from_annotations, ratings_of_items
from dprm_data.ingest.table_files import MISSING, SKIP, Cells, Table, open_table
from dprm_data.ingest.vote_columns import as_text, ids_column, label_indices, weights_column
from dprm_data.ingest.vote_fields import FIELDS
from dprm_data.ingest.vote_scale import found_base
from dprm_data.ingest.vote_shapes import as_long, shape_of
from dprm_data.ingest.votes import Votes, item_codes, votes_from_annotations
from dprm_data.labels.space import LabelSpace

Duplicates = Literal["error", "first", "last", "all", "mean"]
BadRows = Literal["refuse", "skip"]
Say = Callable[[str], None]

_ANNOTATIONS = {"status", "elicitation", "annotator_kind"}  # the mark of our own table of annotations
_LISTED = 5  # faulty rows that are named when they are left out


class VoteSettings(TypedDict, total=False):
    """How a table of votes is read; see `read_votes`."""

    columns: Mapping[str, str] | None
    duplicates: Duplicates
    base: int | None
    rater_columns: Sequence[str]
    item_columns: Sequence[str]
    delimiter: str | None
    sheet: str | None
    bad_rows: BadRows


def read_votes(votes: Any, space: LabelSpace, *, say: Say | None = None, **settings: Unpack[VoteSettings]) -> Votes:
    """The votes in a table, items in order of first appearance.

    `votes` is a path (CSV of any delimiter and encoding, .xlsx, Parquet), a dataset of the Hub (`hf://org/name?split=train&config=…`), or a
    table in Python: pandas, polars, Arrow, a `datasets.Dataset`, rows as dicts, or a dict of columns.

    A *long* table has a row per vote: `item_id` (or `item`), `label`, and optionally `annotator_id` (or `rater_id`, `rater`, `annotator`), `weight`,
    `replicate`; `columns` maps our name to the table's. Other columns are not read. A *wide* table has a column per rater and a row per item
    (`rater_columns`), or a column per item and a row per rater (`item_columns`): names or patterns such as `r*`. Without a column of labels,
    columns that are numbered and hold labels are found; anything else is asked about.

    Strings are names or words of labels. Whole numbers, in a CSV file as well, count labels from `base` on (0 or 1): without it, from 0 if a 0
    occurs and from 1 if K does; if neither does, the table is refused, because both are possible. Where somebody named the labels by
    numbers, numbers are names. `Votes.base` says how numbers were read.

    An empty label (also NA, nan, null, …) is no vote. `bad_rows` says what to do with rows that cannot be read: `refuse` the table, or
    `skip` them. `duplicates` says what to do with several rows with the same item, annotator and replicate: `error`, keep the `first` or the
    `last`, count `all`, or `mean`: one vote, shared evenly among them. Without an annotator column nothing is a duplicate. `delimiter`: that of
    a CSV file, `sheet`: that of a workbook; by default the one found, and the first.

    `say` receives what was assumed and what was left out; without it, they are warnings.

    A table of annotations (with `status` and `elicitation`) is read as `votes_from_annotations` reads it, without any setting.

    Raises `VotesError`, naming for every fault file, row (the first row of data is 1), column, the value found and what is allowed.
    """
    table = open_votes(votes, settings)
    if _is_annotations(table, settings):
        return votes_from_annotations(_annotations(table), space)
    return _ratings(table, space, settings, say or _warn).votes()


def read_rated_votes(
    votes: Any, space: LabelSpace, *, say: Say | None = None, **settings: Unpack[VoteSettings]
) -> tuple[Votes, Ratings]:
    """The votes of `read_votes`, and the ratings (votes with a label and an annotator) on the same items."""
    table = open_votes(votes, settings)
    if _is_annotations(table, settings):
        annotations = _annotations(table)
        found = votes_from_annotations(annotations, space)
        return found, ratings_of_items(annotations, space, found.item_ids)
    ratings = _ratings(table, space, settings, say or _warn)
    return ratings.votes(), ratings


def read_ratings(votes: Any, space: LabelSpace, *, say: Say | None = None, **settings: Unpack[VoteSettings]) -> Ratings:
    """The same table with its annotators, for measuring agreement. A table of annotations is read as
    `ratings_from_annotations` reads it."""
    table = open_votes(votes, settings)
    if _is_annotations(table, settings):
        return ratings_from_annotations(_annotations(table), space)
    return _ratings(table, space, settings, say or _warn)


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=2)


def open_votes(votes: Any, settings: VoteSettings) -> Table:
    """Open a table of votes and check the settings. Raises `VotesError`."""
    unknown = settings.keys() - VoteSettings.__annotations__.keys()
    if unknown:
        raise TypeError(f"got an unexpected keyword argument {min(unknown)!r}")
    for name, allowed in (("duplicates", Duplicates), ("bad_rows", BadRows)):
        value = settings.get(name, get_args(allowed)[0])
        if value not in get_args(allowed):
            raise VotesError(f"{name}: {value!r} is unknown (allowed: {', '.join(get_args(allowed))})")
    wrong = [field for field in mapping_of(settings) if field not in FIELDS]
    if wrong:
        raise VotesError(f"columns: {wrong[0]!r} is not a field of a table of votes (allowed: {', '.join(FIELDS)})")
    return open_table(votes, delimiter=settings.get("delimiter"), sheet=settings.get("sheet"))


def mapping_of(settings: VoteSettings) -> dict[str, str]:
    """The setting `columns`, by our names."""
    columns = settings.get("columns") or {}
    return {"annotator_id" if field == "rater_id" else field: column for field, column in columns.items()}


# -- annotations --------------------------------------------------------------------------------------------------------


def _is_annotations(table: Table, settings: VoteSettings) -> bool:
    """Whether this is our own table of annotations. Raises `VotesError` for settings that mean nothing there."""
    if table.untyped or settings.get("columns") or not set(table.names) >= _ANNOTATIONS:
        return False
    defaults: tuple[Any, ...] = (None, "error", "refuse", (), [], {})
    unused = next((name for name, value in settings.items() if value not in defaults), None)
    if unused:
        raise VotesError(
            f"{table.source}: {unused} does not apply to a table of annotations, which names its labels and has no duplicates",
            hint=f"Leave {unused} out.",
        )
    return True


def _annotations(table: Table) -> pa.Table:
    wanted = [*sorted(_ANNOTATIONS), "item_id", "annotator_id", "label", "probs", "weight", "replicate", "model_id"]
    read, _ = table.read([name for name in wanted if name in table.names])
    return _typed(read, table.source)


def _typed(table: pa.Table, path: Path | str) -> pa.Table:
    """A table of annotations with the types of ours (distributions may have any precision), and an item in every row."""
    for at, field in enumerate(table.schema):
        kind = ANNOTATIONS.field(field.name).type
        if field.type == kind or (field.name == "probs" and _are_floats(field.type)):
            continue
        try:
            table = table.set_column(at, field.name, table[field.name].cast(kind))
        except pa.ArrowException as error:
            raise VotesError(
                f"{path}: column {field.name!r} is of type {field.type} (a table of annotations has {kind})"
            ) from error
    faults = Faults(VotesError)
    missing = rows_where(pc.is_null(table["item_id"]).to_numpy())
    faults.add_rows(path, missing, "item_id", lambda row: ("found nothing (allowed: an id)", None))
    faults.raise_any()
    return table


def _are_floats(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) and pa.types.is_floating(kind.value_type))


# -- votes --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Long:
    """A table of one vote per row under our names, and where each stood. names: our field -> the table's column."""

    table: pa.Table
    source: Path | str
    names: Mapping[str, str]
    places: Places | None
    from_text: bool

    def place(self, row: int) -> str:
        """The source and the row in it."""
        return f"{self.source}: row {(row if self.places is None else int(self.places.rows[row])) + 1}"

    def take(self, kept: np.ndarray) -> _Long:
        """These rows only."""
        places = Places(kept) if self.places is None else self.places.take(kept)
        return replace(self, table=self.table.take(pa.array(kept)), places=places)


def _ratings(table: Table, space: LabelSpace, settings: VoteSettings, say: Say) -> Ratings:
    skip = settings.get("bad_rows") == "skip"
    broken = Faults(VotesError) if skip else None
    long = _without_missing(_read(table, space, settings, broken, say), space, say)
    base = settings.get("base")
    if base is None:
        base = found_base(long.table["label"], space, table.source, long.from_text, sure=skip)
    ratings, faults = _arrays(long, space, base)
    if skip and faults.rows:
        bad = np.unique(np.concatenate(faults.rows))
        _say_left_out([*(broken.first(_LISTED) if broken else []), *faults.first(_LISTED)], len(bad), broken, say)
        long = long.take(np.setdiff1d(np.arange(len(ratings)), bad))
        if not long.table.num_rows:
            raise VotesError(f"{table.source}: no votes: every row has a fault")
        ratings, faults = _arrays(long, space, base)
    elif broken and broken.count:
        _say_left_out(broken.first(_LISTED), 0, broken, say)
    faults.raise_any(SKIP)
    return deduplicated(ratings, settings.get("duplicates", "error"), long.place)


def _say_left_out(texts: Sequence[str], bad: int, broken: Faults | None, say: Say) -> None:
    count = bad + (broken.count if broken else 0)
    lines = "".join(f"\n  {text}" for text in texts[:_LISTED])
    say(
        f"{count:,} bad {'row is' if count == 1 else 'rows are'} left out{', the first' if count > _LISTED else ''}:{lines}"
    )


def _read(table: Table, space: LabelSpace, settings: VoteSettings, broken: Faults | None, say: Say) -> _Long:
    missing = [word for word in MISSING if not word or space.find(word) is None]
    mapping = mapping_of(settings)
    raters, items = settings.get("rater_columns") or (), settings.get("item_columns") or ()
    shape = shape_of(table, mapping, raters, items, space, missing)
    few = [shape.where["annotator_id"]] if "annotator_id" in shape.where else []
    columns = list(dict.fromkeys(shape.columns))
    numbers = [shape.where["weight"]] if "weight" in shape.where else []
    read, rows = table.read(columns, Cells(text=columns, numbers=numbers, few=few, missing=missing), broken)
    if not read.num_rows:
        raise VotesError(f"{table.source}: no votes: the table has no rows")
    for note in [*table.notes, *([shape.said(table)] if shape.found else [])]:
        say(note)
    long, places = as_long(read.select(shape.columns), shape, rows, table.source)
    mixed = shape.each is not None and is_text(long["label"].type)
    return _Long(long, table.source, shape.where | mapping, places, table.untyped or mixed)


def _without_missing(long: _Long, space: LabelSpace, say: Say) -> _Long:
    """The table without the votes that are missing: cells of labels that are empty, or say so."""
    labels = long.table["label"]
    empty = pc.is_null(labels, nan_is_null=pa.types.is_floating(labels.type))
    if is_text(value_type(labels)):
        labels = decoded(labels)
        words = [value for value in distinct(labels) if space.find(value) is None and value.strip() in MISSING]
        if words:
            empty = pc.or_(empty, pc.is_in(labels, value_set=pa.array(words, labels.type)))
    mask = empty.to_numpy(zero_copy_only=False) if isinstance(empty, pa.Array) else empty.to_numpy()
    lost = int(mask.sum())
    if not lost:
        return long
    if lost == len(mask):
        raise VotesError(f"{long.source}: no votes: every cell of column {long.names.get('label', 'label')!r} is empty")
    kept = long.take(rows_where(~mask))
    countable = not pa.types.is_nested(long.table["item_id"].type)  # what cannot be an id is refused by its reader
    items = len(pc.unique(long.table["item_id"])) - len(pc.unique(kept.table["item_id"])) if countable else 0
    without = (
        f"; {items:,} {'item has' if items == 1 else 'items have'} no vote at all and will not occur" if items else ""
    )
    say(
        f"{long.source}: {lost:,} of {len(mask):,} cells of labels {'is' if lost == 1 else 'are'} empty: no votes{without}"
    )
    return kept


def _arrays(long: _Long, space: LabelSpace, base: int | None) -> tuple[Ratings, Faults]:
    """The ratings, and the faults because of which they must not be used."""
    table, path = long.table, long.source
    faults = Faults(VotesError, long.places)
    ids, items = item_codes(ids_column(table["item_id"], "item_id", path, faults), None)
    labels = label_indices(table["label"], space, path, long.names.get("label", "label"), base, long.from_text, faults)
    weights = weights_column(table, path, long.names.get("weight", "weight"), long.from_text, faults)
    rounds = np.zeros(table.num_rows, dtype=np.int64)
    if "replicate" in table.column_names:
        _, rounds = item_codes(pc.fill_null(as_text(table["replicate"], "replicate", path), ""), None)
    names: list[str] = []
    people = np.zeros(0, dtype=np.int64)
    if "annotator_id" in table.column_names:
        names, people = item_codes(ids_column(table["annotator_id"], "annotator_id", path, faults), None)
    return Ratings(ids, names, space.K, items, people, labels, weights, rounds, base), faults


# -- duplicates ------------------------------------------------------------------------------------------------------


def deduplicated(ratings: Ratings, policy: Duplicates, place: Callable[[int], str]) -> Ratings:
    """The ratings with one of an annotator to an item and replicate, by `policy` (see `read_votes`). place: where a rating was found, for the error."""
    if policy == "all" or not ratings.annotator_ids:
        return ratings
    rounds = int(ratings.replicate.max(initial=0)) + 1
    keys = (ratings.item * len(ratings.annotator_ids) + ratings.annotator) * rounds + ratings.replicate
    ordered = np.sort(keys)
    if not (ordered[1:] == ordered[:-1]).any():
        return ratings
    order = np.argsort(keys, kind="stable")
    same = keys[order[1:]] == keys[order[:-1]]
    if policy == "error":
        again = np.flatnonzero(same)
        at = again[np.argmin(order[again + 1])]  # the earliest row that repeats one before it
        row, first = int(order[at + 1]), int(order[at])
        who, what = ratings.annotator_ids[ratings.annotator[row]], ratings.item_ids[ratings.item[row]]
        raise VotesError(
            f"{place(row)}: {who!r} has judged item {what!r} before, in {place(first).rpartition(': ')[2]} ({int(same.sum())} such rows)",
            hint="Choose what to do with duplicates: --duplicates first, last, mean or all (in Python and in a recipe's ratings: duplicates).",
        )
    if policy == "mean":
        group = np.cumsum(np.concatenate([[True], ~same])) - 1
        share = np.empty(len(keys))
        share[order] = 1.0 / np.bincount(group)[group]
        return replace(ratings, weight=ratings.weight * share)
    keep = np.ones(len(keys), dtype=bool)
    keep[order[1:][same] if policy == "first" else order[:-1][same]] = False
    return ratings.take(np.flatnonzero(keep))
