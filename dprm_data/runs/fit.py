"""Fitting a run's annotations: the distributions of all its items. Makes no call."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from dprm_data.ingest.ratings import ratings_of_items
from dprm_data.ingest.votes import Votes, stated_from_annotations, votes_from_annotations
from dprm_data.preference.fitting import Fit, fit

if TYPE_CHECKING:
    from dprm_data.runs.run import Run


def item_ids_of(run: Run) -> list[str]:
    """The ids of all items of the run, in order."""
    ids: list[str] = pq.read_table(run.folder.needs("items"), columns=["item_id"])["item_id"].to_pylist()
    return ids


def fit_annotations(run: Run, annotations: pa.Table, votes: Votes | None = None) -> Fit:
    """Fit these annotations by the recipe's `fit`: a distribution for every item of the run, in order. Writes nothing.

    votes: of all items, if they are not the plain counts of the annotations, as after a calibration.
    """
    item_ids = item_ids_of(run)
    config, prior = run.recipe.fit, run.recipe.prior
    ratings = None
    if votes is None:
        ratings = ratings_of_items(annotations, run.space, item_ids, human_weight=config.human_weight)
        votes = votes_from_annotations(annotations, run.space, item_ids=item_ids, human_weight=config.human_weight)
    has_stated = prior is not None or run.states_population
    return fit(
        votes,
        run.space,
        family=config.family,
        raters=config.raters,
        ratings=ratings,
        stated=stated_from_annotations(annotations, run.space, item_ids) if has_stated else None,
        stated_strength=prior.strength if prior else 2.0,
        smoothing=config.smoothing,
        interval=config.interval,
    )
