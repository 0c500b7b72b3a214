"""What a stated distribution says of the votes, from a run's annotations: beside what one half of the votes says of the other. Makes no call."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dprm_data.elicit.work import POPULATION
from dprm_data.ingest.votes import stated_from_annotations, votes_from_annotations
from dprm_data.labels.space import LabelSpace
from dprm_data.preference.model_agreement import StatedCheck, stated_check
from dprm_data.runs.folder import RunFolder


def stated_against_votes(folder: RunFolder, space: LabelSpace, *, seed: int = 0) -> StatedCheck | None:
    """Compare the model's stated distributions with the personas' votes, on the items that have both; None where no item has."""
    table = pq.read_table(folder.needs("annotations"))
    table = table.filter(pc.equal(table["annotator_kind"], "persona"))
    population = pc.equal(table["annotator_id"], POPULATION.id)
    votes = table.filter(pc.invert(population))
    personas = sorted(pc.unique(votes["annotator_id"]).to_pylist())
    if len(personas) < 2:
        return None
    items = pq.read_table(folder.needs("items"), columns=["item_id", "group_id"])
    ids = items["item_id"].to_pylist()
    order = np.random.default_rng(seed).permutation(len(personas))
    halves = []
    for some in np.array_split(order, 2):
        mine = pc.is_in(votes["annotator_id"], value_set=pa.array([personas[i] for i in some]))
        halves.append(votes_from_annotations(votes.filter(mine), space, item_ids=ids).counts)
    stated = stated_from_annotations(table.filter(population), space, ids)
    counts = np.stack(halves, axis=1)
    totals = counts.sum(axis=2, keepdims=True)
    rows = np.flatnonzero((totals[:, :, 0] > 0).all(axis=1) & (stated.sum(axis=1) > 0))
    groups = [items["group_id"][int(i)].as_py() for i in rows]
    return stated_check(stated[rows], counts[rows] / totals[rows], groups, space, seed=seed)
