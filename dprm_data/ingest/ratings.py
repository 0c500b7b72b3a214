"""Ratings: which annotator gave which item which label. Votes drop the annotators; agreement, annotator drift and groups need them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dprm_data.core.arrays import Floats, Ints
from dprm_data.ingest.votes import Votes, item_codes, label_codes, said_of, vote_rows, weights_of
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

    def labelled(self) -> Ratings:
        """The ratings that are one label, without those that are distributions."""
        return (
            self if self.shares is None else self.take(np.flatnonzero(self.shares.max(axis=1) == 1.0)).most_probable()
        )

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


def ratings_from_annotations(
    table: pa.Table, space: LabelSpace, *, item_ids: Sequence[str] | None = None, human_weight: float = 1.0
) -> Ratings:
    """The ratings in a table of annotations: its rows with status `ok` that have a label, except stated distributions.

    `item_ids` and `human_weight` as in `votes_from_annotations`.
    """
    votes = vote_rows(table)
    kept = votes.filter(pc.is_valid(votes["label"]))
    ids, items = item_codes(kept["item_id"], item_ids)
    names, people = item_codes(kept["annotator_id"], None)
    weights = weights_of(kept, human_weight)
    rounds = np.zeros(len(items), dtype=np.int64)
    if "replicate" in kept.column_names:
        rounds = pc.fill_null(pc.cast(kept["replicate"], pa.int64()), 0).to_numpy()
    labels = label_codes(kept["label"], space, "annotations")
    soft = "probs" in kept.column_names and kept["probs"].null_count < kept.num_rows
    shares = said_of(kept, labels, space) if soft else None
    found = Ratings(ids, names, space.K, items, people, labels, weights, rounds, model=_models(kept), shares=shares)
    return found if (items >= 0).all() else found.take(np.flatnonzero(items >= 0))


def ratings_of_items(
    table: pa.Table, space: LabelSpace, item_ids: Sequence[str], *, human_weight: float = 1.0
) -> Ratings:
    """The ratings in a table of annotations that are a single label, on these items: the votes of `votes_from_annotations` without distributions."""
    labels = table.filter(pc.is_null(table["probs"])) if "probs" in table.column_names else table
    return ratings_from_annotations(labels, space, item_ids=item_ids, human_weight=human_weight)


def _models(kept: pa.Table) -> Ints | None:
    """The model of every row, as a number; None where no two differ (and in older tables, which do not name them)."""
    if "model_id" not in kept.column_names:
        return None
    ids, models = item_codes(pc.fill_null(kept["model_id"], ""), None)
    return models if len(ids) > 1 else None
