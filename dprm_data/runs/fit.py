"""Fitting a run's annotations: the distributions of all its items. Makes no call."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dprm_data.core import tables
from dprm_data.ingest.item_texts import ItemTexts, texts_of_items
from dprm_data.ingest.ratings import ratings_of_items
from dprm_data.ingest.votes import Votes, stated_from_annotations, votes_from_annotations
from dprm_data.preference.design_effect import by_design
from dprm_data.preference.fitting import Fit, fit
from dprm_data.preference.soft_labels import SoftWorth, at_their_worth
from dprm_data.runs.folder import RunFolder
from dprm_data.runs.panel_worth import assumed_worth, shared_by_panel

if TYPE_CHECKING:
    from dprm_data.runs.run import Run


def item_ids_of(run: Run) -> list[str]:
    """The ids of all items of the run, in order."""
    ids: list[str] = pq.read_table(run.folder.needs("items"), columns=["item_id"])["item_id"].to_pylist()
    return ids


def texts_of(run: Run) -> ItemTexts | None:
    """The texts of the run's items in order, if the recipe's `fit.text` reads them."""
    how = run.recipe.fit.text
    if how == "off":
        return None
    items = tables.conformed(pq.read_table(run.folder.needs("items")), tables.ITEMS)
    return texts_of_items(items, how)


def counts_people(folder: RunFolder) -> bool:
    """Whether soft labels count at their worth, and evidence in independent people. Not in a run fitted by an older version, so that published figures stay."""
    fitted = folder.read_manifest().get("fit")
    return fitted is None or bool(fitted.get("counts_people"))


def fit_annotations(run: Run, annotations: pa.Table, votes: Votes | None = None) -> Fit:
    """Fit these annotations by the recipe's `fit`: a distribution for every item of the run, in order. Writes nothing.

    Weights count as an effective number of votes. A soft label counts as the number of votes it is worth, and so does a stated distribution if the recipe gives no strength.
    Intervals include the error that a panel's votes share. votes: of all items, if they differ from the annotations' counts, as after a calibration (then they are people's).
    """
    item_ids, space = item_ids_of(run), run.space
    config, prior = run.recipe.fit, run.recipe.prior
    new, shared, ratings = counts_people(run.folder), None, None
    worths: list[SoftWorth] = []
    if votes is None:
        weighed, worths = at_their_worth(by_design(annotations), space) if new else (annotations, [])
        ratings = ratings_of_items(weighed, space, item_ids, human_weight=config.human_weight)
        votes = votes_from_annotations(weighed, space, item_ids=item_ids, human_weight=config.human_weight)
        if new:
            human = weighed.filter(pc.equal(weighed["annotator_kind"], "human"))
            people = votes_from_annotations(human, space, item_ids=item_ids, human_weight=config.human_weight)
            shared = shared_by_panel(people.totals, annotations, space)
    has_stated = prior is not None or run.states_population
    fitted = fit(
        votes,
        space,
        family=config.family,
        raters=config.raters,
        ratings=ratings,
        stated=stated_from_annotations(annotations, space, item_ids) if has_stated else None,
        stated_strength=prior.strength if prior else "auto" if new else 2.0,
        smoothing=config.smoothing,
        interval=config.interval,
        shared=shared,
        text=config.text,
        texts=texts_of(run),
    )
    return replace(fitted, notes=(*(worth.sentence for worth in worths), *fitted.notes))


def panel_worth_record(annotations: pa.Table, fitted: Fit) -> dict[str, Any] | None:
    """The panel's assumed worth in people (`PanelWorth.as_dict`); None without a panel, or in a run of an older version."""
    if fitted.shared is None:
        return None
    found = assumed_worth(annotations, fitted.votes.totals - fitted.shared.people, fitted.shared.error)
    return found.as_dict() if found else None
