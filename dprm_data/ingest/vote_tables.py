"""Reading long tables of votes: one row per (item, annotator), Parquet or CSV.

Whole columns are processed at once, in Arrow and NumPy; only the columns needed are read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from dprm_data.core.errors import VotesError
from dprm_data.core.tables import ANNOTATIONS
from dprm_data.ingest.csv_check import checked_rows, looks_whole
from dprm_data.ingest.faults import Faults, rows_where
from dprm_data.ingest.ratings import Ratings, ratings_from_annotations
from dprm_data.ingest.vote_columns import as_text, ids_column, is_text, label_indices, weights_column
from dprm_data.ingest.vote_scale import found_base
from dprm_data.ingest.votes import Votes, item_codes, votes_from_annotations
from dprm_data.labels.space import LabelSpace

Duplicates = Literal["error", "first", "last", "all", "mean"]

FIELDS = ("item_id", "annotator_id", "label", "weight", "replicate")
ALSO_CALLED = {"item_id": ("item",), "annotator_id": ("rater_id", "annotator", "rater")}
_NEEDED = ("item_id", "label")
_ANNOTATIONS = {"status", "elicitation", "annotator_kind"}  # the mark of our own table of annotations


def read_votes(
    path: str | os.PathLike[str],
    space: LabelSpace,
    *,
    columns: Mapping[str, str] | None = None,
    duplicates: Duplicates = "error",
    base: int | None = None,
) -> Votes:
    """The votes in a long table, items in order of first appearance.

    Columns: `item_id` (or `item`), `label`, and optionally `annotator_id` (or `rater_id`, `rater`, `annotator`), `weight`, `replicate`; `columns` maps our name
    to the file's. Other columns are not read. Strings are names or words of labels. Whole numbers, in a CSV file as well, count labels from `base`
    on (0 or 1): without it, from 0 if a 0 occurs and from 1 if K does; if neither does, the table is refused, because both are possible. Where
    somebody named the labels by numbers, numbers are names. `Votes.base` says how numbers were read.

    `duplicates` says what to do with several rows with the same item, annotator and replicate: `error`, keep the `first` or the
    `last`, count `all`, or `mean`: one vote, shared evenly among them. Without an annotator column nothing is a duplicate.

    A table of annotations (with `status` and `elicitation`) is read as `votes_from_annotations` reads it, without `duplicates` and `base`.

    Raises `VotesError`, naming for every fault file, row (the first row of data is 1), column, the value found and what is allowed.
    """
    table, is_csv = _read(Path(path), columns, duplicates)
    if _is_annotations(table, Path(path), duplicates, base):
        return votes_from_annotations(table, space)
    return _ratings(table, space, Path(path), columns or {}, duplicates, base, is_csv).votes()


def read_ratings(
    path: str | os.PathLike[str],
    space: LabelSpace,
    *,
    columns: Mapping[str, str] | None = None,
    duplicates: Duplicates = "error",
    base: int | None = None,
) -> Ratings:
    """The same table with its annotators, for measuring agreement. A table of annotations is read as
    `ratings_from_annotations` reads it."""
    table, is_csv = _read(Path(path), columns, duplicates)
    if _is_annotations(table, Path(path), duplicates, base):
        return ratings_from_annotations(table, space)
    return _ratings(table, space, Path(path), columns or {}, duplicates, base, is_csv)


def _is_annotations(table: pa.Table, path: Path, duplicates: Duplicates, base: int | None) -> bool:
    """Whether this is our own table of annotations. Raises `VotesError` for settings that mean nothing there."""
    if not set(table.column_names) >= _ANNOTATIONS:
        return False
    unused = "base" if base is not None else "duplicates" if duplicates != "error" else None
    if unused:
        raise VotesError(
            f"{path}: {unused} does not apply to a table of annotations, which names its labels and has no duplicates",
            hint=f"Leave {unused} out.",
        )
    return True


def _ratings(
    table: pa.Table,
    space: LabelSpace,
    path: Path,
    mapping: Mapping[str, str],
    duplicates: Duplicates,
    base: int | None,
    is_csv: bool,
) -> Ratings:
    faults = Faults(VotesError)
    ids, items = item_codes(ids_column(table["item_id"], "item_id", path, faults), None)
    if base is None:
        base = found_base(table["label"], space, path, is_csv)
    labels = label_indices(table["label"], space, path, mapping.get("label", "label"), base, is_csv, faults)
    weights = weights_column(table, path, mapping.get("weight", "weight"), faults)
    rounds = np.zeros(table.num_rows, dtype=np.int64)
    if "replicate" in table.column_names:
        _, rounds = item_codes(pc.fill_null(as_text(table["replicate"], "replicate", path), ""), None)
    names: list[str] = []
    people = np.zeros(0, dtype=np.int64)
    if "annotator_id" in table.column_names:
        names, people = item_codes(ids_column(table["annotator_id"], "annotator_id", path, faults), None)
    faults.raise_any()
    ratings = Ratings(ids, names, space.K, items, people, labels, weights, rounds, base)
    return deduplicated(ratings, duplicates, lambda row: f"{path}: row {row + 1}")


# -- files --------------------------------------------------------------------------------------------------------------


def _read(path: Path, columns: Mapping[str, str] | None, duplicates: Duplicates) -> tuple[pa.Table, bool]:
    """Read the needed columns, under our names; and whether they come from a text file."""
    if duplicates not in get_args(Duplicates):
        raise VotesError(f"duplicates: {duplicates!r} is unknown (allowed: {', '.join(get_args(Duplicates))})")
    mapping = {"annotator_id" if field == "rater_id" else field: column for field, column in (columns or {}).items()}
    unknown = [field for field in mapping if field not in FIELDS]
    if unknown:
        raise VotesError(f"columns: {unknown[0]!r} is not a field of a table of votes (allowed: {', '.join(FIELDS)})")
    if not path.is_file():
        raise VotesError(
            f"{path}: no such file",
            hint="A table of votes is a Parquet or CSV file with item_id, annotator_id and label.",
        )
    is_csv = path.suffix.lower() in {".csv", ".tsv", ".txt"}
    with _in_words(path, "CSV" if is_csv else "Parquet"):
        table = _read_text(path, mapping) if is_csv else _read_parquet(path, mapping)
    if not table.num_rows:
        raise VotesError(f"{path}: no votes: the table has no rows")
    return table, is_csv


@contextmanager
def _in_words(path: Path, kind: str) -> Iterator[None]:
    """What Arrow cannot read becomes a `VotesError`."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeError, OverflowError) as error:
        raise VotesError(
            f"{path}: not readable as {kind}: {error}",
            hint="The suffix decides how a file is read: .csv, .tsv and .txt as text, anything else as Parquet.",
        ) from error


