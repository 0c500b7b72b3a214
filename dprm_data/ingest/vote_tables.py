"""Reading long tables of votes: one row per (item, annotator), Parquet or CSV.

Whole columns are processed at once, in Arrow and NumPy; only the columns needed are read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from dprm_data.core.arrays import Floats, Ints
from dprm_data.core.errors import VotesError
from dprm_data.ingest.ratings import Ratings, ratings_from_annotations
from dprm_data.ingest.votes import Votes, item_codes, votes_from_annotations
from dprm_data.labels.space import LabelSpace

Duplicates = Literal["error", "first", "last", "all", "mean"]

FIELDS = ("item_id", "annotator_id", "label", "weight", "replicate")
_ALSO_CALLED = {"item_id": ("item",), "annotator_id": ("rater_id", "annotator", "rater")}
_NEEDED = ("item_id", "label")
_ANNOTATIONS = {"status", "elicitation", "annotator_kind"}  # the mark of our own table of annotations


def read_votes(
    path: str | os.PathLike[str],
    space: LabelSpace,
    *,
    columns: Mapping[str, str] | None = None,
    duplicates: Duplicates = "error",
    base: int = 0,
) -> Votes:
    """The votes in a long table, items in order of first appearance.

    Columns: `item_id` (or `item`), `label`, and optionally `annotator_id` (or `rater_id`, `rater`, `annotator`), `weight`, `replicate`; `columns` maps our name
    to the file's. Other columns are not read. Whole numbers are label indices from `base` (0) on; strings are names or words of labels. In
    a CSV file, which has only text, whole numbers are indices too.

    `duplicates` says what to do with several rows with the same item, annotator and replicate: `error`, keep the `first` or the
    `last`, count `all`, or `mean`: one vote, shared evenly among them. Without an annotator column nothing is a duplicate.

    A table of annotations (with `status` and `elicitation`) is read as `votes_from_annotations` reads it, without `duplicates` and `base`.

    Raises `VotesError`, naming file, row (the first row of data is 1), column, the value found and what is allowed.
    """
    table, is_text = _read(Path(path), columns, duplicates)
    if _is_annotations(table, Path(path), duplicates, base):
        return votes_from_annotations(table, space)
    return _ratings(table, space, Path(path), columns or {}, duplicates, base, is_text).votes()


def read_ratings(
    path: str | os.PathLike[str],
    space: LabelSpace,
    *,
    columns: Mapping[str, str] | None = None,
    duplicates: Duplicates = "error",
    base: int = 0,
) -> Ratings:
    """The same table with its annotators, from which agreement is measured. A table of annotations gives its ratings as
    `ratings_from_annotations` does."""
    table, is_text = _read(Path(path), columns, duplicates)
    if _is_annotations(table, Path(path), duplicates, base):
        return ratings_from_annotations(table, space)
    return _ratings(table, space, Path(path), columns or {}, duplicates, base, is_text)


def _is_annotations(table: pa.Table, path: Path, duplicates: Duplicates, base: int) -> bool:
    """Whether this is our own table of annotations. Raises `VotesError` for settings that mean nothing there."""
    if not set(table.column_names) >= _ANNOTATIONS:
        return False
    unused = "base" if base else "duplicates" if duplicates != "error" else None
    if unused:
        raise VotesError(
            f"{path}: {unused} is not for a table of annotations, which names its labels and has no duplicates",
            hint=f"Leave {unused} out.",
        )
    return True


def _ratings(
    table: pa.Table,
    space: LabelSpace,
    path: Path,
    mapping: Mapping[str, str],
    duplicates: Duplicates,
    base: int,
    is_text: bool,
) -> Ratings:
    ids, items = item_codes(_present(table, "item_id", path), None)
    labels = _labels(table["label"], space, path, mapping.get("label", "label"), base, is_text)
    weights = _weights(table, path, mapping.get("weight", "weight"))
    rounds = np.zeros(table.num_rows, dtype=np.int64)
    if "replicate" in table.column_names:
        _, rounds = item_codes(pc.fill_null(pc.cast(table["replicate"], pa.string()), ""), None)
    if "annotator_id" not in table.column_names:
        return Ratings(ids, [], space.K, items, np.zeros(0, dtype=np.int64), labels, weights, rounds)
    names, people = item_codes(_present(table, "annotator_id", path), None)
    ratings = Ratings(ids, names, space.K, items, people, labels, weights, rounds)
    return ratings if duplicates == "all" else _deduplicate(ratings, path, duplicates)


# -- files --------------------------------------------------------------------------------------------------------------


def _read(path: Path, columns: Mapping[str, str] | None, duplicates: Duplicates) -> tuple[pa.Table, bool]:
    """Read the needed columns, under our names; and whether they come from a text file."""
    if duplicates not in get_args(Duplicates):
        raise VotesError(f"duplicates: {duplicates!r} is no policy (allowed: {', '.join(get_args(Duplicates))})")
    mapping = {"annotator_id" if field == "rater_id" else field: column for field, column in (columns or {}).items()}
    unknown = [field for field in mapping if field not in FIELDS]
    if unknown:
        raise VotesError(f"columns: {unknown[0]!r} is no field of a table of votes (allowed: {', '.join(FIELDS)})")
    if not path.is_file():
        raise VotesError(
            f"{path}: no such file",
            hint="A table of votes is a Parquet or CSV file with item_id, annotator_id and label.",
        )
    is_text = path.suffix.lower() in {".csv", ".tsv", ".txt"}
    try:
        table = _read_text(path, mapping) if is_text else _read_parquet(path, mapping)
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        kind = "CSV" if is_text else "Parquet"
        raise VotesError(
            f"{path}: not readable as {kind}: {error}",
            hint="Files are told apart by their suffix: .parquet, .csv, .tsv.",
        ) from error
    if not table.num_rows:
        raise VotesError(f"{path}: no votes: the table has no rows")
    return table, is_text


def _read_parquet(path: Path, mapping: Mapping[str, str]) -> pa.Table:
    schema = pq.read_schema(path)
    names = schema.names
    if not mapping and set(names) >= _ANNOTATIONS:
        wanted = [*sorted(_ANNOTATIONS), "item_id", "annotator_id", "label", "probs", "weight", "replicate"]
        return pq.read_table(path, columns=[name for name in wanted if name in names])
    where = _where(names, mapping, path)
    # Annotators are few and stay dictionary-encoded as they are on disk. Items are many: one hash table over the whole column is faster than
    # joining every row group's dictionary.
    people = where.get("annotator_id")
    encoded = [people] if people is not None and _is_text(schema.field(people).type) else []
    table = pq.read_table(path, columns=list(where.values()), read_dictionary=encoded)
    return table.select(list(where.values())).rename_columns(list(where))


def _read_text(path: Path, mapping: Mapping[str, str]) -> pa.Table:
    parse = pacsv.ParseOptions(delimiter="\t" if path.suffix.lower() == ".tsv" else ",", newlines_in_values=True)
    with pacsv.open_csv(
        path, parse_options=parse, convert_options=pacsv.ConvertOptions(strings_can_be_null=True)
    ) as reader:
        names = reader.schema.names
    where = _where(names, mapping, path)
    types = {where[field]: pa.string() for field in ("item_id", "annotator_id", "label", "replicate") if field in where}
    if "weight" in where:
        types[where["weight"]] = pa.float64()
    convert = pacsv.ConvertOptions(include_columns=list(where.values()), column_types=types, strings_can_be_null=True)
    return pacsv.read_csv(path, parse_options=parse, convert_options=convert).rename_columns(list(where))


def _where(names: list[str], mapping: Mapping[str, str], path: Path) -> dict[str, str]:
    """Our field -> the file's column, for the fields the file has."""
    where: dict[str, str] = {}
    for field in FIELDS:
        wanted = (mapping[field],) if field in mapping else (field, *_ALSO_CALLED.get(field, ()))
        found = [name for name in wanted if name in names]
        if found:
            where[field] = found[0]
        elif field in mapping or field in _NEEDED:
            raise VotesError(
                f"{path}: no column {wanted[0]!r} for {field} (found: {', '.join(names)})",
                hint=f"Say which column it is: --column {field}=NAME (in Python: columns={{{field!r}: NAME}}).",
            )
    return where


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


