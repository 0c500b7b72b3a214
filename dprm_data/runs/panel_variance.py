"""What makes a panel's ratings differ, from a run's annotations: variance components, agreement of models, cost per vote. No call is made.

Annotations are read in batches of whole items, and only sums are kept. Every rating counts once, whatever a persona's weight: this is about how the panel
answers, not about the population.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dprm_data.core.arrays import Floats, Ints
from dprm_data.elicit.work import POPULATION
from dprm_data.ingest.votes import MODEL_COLUMNS, model_of, shares_of
from dprm_data.labels.space import LabelSpace
from dprm_data.preference.model_agreement import ModelPair, ModelSums
from dprm_data.preference.pair_sums import PairSums, number_of_blocks
from dprm_data.preference.variance_components import (
    RESAMPLES,
    VarianceComponents,
    resampled,
    variance_components,
)
from dprm_data.runs.folder import RunFolder

_ROWS = 200_000  # of a batch
_MOST_PROMPTS = 200_000  # items whose prompts are looked up; beyond it neighbours share a block, and with them the responses to one prompt
_MOST_MODELS = 20  # whose pairs are compared


@dataclass(frozen=True)
class ModelVotes:
    """One model's annotations by personas: how many, with a label, their mean reward; dollars, and dollars per label (None where not known)."""

    model: str
    annotations: int
    ok: int
    mean_reward: float | None
    cost: float | None
    cost_per_vote: float | None

    @property
    def cost_of_thousand(self) -> float | None:
        """Dollars per 1,000 labels: one label costs too little to be written."""
        return None if self.cost_per_vote is None else 1000 * self.cost_per_vote


@dataclass(frozen=True)
class PanelVariance:
    """See the modules of its parts. pairs: of models; empty where there is one."""

    components: VarianceComponents
    pairs: tuple[ModelPair, ...]
    models: tuple[ModelVotes, ...]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def panel_variance(
    folder: RunFolder, space: LabelSpace, *, kind: str = "persona", resamples: int = RESAMPLES, seed: int = 0
) -> PanelVariance | None:
    """Compute it from the folder's tables; None if no persona has given a label. kind: `human`, for people in the place of personas."""
    path = folder.needs("annotations")
    ratings = _Ratings(path, space, kind)
    lines = ratings.lines()
    if not ratings.personas or not any(line.ok for line in lines):
        return None
    P, M = len(ratings.personas), len(ratings.models)
    blocks = number_of_blocks(P, M)
    half = np.random.default_rng(seed).permutation(P) % 2
    sums = PairSums(blocks, P, M, (1, space.K))
    agreement = ModelSums(blocks, list(ratings.models)[:_MOST_MODELS], space)
    placed = _Blocks(folder, blocks, ratings.items)
    for ids, item, persona, model, probs in ratings.batches():
        block = placed.of(ids)[item]
        sums.add(block, item, persona, model, np.column_stack([probs @ space.rewards, probs]))
        if M > 1:
            kept = model < _MOST_MODELS
            agreement.add(block[kept], item[kept], model[kept], half[persona[kept]], probs[kept])
    drawn = resampled(len(sums.filled), resamples=resamples, seed=seed)
    return PanelVariance(
        variance_components(
            sums, items=placed.items, label_measure=None if ratings.soft else 1, resamples=resamples, seed=seed
        ),
        tuple(agreement.pairs(drawn, sums.filled)) if M > 1 else (),
        tuple(lines),
    )


