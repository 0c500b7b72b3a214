"""Ratings: which annotator gave which item which label. Votes drop the annotators; agreement, annotator drift and groups need them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dprm_data.core.arrays import Floats, Ints
from dprm_data.ingest.votes import Votes, item_codes, label_codes, shares_of, vote_rows
from dprm_data.labels.space import LabelSpace


@dataclass(frozen=True)
class Ratings:
    """R ratings of N items by A annotators on K labels.

    `item`, `annotator`, `label`, `replicate` (R,) are indices into `item_ids`, `annotator_ids`, the space's labels and the annotator's
    repetitions; `weight` (R,). If annotators are not known, `annotator_ids` and `annotator` are empty. `base` is that of `Votes`. `model` (R,):
    which of several models played the annotator, as a number; None if there is one, or none. `shares` (R, K): the distributions that were given in place of
    labels (`label` is then the most probable one); None where all gave labels.
    """

    item_ids: list[str]
    annotator_ids: list[str]
    K: int
    item: Ints
    annotator: Ints
    label: Ints
    weight: Floats
    replicate: Ints
    base: int | None = None
    model: Ints | None = None
    shares: Floats | None = None

    def __len__(self) -> int:
        return len(self.item)

    def votes(self) -> Votes:
        """The weighted label counts of all items; a distribution is split over its labels."""
        N, K = len(self.item_ids), self.K
        if self.shares is not None:
            split = np.zeros((N, K))
            np.add.at(split, self.item, self.shares * self.weight[:, None])
            return Votes(self.item_ids, split, self.base)
        counts = np.bincount(self.item * K + self.label, weights=self.weight, minlength=N * K)
        return Votes(self.item_ids, counts.reshape(N, K).astype(np.float64), self.base)

    def rewards(self, space: LabelSpace) -> Floats:
        """The reward of every rating's label, or the expected reward of its distribution, (R,)."""
        return space.rewards[self.label] if self.shares is None else self.shares @ space.rewards

    def most_probable(self) -> Ratings:
        """The ratings as labels alone."""
        return replace(self, shares=None)

    def take(self, rows: Ints) -> Ratings:
        """These ratings only; items and annotators keep their numbers."""
        people = self.annotator[rows] if len(self.annotator) else self.annotator
        return replace(
            self,
            item=self.item[rows],
            annotator=people,
            label=self.label[rows],
            weight=self.weight[rows],
            replicate=self.replicate[rows],
            model=None if self.model is None else self.model[rows],
            shares=None if self.shares is None else self.shares[rows],
        )


def ratings_from_annotations(table: pa.Table, space: LabelSpace) -> Ratings:
    """The ratings in a table of annotations: its rows with status `ok` that have a label, except stated distributions."""
    votes = vote_rows(table)
    kept = votes.filter(pc.is_valid(votes["label"]))
    ids, items = item_codes(kept["item_id"], None)
    names, people = item_codes(kept["annotator_id"], None)
    weights = pc.fill_null(kept["weight"], 1.0).to_numpy() if "weight" in kept.column_names else np.ones(len(items))
    rounds = np.zeros(len(items), dtype=np.int64)
    if "replicate" in kept.column_names:
        rounds = pc.fill_null(pc.cast(kept["replicate"], pa.int64()), 0).to_numpy()
    labels = label_codes(kept["label"], space, "annotations")
    shares = _shares(kept, labels, space)
    return Ratings(ids, names, space.K, items, people, labels, weights, rounds, model=_models(kept), shares=shares)


def _shares(kept: pa.Table, labels: Ints, space: LabelSpace) -> Floats | None:
    """Every row's shares of the labels, (R, K): its distribution, or 1 for its label; None if no row has a distribution."""
    shares = shares_of(kept, space)
    without = np.isnan(shares[:, 0])
    if without.all():
        return None
    shares[without] = np.eye(space.K)[labels[without]]
    return shares


def ratings_of_items(
    table: pa.Table, space: LabelSpace, item_ids: Sequence[str], *, human_weight: float = 1.0
) -> Ratings:
    """The ratings in a table of annotations that are a single label, on these items; a human's weight is multiplied by `human_weight`.

    With weights as in `votes_from_annotations`, of whose votes they are those that name a label and not a distribution.
    """
    kept = table.filter(pc.is_valid(table["label"]))
    if "probs" in kept.column_names and not pa.types.is_null(kept["probs"].type):
        kept = kept.filter(pc.is_null(kept["probs"]))
    found = ratings_from_annotations(kept, space)
    place = {item: i for i, item in enumerate(item_ids)}
    number = np.array([place.get(item, -1) for item in found.item_ids], dtype=np.int64)
    weight = found.weight
    if human_weight != 1.0 and "annotator_kind" in kept.column_names:
        human = pc.fill_null(pc.equal(vote_rows(kept)["annotator_kind"], "human"), False).to_numpy()
        weight = np.where(human, weight * human_weight, weight)
    item = number[found.item] if len(found) else found.item
    here = replace(found, item_ids=list(item_ids), item=item, weight=weight)
    return here.take(np.flatnonzero(item >= 0))


def _models(kept: pa.Table) -> Ints | None:
    """The model of every row, as a number; None where no two differ (and in older tables, which do not name them)."""
    if "model_id" not in kept.column_names:
        return None
    ids, models = item_codes(pc.fill_null(kept["model_id"], ""), None)
    return models if len(ids) > 1 else None