# -- columns ------------------------------------------------------------------------------------------------------------


def _present(table: pa.Table, field: str, path: Path) -> pa.ChunkedArray:
    """The ids of a column as text; a missing one is refused."""
    column = table[field]
    if column.null_count:
        raise VotesError(
            f"{path}: row {_first(pc.is_null(column)) + 1}, column {field!r}: found nothing (allowed: an id)"
        )
    return column if pa.types.is_dictionary(column.type) or _is_text(column.type) else pc.cast(column, pa.string())


def _labels(column: pa.ChunkedArray, space: LabelSpace, path: Path, name: str, base: int, is_text: bool) -> Ints:
    K = space.K
    names_allowed = f"{base} to {base + K - 1}, or a name: {', '.join(space.names[:12])}{', …' if K > 12 else ''}"

    def refuse(row: int) -> VotesError:
        value = column[row].as_py()
        shifted = isinstance(value, (int, float)) and value == base + K and base == 0
        shifted = shifted or (isinstance(value, str) and value.strip() == str(K) and base == 0)
        hint = (
            "Labels are numbered from 0; where yours begin at 1, say --base 1 (in Python: base=1)." if shifted else None
        )
        return VotesError(
            f"{path}: row {row + 1}, column {name!r}: found {value!r} (allowed: {names_allowed})", hint=hint
        )

    if column.null_count:
        raise refuse(_first(pc.is_null(column)))
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = pc.cast(column, kind.value_type)
        kind = column.type
    if pa.types.is_integer(kind) or (pa.types.is_boolean(kind) and K == 2):
        codes = pc.cast(column, pa.int64()).to_numpy() - base
    elif pa.types.is_floating(kind):
        values = column.to_numpy().astype(np.float64)
        codes = np.where(np.isfinite(values) & (values == np.floor(values)), values - base, -1).astype(np.int64)
    elif _is_text(kind):
        codes = _text_codes(column, space, base, is_text)
    else:
        raise VotesError(f"{path}: column {name!r} is of type {kind} (allowed: whole numbers or names of labels)")
    wrong = (codes < 0) | (codes >= K)
    if wrong.any():
        raise refuse(int(np.argmax(wrong)))
    return np.asarray(codes, dtype=np.int64)