def _read_parquet(path: Path, mapping: Mapping[str, str]) -> pa.Table:
    schema = pq.read_schema(path)
    names = schema.names
    if not mapping and set(names) >= _ANNOTATIONS:
        wanted = [*sorted(_ANNOTATIONS), "item_id", "annotator_id", "label", "probs", "weight", "replicate"]
        return _typed(pq.read_table(path, columns=[name for name in wanted if name in names]), path)
    where = _where(names, mapping, path)
    # Annotators are few and stay dictionary-encoded, as on disk. Items are many: one hash table over the whole column is faster than
    # joining every row group's dictionary.
    people = where.get("annotator_id")
    encoded = [people] if people is not None and is_text(schema.field(people).type) else []
    table = pq.read_table(path, columns=list(where.values()), read_dictionary=encoded)
    return table.select(list(where.values())).rename_columns(list(where))


def _typed(table: pa.Table, path: Path) -> pa.Table:
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


def _read_text(path: Path, mapping: Mapping[str, str]) -> pa.Table:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    if not looks_whole(path, delimiter):
        _refuse_faulty(path, delimiter)
    header = next(checked_rows(path, delimiter, faults := Faults(VotesError)), None)
    faults.raise_any()
    if header is None:
        raise VotesError(f"{path}: not readable as CSV: the file is empty")
    where = _where(header[1], mapping, path)
    types = {where[field]: pa.string() for field in ("item_id", "annotator_id", "label", "replicate") if field in where}
    if "weight" in where:
        types[where["weight"]] = pa.float64()
    parse = pacsv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    convert = pacsv.ConvertOptions(include_columns=list(where.values()), column_types=types, strings_can_be_null=True)
    try:
        return pacsv.read_csv(path, parse_options=parse, convert_options=convert).rename_columns(list(where))
    except pa.ArrowInvalid:
        _refuse_faulty(path, delimiter, where.get("weight"))
        raise


def _refuse_faulty(path: Path, delimiter: str, weight: str | None = None) -> None:
    """Read row by row to find all faults, and raise them. Returns where there are none."""
    faults = Faults(VotesError)
    at = None
    for number, row in checked_rows(path, delimiter, faults):
        if not number:
            at = row.index(weight) if weight in row else None
        elif at is not None and not _is_number(row[at]):
            allowed = "allowed: a finite number, not negative"
            faults.add(path, number, f"found {row[at]!r} ({allowed})", column=weight)
    faults.raise_any()


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return cell in pacsv.ConvertOptions().null_values
    return True


def _where(names: list[str], mapping: Mapping[str, str], path: Path) -> dict[str, str]:
    """Our field -> the file's column, for the fields the file has."""
    where: dict[str, str] = {}
    for field in FIELDS:
        wanted = (mapping[field],) if field in mapping else (field, *ALSO_CALLED.get(field, ()))
        found = [name for name in wanted if name in names]
        if found and names.count(found[0]) > 1:
            raise VotesError(f"{path}: the column {found[0]!r} is there twice", hint="Rename or remove one of them.")
        if found:
            where[field] = found[0]
        elif field in mapping or field in _NEEDED:
            raise VotesError(
                f"{path}: no column {wanted[0]!r} for {field} (found: {', '.join(names)})",
                hint=f"Name the column: --column {field}=NAME (in Python: columns={{{field!r}: NAME}}).",
            )
    return where


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
            hint="Choose what to do with duplicates: first, last, mean or all.",
        )
    if policy == "mean":
        group = np.cumsum(np.concatenate([[True], ~same])) - 1
        share = np.empty(len(keys))
        share[order] = 1.0 / np.bincount(group)[group]
        return replace(ratings, weight=ratings.weight * share)
    keep = np.ones(len(keys), dtype=bool)
    keep[order[1:][same] if policy == "first" else order[:-1][same]] = False
    return ratings.take(np.flatnonzero(keep))
