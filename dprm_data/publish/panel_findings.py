"""Findings about the panel, for cards and reports: agreement, self-consistency and position bias."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dprm_data.core.arrays import Floats, Ints
from dprm_data.elicit.elicitation import Prefix
from dprm_data.ingest.items import Item
from dprm_data.ingest.ratings import ratings_from_annotations
from dprm_data.preference.agreement import Annotators, agreement_summary, annotators, position_bias

if TYPE_CHECKING:
    from dprm_data.preference.agreement import PositionBias
    from dprm_data.runs.run import Run

MOST_ROWS = 500_000  # agreement is computed from the first annotations, up to this many
_POSITIONS = 20_000  # annotations for which the order of the list is reconstructed
_COLUMNS = [
    "item_id",
    "annotator_id",
    "annotator_kind",
    "elicitation",
    "label",
    "probs",
    "weight",
    "replicate",
    "status",
    "model_id",  # not in older tables
]


@dataclass(frozen=True)
class PanelFindings:
    """agreement: the summary's figures, empty without common items. who: figures of every annotator. positions: by question, the place
    of the chosen answer in the list. rows: number of annotations used. soft: whether some are distributions, whose most probable labels agreement is about."""

    agreement: dict[str, Any]
    who: Annotators | None
    positions: dict[str, PositionBias]
    rows: int
    soft: bool = False


def panel_findings(run: Run) -> PanelFindings:
    """Compute the findings from the run's annotations. No call is made."""
    table = _annotations(run)
    ratings = ratings_from_annotations(table, run.space)
    if not len(ratings):
        return PanelFindings({}, None, {}, 0)
    return PanelFindings(
        agreement_summary(ratings, run.space),
        annotators(ratings, run.space),
        _positions(run, table),
        len(ratings),
        ratings.shares is not None,
    )


def _annotations(run: Run) -> pa.Table:
    batches, rows = [], 0
    with pq.ParquetFile(run.folder.needs("annotations")) as file:
        schema = file.schema_arrow
        columns = [name for name in _COLUMNS if name in schema.names]
        for batch in file.iter_batches(batch_size=100_000, columns=columns):
            batches.append(batch)
            rows += batch.num_rows
            if rows >= MOST_ROWS:
                break
    return pa.Table.from_batches(batches, pa.schema([schema.field(name) for name in columns]))


def _positions(run: Run, table: pa.Table) -> dict[str, PositionBias]:
    """Reconstruct the order of every list from its seed, and count the places of the chosen answers."""
    if not run.asks_models:
        return {}
    elicitation, space = run.work.elicitation, run.space
    by_panel = pc.and_(pc.equal(table["annotator_kind"], "persona"), pc.equal(table["elicitation"], elicitation.name))
    mine = table.filter(pc.and_(pc.and_(by_panel, pc.equal(table["status"], "ok")), pc.is_valid(table["label"])))
    if not mine.num_rows:
        return {}
    if mine.num_rows > _POSITIONS:
        rows = np.random.default_rng(0).choice(mine.num_rows, _POSITIONS, replace=False)
        mine = mine.take(pa.array(np.sort(rows)))
    personas = {persona.id: persona for persona in run.panel.personas}
    found: dict[int, list[int]] = {}
    sizes: dict[int, int] = {}
    for row in mine.select(["item_id", "annotator_id", "label", "replicate"]).to_pylist():
        persona = personas.get(row["annotator_id"])
        if persona is None:
            continue
        item = Item(row["item_id"], (), (), "", None, "", {})
        label = space.names.index(row["label"])
        for question in elicitation.task(Prefix(item, "", ""), persona, row["replicate"]).questions:
            if not question.order:
                continue
            axis = -1 if question.axis is None or not space.axes else question.axis
            answer = label if axis < 0 else int(space.level_index[label, axis])
            found.setdefault(axis, []).append(question.order.index(answer))
            sizes[axis] = len(question.order)
    named = {axis: "all labels" if axis < 0 else space.axes[axis].name for axis in found}
    return {named[axis]: position_bias(np.array(places), sizes[axis]) for axis, places in sorted(found.items())}


def clustered(agreement: Floats) -> Ints:
    """An order that puts annotators who agree side by side (average linkage). Unknown agreements count as the mean."""
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    n = len(agreement)
    if n < 3:
        return np.arange(n)
    known = np.isfinite(agreement)
    distance = 1.0 - np.where(known, agreement, agreement[known].mean() if known.any() else 0.5)
    distance = np.clip((distance + distance.T) / 2, 0.0, None)
    np.fill_diagonal(distance, 0.0)
    return np.asarray(leaves_list(linkage(squareform(distance, checks=False), "average", optimal_ordering=n <= 200)))