def _text_codes(column: pa.ChunkedArray, space: LabelSpace, base: int, is_text: bool) -> Ints:
    """Names or words to indices; -1 for anything else."""
    if len(column) == 0:
        return np.zeros(0, dtype=np.int64)
    encoded = pc.dictionary_encode(column).unify_dictionaries().combine_chunks()
    values = [str(value).strip() for value in encoded.dictionary.to_pylist()]
    numbers = [_whole(value) for value in values]
    # In a text file a number is an index. In a Parquet column of text, "3" is a label's name if labels have such names.
    indices = is_text or all(_whole(label) is None for label in space.names)
    codes = []
    for value, number in zip(values, numbers, strict=True):
        named = None if is_text and number is not None else space.find(value)
        codes.append(named if named is not None else number - base if number is not None and indices else -1)
    table = np.array(codes, dtype=np.int64)
    return np.asarray(table[encoded.indices.to_numpy(zero_copy_only=False)])


def _whole(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def _weights(table: pa.Table, path: Path, name: str) -> Floats:
    if "weight" not in table.column_names:
        return np.ones(table.num_rows)
    column = table["weight"]
    if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
        raise VotesError(f"{path}: column {name!r} is of type {column.type} (allowed: numbers that are not negative)")
    weights = np.asarray(pc.cast(column, pa.float64()).to_numpy())  # nulls become NaN
    wrong = ~np.isfinite(weights) | (weights < 0)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise VotesError(
            f"{path}: row {row + 1}, column {name!r}: found {column[row].as_py()} (allowed: a finite number, not negative)"
        )
    return weights


def _deduplicate(ratings: Ratings, path: Path, policy: Duplicates) -> Ratings:
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
            f"{path}: row {row + 1}: {who!r} has judged item {what!r} before, in row {first + 1} ({int(same.sum())} such rows)",
            hint="Say what is to be done with duplicates: first, last, mean or all.",
        )
    if policy == "mean":
        group = np.cumsum(np.concatenate([[True], ~same])) - 1
        share = np.empty(len(keys))
        share[order] = 1.0 / np.bincount(group)[group]
        return replace(ratings, weight=ratings.weight * share)
    keep = np.ones(len(keys), dtype=bool)
    keep[order[1:][same] if policy == "first" else order[:-1][same]] = False
    return ratings.take(np.flatnonzero(keep))


def _first(mask: pa.ChunkedArray) -> int:
    return int(pc.index(mask, True).as_py())
