"""Fitting a run's annotations: the distributions of all its items. Makes no call."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from dprm_data.ingest.votes import Votes, stated_from_annotations, votes_from_annotations
from dprm_data.preference.fitting import Fit, fit
from dprm_data.preference.soft_labels import SoftWorth, at_their_worth
from dprm_data.runs.folder import RunFolder

if TYPE_CHECKING:
    from dprm_data.runs.run import Run


def item_ids_of(run: Run) -> list[str]:
    """The ids of all items of the run, in order."""
    ids: list[str] = pq.read_table(run.folder.needs("items"), columns=["item_id"])["item_id"].to_pylist()
    return ids


def labels_at_their_worth(folder: RunFolder) -> bool:
    """Whether soft labels count as many votes as they are worth: not in a run that an older version fitted, where each counts as one, so that what
    was published stays."""
    fitted = folder.read_manifest().get("fit")
    return fitted is None or bool(fitted.get("labels_at_their_worth"))


def fit_annotations(run: Run, annotations: pa.Table, votes: Votes | None = None) -> Fit:
    """Fit these annotations by the recipe's `fit`: a distribution for every item of the run, in order. Writes nothing.

    A soft label counts as many votes as it is worth, and so does a stated distribution whose strength the recipe does not give.
    votes: of all items, if they are not the counts of the annotations, as after a calibration.
    """
    item_ids = item_ids_of(run)
    config, prior = run.recipe.fit, run.recipe.prior
    at_worth = labels_at_their_worth(run.folder)
    worths: list[SoftWorth] = []
    if votes is None:
        weighed, worths = at_their_worth(annotations, run.space) if at_worth else (annotations, [])
        votes = votes_from_annotations(weighed, run.space, item_ids=item_ids, human_weight=config.human_weight)
    has_stated = prior is not None or run.states_population
    fitted = fit(
        votes,
        run.space,
        family=config.family,
        stated=stated_from_annotations(annotations, run.space, item_ids) if has_stated else None,
        stated_strength=prior.strength if prior else "auto" if at_worth else 2.0,
        smoothing=config.smoothing,
        interval=config.interval,
    )
    return replace(fitted, notes=(*(worth.sentence for worth in worths), *fitted.notes))
