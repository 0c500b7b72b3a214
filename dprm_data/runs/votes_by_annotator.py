"""Everybody's votes of a run beside its items: a column for each who votes, or a row for each vote."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dprm_data.core.arrays import Ints
from dprm_data.core.tables import ANNOTATIONS, conformed, part
from dprm_data.runs.folder import RunFolder

_READ = ["item_id", "annotator_id", "annotator_kind", "model_id", "replicate", "label", "weight", "status"]
_SERIES = ["annotator_id", "annotator_kind", "model_id", "replicate"]

Series = tuple[str, str, str | None, int]  # who votes: annotator, kind, model, replicate


@dataclass(frozen=True)
class VotesByAnnotator:
    """The votes that have a label, sorted by item: item's row, series and label's number of each, all of shape (V,)."""

    LONG: ClassVar[tuple[str, ...]] = (*_SERIES, "vote")  # the columns of a table with a row for each vote

    series: list[Series]
    names: list[str]
    row: Ints
    of: Ints
    label: Ints

    @classmethod
    def read(cls, folder: RunFolder, labels: list[str]) -> VotesByAnnotator:
        """Read them from the run's annotations, in any order."""
        ids = pq.read_table(folder.needs("items"), columns=["item_id"])["item_id"].combine_chunks()
        names, numbers = pa.array(labels), dict[Series, int]()
        parts: list[tuple[Ints, Ints, Ints]] = []
        with pq.ParquetFile(folder.needs("annotations")) as file:
            there = [name for name in _READ if name in file.schema_arrow.names]
            for batch in file.iter_batches(columns=there, batch_size=50_000):
                table = conformed(pa.Table.from_batches([batch]), part(ANNOTATIONS, _READ))
                table = table.filter(pc.and_(pc.equal(table["status"], "ok"), pc.is_valid(table["label"])))
                who = zip(*(table[name].to_pylist() for name in _SERIES), strict=True)
                series = [numbers.setdefault(each, len(numbers)) for each in who]
                row, label = pc.index_in(table["item_id"], value_set=ids), pc.index_in(table["label"], value_set=names)
                parts.append((row.to_numpy(), np.array(series, dtype=np.int64), label.to_numpy()))
        row, of, label = (np.concatenate([each[i] for each in parts] or [np.zeros(0, np.int64)]) for i in range(3))
        order = np.argsort(row, kind="stable")
        return cls(list(numbers), labels, row[order], of[order].astype(np.int32), label[order])

    def wide(self, start: int, stop: int) -> dict[str, pa.Array]:
        """A column for each series of the items from `start` to `stop`: the labels, null where there is no vote."""
        here = slice(*np.searchsorted(self.row, [start, stop]))
        cells = np.full((len(self.series), stop - start), -1)
        cells[self.of[here], self.row[here] - start] = self.label[here]
        names = pa.array(self.names)
        return {
            title: names.take(pa.array(column, mask=column < 0))
            for title, column in zip(self._titles(), cells, strict=True)
        }

    def long(self, items: pa.Table, start: int) -> pa.Table:
        """These items, the first of which has the row `start`, once for each vote. An item without votes has no row."""
        here = slice(*np.searchsorted(self.row, [start, start + items.num_rows]))
        table = items.take(pa.array(self.row[here] - start))
        for i, name in enumerate(_SERIES):
            who = pa.array([each[i] for each in self.series], ANNOTATIONS.field(name).type)
            table = table.append_column(name, who.take(pa.array(self.of[here])))
        return table.append_column("vote", pa.array(self.names).take(pa.array(self.label[here])))

    def _titles(self) -> list[str]:
        """vote_PERSONA, with the model where several answer and the replicate where there are more than one; vote_human_PERSON."""
        models, replicates = ({each[i] for each in self.series if each[1] != "human"} for i in (2, 3))
        return [
            f"vote_{'human_' if kind == 'human' else ''}{annotator}"
            + (f"_{model}" if model and len(models) > 1 else "")
            + (f"_{replicate + 1}" if len(replicates) > 1 and kind != "human" else "")
            for annotator, kind, model, replicate in self.series
        ]
