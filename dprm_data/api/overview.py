"""A run at a glance, from as few columns of its tables as possible; also of an interrupted run."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow.compute as pc
import pyarrow.parquet as pq

from dprm_data.core.format import money
from dprm_data.runs.comparison_table import judged_items, judgements
from dprm_data.runs.folder import RunFolder
from dprm_data.runs.summary import LINE_COLUMNS, ItemLine, item_line, known_cost


@dataclass(frozen=True)
class Overview:
    """What a run has so far; None if the table is not written yet. voted: items with a vote; labelled: annotations with a label; simulated: those
    by a model; cost: dollars of all annotations (None: not known); first: the first fitted items."""

    items: int
    voted: int | None
    annotations: int | None
    labelled: int
    simulated: int
    pairs: int | None
    cost: float | None
    first: list[ItemLine]

    def sentence(self) -> str:
        """How complete it is, and what it cost."""
        if self.annotations is None:
            return f"{self.items:,} items, not annotated yet"
        failed = self.annotations - self.labelled
        labels = f"{failed:,} without a label" if failed else "all with a label"
        said = [f"{self.annotations:,} annotations ({labels})", money(self.cost, "cost not known")]
        if self.voted is None:
            return ", ".join([f"{self.items:,} items, not fitted yet", *said])
        pairs = [] if self.pairs is None else [f"{self.pairs:,} preference pairs"]
        return ", ".join([f"{self.voted:,} of {self.items:,} items with votes", said[0], *pairs, said[1]])

    def whose(self) -> str:
        """Whether the labels are a model's or people's."""
        human = (self.annotations or 0) - self.simulated
        if not human:
            return "These labels are simulated: a model played the personas."
        if not self.simulated:
            return "These labels are people's."
        return f"{self.simulated:,} labels are simulated (a model played the personas), {human:,} are by people."


def overview_of(folder: RunFolder, *, first: int = 0) -> Overview:
    """Read it. first: how many items to read with their texts. Raises `InputError` where there are no items, or a table is damaged."""
    items = pq.read_metadata(folder.needs("items")).num_rows
    annotations = voted = pairs = cost = None
    labelled = simulated = 0
    lines: list[ItemLine] = []
    if folder.table("annotations").is_file():
        table = judgements(folder, ["annotator_kind", "status", "cost"])
        annotations = table.num_rows
        labelled = _count(pc.equal(table["status"], "ok"))
        simulated = _count(pc.equal(table["annotator_kind"], "persona"))
        cost = known_cost(table)
    if folder.table("distributions").is_file():
        voted = judged_items(folder)
        lines = _first(folder, first) if first else []
    if folder.table("preferences").is_file():
        pairs = pq.read_metadata(folder.needs("preferences")).num_rows
    return Overview(items, voted, annotations, labelled, simulated, pairs, cost, lines)


def _first(folder: RunFolder, count: int) -> list[ItemLine]:
    with pq.ParquetFile(folder.needs("distributions")) as file:
        batch = next(file.iter_batches(batch_size=count, columns=LINE_COLUMNS), None)
        return [item_line(row) for row in batch.to_pylist()] if batch else []


def _count(true: object) -> int:
    return int(pc.sum(true).as_py() or 0)
