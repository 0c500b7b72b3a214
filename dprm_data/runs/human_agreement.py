"""The panel against people, on the items that both judged, from a run's annotations. Makes no call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dprm_data.core.tables import ANNOTATIONS
from dprm_data.ingest.votes import votes_from_annotations

if TYPE_CHECKING:
    from dprm_data.labels.space import LabelSpace
    from dprm_data.runs.folder import RunFolder

_COLUMNS = ["item_id", "annotator_id", "annotator_kind", "elicitation", "label", "probs", "weight", "status"]


@dataclass(frozen=True)
class Validation:
    """The panel against people, on the items that both judged; differences (panel minus people) and correlation are those of the mean rewards.

    same_label: the share of items on which both have the same most frequent label. Annotations that are distributions count as such.
    """

    items: int
    correlation: float | None
    mean_difference: float
    same_label: float


def validation(folder: RunFolder, space: LabelSpace) -> Validation | None:
    """Compare panel and people; None if no item was judged by both."""
    path = folder.needs("annotations")
    by_people = pq.read_table(path, columns=_COLUMNS, schema=ANNOTATIONS, filters=[("annotator_kind", "=", "human")])
    if not by_people.num_rows:
        return None
    judged = pc.unique(by_people["item_id"])
    there = (pc.field("annotator_kind") != "human") & pc.field("item_id").isin(judged)
    by_panel = pq.read_table(path, columns=_COLUMNS, schema=ANNOTATIONS, filters=there)
    ids = judged.to_pylist()
    panel, people = (votes_from_annotations(rows, space, item_ids=ids).counts for rows in (by_panel, by_people))
    both = (panel.sum(axis=1) > 0) & (people.sum(axis=1) > 0)
    if not both.any():
        return None
    a, b = panel[both], people[both]
    x, y = (votes @ space.rewards / votes.sum(axis=1) for votes in (a, b))
    varied = len(x) > 2 and x.std() > 0 and y.std() > 0
    return Validation(
        int(both.sum()),
        float(np.corrcoef(x, y)[0, 1]) if varied else None,
        float((x - y).mean()),
        float((a.argmax(axis=1) == b.argmax(axis=1)).mean()),
    )