class _Ratings:
    """The annotations of a table by annotators of one kind. soft: whether some of them are distributions."""

    def __init__(self, path: Path, space: LabelSpace, kind: str) -> None:
        self._path, self._space, self._kind = path, space, kind
        self._models = [name for name in MODEL_COLUMNS if name in pq.read_schema(path).names]
        self.personas: dict[str, int] = {}
        self.models: dict[str, int] = {}
        self.items = 0  # in a row of equal ids; more than there are where an item's annotations do not stand together
        self.soft = False
        self._sorted = False

    def lines(self) -> list[ModelVotes]:
        """A line for every model. Finds the personas and models, too."""
        figures: dict[str, Floats] = {}
        ids: set[int] = set()
        last = None
        for table in self._tables(["item_id", "annotator_id", "label", "probs", "status", "cost"]):
            self.soft = self.soft or table["probs"].null_count < len(table)
            codes = model_of(table).dictionary_encode().combine_chunks()
            model = codes.indices.to_numpy()
            ok = _ok(table)
            reward = self._rewards(table, ok)
            cost = table["cost"].to_numpy()
            for i, name in enumerate(codes.dictionary.to_pylist()):
                mine = model == i
                good = mine & ok
                sums = [mine.sum(), good.sum(), reward[good].sum(), cost[mine].sum()]
                figures[name] = figures.get(name, np.zeros(4)) + np.array(sums, dtype=np.float64)
                if good.any():
                    self.models.setdefault(name, len(self.models))
            for name in pc.unique(table["annotator_id"].filter(pa.array(ok))).to_pylist():
                self.personas.setdefault(name, len(self.personas))
            runs = _runs(table["item_id"])
            ids.update(map(hash, runs))
            self.items += len(runs) - (bool(runs) and runs[0] == last)
            last = runs[-1] if runs else last
        self.personas, self.models = (
            {name: i for i, name in enumerate(sorted(some))} for some in (self.personas, self.models)
        )
        self._sorted = len(ids) < self.items
        self.items = len(ids)
        return [
            ModelVotes(
                model=name,
                annotations=int(total),
                ok=int(good),
                mean_reward=float(reward / good) if good else None,
                cost=None if np.isnan(dollars) else float(dollars),
                cost_per_vote=None if np.isnan(dollars) or not good else float(dollars / good),
            )
            for name, (total, good, reward, dollars) in sorted(figures.items())
        ]

    def batches(self) -> Iterator[tuple[list[str], Ints, Ints, Ints, Floats]]:
        """Ids of the batch's items; item, persona, model of every rating, as numbers, and its labels' probabilities (R, K). Items are whole."""
        waiting: pa.Table | None = None
        for table in self._tables(["item_id", "annotator_id", "label", "probs", "status"]):
            table = table.filter(pa.array(_ok(table)))
            table = pa.concat_tables([waiting, table]) if waiting is not None else table
            if not table.num_rows:
                continue
            # The last item may go on in the next batch.
            whole = pc.index(table["item_id"], table["item_id"][-1]).as_py() if not self._sorted else table.num_rows
            waiting = table.slice(whole) if not self._sorted else None
            if whole:
                yield self._coded(table.slice(0, whole))
        if waiting is not None and waiting.num_rows:
            yield self._coded(waiting)

    def _coded(self, table: pa.Table) -> tuple[list[str], Ints, Ints, Ints, Floats]:
        items = table["item_id"].combine_chunks().dictionary_encode()
        persona = pc.index_in(table["annotator_id"], pa.array(list(self.personas)))
        model = pc.index_in(model_of(table), pa.array(list(self.models)))
        codes = (
            column.to_numpy(zero_copy_only=False)
            for column in (items.indices, persona.combine_chunks(), model.combine_chunks())
        )
        item, who, what = (np.asarray(code, dtype=np.int64) for code in codes)
        return items.dictionary.to_pylist(), item, who, what, self._probs(table)

    def _tables(self, columns: list[str]) -> Iterator[pa.Table]:
        """The personas' rows, in batches; in one, sorted by item, where the file does not keep items together."""
        names = ["annotator_kind", *self._models, *columns]
        with pq.ParquetFile(self._path) as file:
            if self._sorted:
                yield self._by_kind(file.read(columns=names).sort_by("item_id"))
                return
            for batch in file.iter_batches(batch_size=_ROWS, columns=names):
                if (table := self._by_kind(pa.Table.from_batches([batch]))).num_rows:
                    yield table

    def _by_kind(self, table: pa.Table) -> pa.Table:
        panel = pc.and_(
            pc.equal(table["annotator_kind"], self._kind), pc.not_equal(table["annotator_id"], POPULATION.id)
        )
        return table.filter(pc.fill_null(panel, False))

    def _probs(self, table: pa.Table) -> Floats:
        """Probabilities of the labels (R, K): what an annotation says, else its label's indicator."""
        K = self._space.K
        label = pc.index_in(table["label"], pa.array(self._space.names)).to_numpy()
        found = np.zeros((table.num_rows, K))
        named = np.flatnonzero(~np.isnan(label.astype(np.float64)))
        found[named, label[named].astype(np.int64)] = 1.0
        shares = shares_of(table, self._space)
        return np.where(np.isnan(shares), found, shares)

    def _rewards(self, table: pa.Table, ok: np.ndarray[Any, np.dtype[np.bool_]]) -> Floats:
        """The reward of every row that is ok, 0 of the others."""
        found = np.zeros(table.num_rows)
        found[ok] = self._probs(table.filter(pa.array(ok))) @ self._space.rewards
        return found


def _ok(table: pa.Table) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Whether an annotation has a label or a distribution."""
    says = pc.or_(pc.is_valid(table["label"]), pc.is_valid(table["probs"]))
    good = pc.and_(pc.fill_null(pc.equal(table["status"], "ok"), False), says)
    return np.asarray(good.to_numpy(), dtype=bool)


def _runs(column: pa.ChunkedArray) -> list[str]:
    """The ids, each stretch of equal ones once."""
    codes = column.combine_chunks().dictionary_encode()
    indices = codes.indices.to_numpy()
    starts = np.flatnonzero(np.diff(indices, prepend=-1))
    names = codes.dictionary.to_pylist()
    return [names[i] for i in indices[starts]]


class _Blocks:
    """Which block an item belongs to: responses to one prompt to the same. Counts the items."""

    def __init__(self, folder: RunFolder, blocks: int, items: int) -> None:
        self._blocks, self._expected = blocks, max(items, 1)
        self.items = 0
        self._of: dict[str, int] = {}
        path = folder.table("items")
        if items <= _MOST_PROMPTS and path.is_file():
            table = pq.read_table(path, columns=["item_id", "group_id"])
            groups = table["group_id"].combine_chunks().dictionary_encode()
            count = max(len(groups.dictionary), 1)
            place = groups.indices.to_numpy(zero_copy_only=False).astype(np.int64) * min(blocks, count) // count
            self._of = dict(zip(table["item_id"].to_pylist(), place.tolist(), strict=True))

    def of(self, ids: list[str]) -> Ints:
        """The blocks of these items."""
        order = np.arange(self.items, self.items + len(ids))
        self.items += len(ids)
        neighbours = np.minimum(order * min(self._blocks, self._expected) // self._expected, self._blocks - 1)
        return np.array(
            [self._of.get(name, int(block)) for name, block in zip(ids, neighbours, strict=True)], dtype=np.int64
        )
