"""What one way of asking answered about the crowd's items: votes, fitted distributions, cost. Read from its run's tables; no call is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dprm_data.core.arrays import Floats
from dprm_data.ingest.ratings import Ratings, ratings_from_annotations
from dprm_data.ingest.votes import stated_from_annotations, votes_from_annotations
from dprm_data.runs.panel_variance import PanelVariance, panel_variance
from dprm_data.runs.run import Run
from dprm_data.runs.summary import known_cost


@dataclass(frozen=True)
class Answers:
    """votes (N, K): weighted label counts of its personas, or the stated distribution; fitted, low, high: the published distribution (N, K) and the 90 % interval of its
    expected reward (N,), NaN for items without an answer. ratings: who gave which label, items numbered as the crowd's. attributes: of the personas. cost: dollars, None
    where a price is not known; calls: annotations asked for; ok: those with a label."""

    votes: Floats
    fitted: Floats
    low: Floats
    high: Floats
    ratings: Ratings
    attributes: dict[str, dict[str, str]]
    models: tuple[str, ...]
    cost: float | None
    asked: int
    ok: int
    variance: PanelVariance | None
    is_stated: bool

    @property
    def answered(self) -> NDArray[np.bool_]:
        """Whether each item has an answer (N,)."""
        return np.asarray(self.votes.sum(axis=1) > 0)

    @property
    def shares(self) -> Floats:
        """The votes as shares (N, K); zeros for items without an answer."""
        total = self.votes.sum(axis=1, keepdims=True)
        return np.asarray(np.divide(self.votes, total, out=np.zeros_like(self.votes), where=total > 0))


def read_answers(run: Run, item_ids: Sequence[str]) -> Answers:
    """Read the answers of a run that is fitted, for these items in this order. Raises `InputError` if it has no tables."""
    space, folder = run.space, run.folder
    table = pq.read_table(folder.needs("annotations"))
    table = table.filter(pc.equal(table["annotator_kind"], "persona"))
    stated = run.states_population
    votes = (
        stated_from_annotations(table, space, item_ids)
        if stated
        else votes_from_annotations(table, space, item_ids=item_ids).counts
    )
    fit = pq.read_table(
        folder.needs("distributions"), columns=["item_id", "label_distribution", "reward_low", "reward_high"]
    )
    place = {item: i for i, item in enumerate(fit["item_id"].to_pylist())}
    rows = np.array([place[item] for item in item_ids], dtype=np.int64)
    missing = votes.sum(axis=1) == 0
    fitted = np.array(fit["label_distribution"].to_pylist(), dtype=np.float64)[rows]
    low, high = (fit[name].to_numpy().astype(np.float64)[rows] for name in ("reward_low", "reward_high"))
    fitted[missing], low[missing], high[missing] = np.nan, np.nan, np.nan
    return Answers(
        votes=votes,
        fitted=fitted,
        low=low,
        high=high,
        ratings=ratings_from_annotations(table, space, item_ids=item_ids),
        attributes={
            persona.id: {name: str(value) for name, value in persona.attributes.items()}
            for persona in run.panel.personas
        },
        models=tuple(sorted({str(name) for name in pc.unique(table["model"]).to_pylist() if name})),
        cost=known_cost(table),
        asked=table.num_rows,
        ok=int(pc.sum(pc.equal(table["status"], "ok")).as_py() or 0),
        variance=None if stated else panel_variance(folder, space),
        is_stated=stated,
    )
