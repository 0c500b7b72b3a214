"""Votes: an item's weighted label counts, the sufficient statistic for everything that follows.

All families of distributions see an item only through `counts[i, k]`, the summed weight of the annotations that gave label k to
item i. An annotation that is itself a distribution over the labels is split over them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dprm_data.core.arrays import Floats, Ints
from dprm_data.core.errors import VotesError
from dprm_data.core.registry import ELICITATIONS
from dprm_data.labels.space import LabelSpace

MODEL_COLUMNS = ("model_id", "model")


@dataclass(frozen=True)
class Votes:
    """Weighted label counts of N items on K labels: `counts` has shape (N, K), in votes; row i belongs to `item_ids[i]`.

    base: the number of the lowest label in the table that was read; None if it named its labels.
    """

    item_ids: list[str]
    counts: Floats
    base: int | None = None

    def __post_init__(self) -> None:
        counts = np.asarray(self.counts, dtype=np.float64)
        if counts.ndim != 2 or counts.shape[0] != len(self.item_ids):
            raise VotesError(
                f"counts must have one row per item: {len(self.item_ids)} items, counts of shape {counts.shape}"
            )
        wrong = ~np.isfinite(counts) | (counts < 0)
        if wrong.any():
            i, k = (int(index) for index in np.argwhere(wrong)[0])
            raise VotesError(
                f"item {self.item_ids[i]!r}, label {k}: a count of {counts[i, k]} (allowed: a finite number, not negative)"
            )
        object.__setattr__(self, "counts", counts)

    def __len__(self) -> int:
        return len(self.item_ids)

    @property
    def K(self) -> int:
        """The number of labels."""
        return int(self.counts.shape[1])

    @property
    def totals(self) -> Floats:
        """The weight of all votes of every item, shape (N,)."""
        return np.asarray(self.counts.sum(axis=1))

    def take(self, rows: Ints | Sequence[int]) -> Votes:
        """The votes of these rows, in this order."""
        return Votes([self.item_ids[int(i)] for i in rows], self.counts[rows], self.base)


def check_space(votes: Votes, space: LabelSpace) -> None:
    """Raise VotesError if the votes have another number of labels than the space."""
    if votes.K != space.K:
        raise VotesError(f"the votes are on {votes.K} labels, the label space {space.name!r} has {space.K}")


def label_codes(labels: pa.ChunkedArray, space: LabelSpace, source: str) -> Ints:
    """Label names to indices, -1 for null. Raises VotesError for an unknown name."""
    codes = pc.dictionary_encode(labels)
    codes = codes.combine_chunks() if isinstance(codes, pa.ChunkedArray) else codes
    if isinstance(codes, pa.ChunkedArray):  # combine_chunks returns this if there are no chunks
        return np.zeros(0, dtype=np.int64)
    names = codes.dictionary.to_pylist()
    found = [space.find(str(name)) for name in names]
    if None in found:
        unknown = names[found.index(None)]
        row = pc.index(pc.cast(labels, pa.large_string()), str(unknown)).as_py()
        raise VotesError(
            f"{source}: row {row + 1}, column 'label': found {unknown!r} (allowed: {', '.join(space.names)})"
        )
    table = np.array([*found, -1], dtype=np.int64)
    return np.asarray(table[pc.fill_null(codes.indices, -1).to_numpy(zero_copy_only=False)])


def item_codes(ids: pa.ChunkedArray, item_ids: Sequence[str] | None) -> tuple[list[str], Ints]:
    """Rows to item numbers: by first appearance, or by `item_ids` (-1 for an item that is not among them)."""
    if item_ids is not None:
        known = pa.array(list(item_ids), pa.large_string())
        codes = pc.index_in(pc.cast(ids, pa.large_string()), value_set=known)
        return list(item_ids), pc.fill_null(codes, -1).to_numpy().astype(np.int64)
    if len(ids) == 0:
        return [], np.zeros(0, dtype=np.int64)
    # One pass over a whole column gives all its chunks one dictionary; chunks that come encoded each have their own.
    encoded = ids.unify_dictionaries() if pa.types.is_dictionary(ids.type) else pc.dictionary_encode(ids)
    names = encoded.chunk(0).dictionary.to_pylist()
    return names, np.concatenate([chunk.indices.to_numpy(zero_copy_only=False) for chunk in encoded.chunks]).astype(
        np.int64
    )


def vote_rows(table: pa.Table) -> pa.Table:
    """The annotations that are votes: those with status `ok` that do not state a distribution."""
    return table.filter(pc.and_not(_is_ok(table), _is_stated(table)))


def weights_of(rows: pa.Table, human_weight: float = 1.0) -> Floats:
    """The weight of every annotation, 1 where none is given; a human's is multiplied by `human_weight`."""
    if "weight" not in rows.column_names:
        weights = np.ones(rows.num_rows)
    else:
        weights = pc.fill_null(rows["weight"], 1.0).to_numpy().astype(np.float64)
    if human_weight != 1.0 and "annotator_kind" in rows.column_names:
        human = pc.fill_null(pc.equal(rows["annotator_kind"], "human"), False).to_numpy(zero_copy_only=False)
        weights[human] *= human_weight
    return weights


def with_weights(annotations: pa.Table, weights: Floats) -> pa.Table:
    """The annotations (`tables.ANNOTATIONS`) with other weights."""
    place = annotations.schema.get_field_index("weight")
    return annotations.set_column(place, annotations.schema.field("weight"), pa.array(weights))


def model_of(rows: pa.Table) -> pa.ChunkedArray:
    """The model of every annotation, "" for none. The recipe's name of it, where there is one: a server may name it otherwise from one day to the next."""
    return pc.coalesce(*(rows[name] for name in MODEL_COLUMNS if name in rows.column_names), "")


def said_of(rows: pa.Table, labels: Ints, space: LabelSpace) -> Floats:
    """What every annotation says of the labels, (R, K): its distribution, or its label (`label_codes`) alone; NaN where it has neither."""
    said = shares_of(rows, space)
    plain = np.isnan(said[:, 0]) & (labels >= 0)
    said[plain] = np.eye(space.K)[labels[plain]]
    return said


def stated_rows(table: pa.Table) -> pa.Table:
    """The annotations with status `ok` that state a whole population's distribution."""
    return table.filter(pc.and_(_is_ok(table), _is_stated(table)))


def _is_ok(table: pa.Table) -> pa.ChunkedArray:
    return pc.fill_null(pc.equal(table["status"], "ok"), False)


def _is_stated(table: pa.Table) -> pa.ChunkedArray | pa.Scalar:
    """By each row's elicitation. One that is not installed here, like people's own votes, asks for votes."""
    stated = pa.scalar(False)
    for name in pc.unique(table["elicitation"]).to_pylist():
        if name and name in ELICITATIONS and ELICITATIONS.get(name).states_population:
            stated = pc.or_(stated, pc.fill_null(pc.equal(table["elicitation"], name), False))
    return stated


def votes_from_annotations(
    table: pa.Table, space: LabelSpace, *, item_ids: Sequence[str] | None = None, human_weight: float = 1.0
) -> Votes:
    """The votes in a table of annotations (`dprm_data.core.tables.ANNOTATIONS`).

    Stated distributions do not count (see `stated_from_annotations`). A row with `probs` contributes weight x probs, any other
    weight x one-hot(label); a human's weight is multiplied by `human_weight`. With `item_ids` the items come in that order, those
    without votes with zero counts, and rows of other items are left out.
    """
    if not (np.isfinite(human_weight) and human_weight >= 0):
        raise VotesError(f"human_weight must be finite and not negative, found {human_weight}")
    kept = vote_rows(table)
    weights = weights_of(kept, human_weight)
    bad = ~np.isfinite(weights) | (weights < 0)
    if bad.any():
        row = int(np.argmax(bad))
        raise VotesError(
            f"annotations: the weight of {kept['annotator_id'][row].as_py()!r} on item {kept['item_id'][row].as_py()!r} "
            f"is {weights[row]} (allowed: a finite number, not negative)"
        )
    return _counters(kept, space, item_ids, weights)


def stated_from_annotations(table: pa.Table, space: LabelSpace, item_ids: Sequence[str]) -> Floats:
    """The stated distribution of every item, shape (N, K): the weighted mean of `probs` over its ok rows that state one, zeros if there is
    none."""
    kept = stated_rows(table)
    sums = _counters(kept, space, item_ids, weights_of(kept)).counts
    totals = sums.sum(axis=1, keepdims=True)
    return np.asarray(np.divide(sums, totals, out=np.zeros_like(sums), where=totals > 0))


def _counters(kept: pa.Table, space: LabelSpace, item_ids: Sequence[str] | None, weights: Floats) -> Votes:
    ids, items = item_codes(kept["item_id"], item_ids)
    labels = label_codes(kept["label"], space, "annotations")
    shares = shares_of(kept, space)
    unread = (labels < 0) & np.isnan(shares[:, 0])
    if unread.any():
        row = int(np.argmax(unread))
        raise VotesError(
            f"annotations: {kept['annotator_id'][row].as_py()!r} on item {kept['item_id'][row].as_py()!r} "
            "is marked ok but has neither a label nor probs"
        )
    K = space.K
    counts = np.zeros((len(ids), K))
    listed = items >= 0
    split = listed & ~np.isnan(shares[:, 0])
    whole = listed & np.isnan(shares[:, 0])
    counts += np.bincount(items[whole] * K + labels[whole], weights=weights[whole], minlength=len(ids) * K).reshape(
        -1, K
    )
    np.add.at(counts, items[split], shares[split] * weights[split, None])
    return Votes(ids, counts)


def shares_of(kept: pa.Table, space: LabelSpace) -> Floats:
    """`probs` as an array of shape (rows, K), normalised to 1; NaN for rows without."""
    K = space.K
    shares = np.full((kept.num_rows, K), np.nan)
    if kept.num_rows == 0 or "probs" not in kept.column_names or pa.types.is_null(kept["probs"].type):
        return shares
    probs = kept["probs"].combine_chunks()
    given = pc.is_valid(probs).to_numpy(zero_copy_only=False)
    if not given.any():
        return shares
    lengths = pc.fill_null(pc.list_value_length(probs), 0).to_numpy(zero_copy_only=False)[given]
    where = np.flatnonzero(given)
    if (lengths != K).any():
        raise VotesError(
            _annotation(kept, where[lengths != K][0])
            + f"{lengths[lengths != K][0]} probs, the label space has {K} labels"
        )
    values = probs.filter(pc.is_valid(probs)).flatten().to_numpy(zero_copy_only=False).astype(np.float64).reshape(-1, K)
    total = values.sum(axis=1)
    wrong = ~np.isfinite(values).all(axis=1) | (values < 0).any(axis=1) | ~(total > 0)
    if wrong.any():
        raise VotesError(
            _annotation(kept, where[wrong][0]) + f"probs {values[wrong][0].tolist()} are not a distribution"
        )
    shares[given] = values / total[:, None]
    return shares


def _annotation(kept: pa.Table, row: int | np.integer) -> str:
    return f"annotations: {kept['annotator_id'][int(row)].as_py()!r} on item {kept['item_id'][int(row)].as_py()!r}: "
