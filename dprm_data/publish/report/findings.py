"""The content of a report as plain data: every section's figures, from the run's tables. No HTML here, and no call is made."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dprm_data.core.arrays import Floats, Ints
from dprm_data.core.errors import RecipeError
from dprm_data.core.tables import ANNOTATIONS
from dprm_data.core.yamlfile import validated
from dprm_data.ingest.ratings import ratings_from_annotations
from dprm_data.preference.agreement import Annotators
from dprm_data.preference.fitting import Fit
from dprm_data.preference.groups import by_group
from dprm_data.preference.posterior_checks import Quality, quality
from dprm_data.publish.panel_findings import PanelFindings, panel_findings
from dprm_data.publish.report import item_selection
from dprm_data.publish.report.spending import Spending, spending
from dprm_data.recipe.fit_config import FitConfig
from dprm_data.review.apply_calibration import fit_calibrated
from dprm_data.runs.comparison_table import judgements
from dprm_data.runs.panel_variance import PanelVariance, panel_variance
from dprm_data.runs.raters import raters
from dprm_data.runs.summary import Summary, known_cost, summarise
from dprm_data.runs.verdict import Verdict, verdict

if TYPE_CHECKING:
    from dprm_data.runs.run import Run

_MOST_VALUES = 20  # of an attribute by which personas are grouped
_MOST_GROUPED = 5_000  # items on which groups of personas are compared; a random sample if there are more
_DRAWS = 120  # for the check of the fit: enough to resolve p = 0.01


@dataclass(frozen=True)
class AnnotatorRow:
    """One annotator: shares of the labels (K,), counts of statuses, cost, severity with half its 95 % interval, and self-consistency.

    The severity is that of the fit's raters where they are in the model, else the raw difference from the others.
    """

    id: str
    name: str
    human: bool
    asked: int
    ok: int
    shares: list[float]
    statuses: dict[str, int]
    cost: float | None
    severity: float | None
    severity_half: float | None
    repeat: float | None


@dataclass(frozen=True)
class GroupRow:
    """The mean expected reward of a group of items, with its standard error; or that of all items according to a group of annotators, with
    the group's difference from the others and the standard error of that."""

    name: str
    items: int
    mean: float
    error: float | None
    shares: list[float]
    difference: float | None = None


@dataclass(frozen=True)
class Findings:
    """Everything in a report. observed: each label's share of all votes (K,)."""

    verdict: Verdict
    summary: Summary
    panel: PanelFindings
    variance: PanelVariance | None
    fit: Fit
    quality: Quality
    worst: Ints
    spending: Spending | None
    annotators: list[AnnotatorRow]
    items_by: dict[str, list[GroupRow]]
    people_by: dict[str, list[GroupRow]]
    observed: Floats
    shown: item_selection.ShownItems
    columns: list[str]


def find(run: Run) -> Findings:
    """Gather the findings of a fitted run."""
    settings = run.folder.read_manifest().get("fit", {}).get("settings")
    if settings:  # a family from the command line is in the manifest, not in the recipe
        frozen = validated(settings, FitConfig, RecipeError, "manifest.json: fit.settings", context={"frozen": True})
        run.recipe = run.recipe.model_copy(update={"fit": frozen})
    summary = summarise(run.folder, run.space)
    annotations = pq.read_table(run.folder.needs("annotations"))
    fit, panel = fit_calibrated(run, annotations), panel_findings(run)
    checked = quality(fit, run.space, draws=_DRAWS)
    worst = checked.rows[np.argsort(checked.p_values, kind="stable")]
    p_values = dict(zip(checked.rows.tolist(), checked.p_values.tolist(), strict=True))
    groupings = item_selection.groupings(run)
    columns = [column for column in groupings if column != "role"]
    shown = item_selection.shown_items(run, fit, item_selection.chosen(fit, worst), p_values, columns)
    counts = fit.votes.counts.sum(axis=0)
    return Findings(
        verdict=verdict(run),
        summary=summary,
        panel=panel,
        variance=panel_variance(run.folder, run.space),
        fit=fit,
        quality=checked,
        worst=worst,
        spending=spending(run),
        annotators=_annotators(run, judgements(run.folder, ANNOTATIONS.names), panel, fit),
        items_by={column: _items_by(fit, values) for column, values in groupings.items()},
        people_by=_people_by(run, annotations, fit),
        observed=counts / max(counts.sum(), 1e-12),
        shown=shown,
        columns=columns,
    )


def _annotators(run: Run, table: pa.Table, panel: PanelFindings, fit: Fit) -> list[AnnotatorRow]:
    """One row per annotator: the panel in its order, then people."""
    said = {persona.id: persona.said for persona in run.panel.personas} | {"population": "Population (stated)"}
    order = {name: i for i, name in enumerate(["population", *[p.id for p in run.panel.personas]])}
    who = panel.who
    place = {name: i for i, name in enumerate(who.annotator_ids)} if who else {}
    found: list[AnnotatorRow] = []
    encoded = table["annotator_id"].combine_chunks().dictionary_encode()
    indices, names = encoded.indices.to_numpy(zero_copy_only=False), encoded.dictionary.to_pylist()
    lists = np.split(np.argsort(indices, kind="stable"), np.cumsum(np.bincount(indices, minlength=len(names)))[:-1])
    space_names = pa.array(run.space.names)
    for name, rows in zip(names, lists, strict=True):
        mine = table.select(["annotator_kind", "label", "probs", "status", "cost"]).take(pa.array(rows))
        statuses = Counter(mine["status"].to_pylist())
        codes = pc.index_in(mine["label"], value_set=space_names, skip_nulls=True).drop_null().to_numpy()
        at = place.get(name)
        severity, half = _severity(fit, who, name, at)
        found.append(
            AnnotatorRow(
                id=name,
                name=said.get(name, name),
                human=mine["annotator_kind"][0].as_py() == "human",
                asked=mine.num_rows,
                ok=statuses["ok"],
                shares=_shares(mine, codes, run.space.K),
                statuses={status: count for status, count in statuses.items() if status != "ok"},
                cost=known_cost(mine),
                severity=severity,
                severity_half=half,
                repeat=_known(who.repeat_agreement[at]) if who and at is not None else None,
            )
        )
    return sorted(found, key=lambda row: (row.human, order.get(row.id, len(order)), row.id))


def _severity(fit: Fit, who: Annotators | None, name: str, at: int | None) -> tuple[float | None, float | None]:
    """An annotator's severity, and half of its 95 % interval."""
    learned = fit.raters
    if learned and name in learned.annotator_ids:
        row = learned.annotator_ids.index(name)
        return float(learned.severity[row]), 1.96 * float(learned.severity_error[row])
    if who is None or at is None:
        return None, None
    error = _known(who.severity_error[at])
    return _known(who.severity[at]), None if error is None else 1.96 * error


def _shares(mine: pa.Table, codes: Any, K: int) -> list[float]:
    """Each label's share: the mean of the stated probabilities if the annotator gives them, else from the labels."""
    probs = mine["probs"].combine_chunks().drop_null()
    if len(probs):
        flat = probs.flatten().to_numpy(zero_copy_only=False).reshape(-1, K).mean(axis=0)
        return [float(share) for share in flat / flat.sum()]
    counts = np.bincount(codes.astype(np.int64), minlength=K).astype(np.float64)
    return [float(share) for share in counts / max(counts.sum(), 1.0)]


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _items_by(fit: Fit, values: list[str | None]) -> list[GroupRow]:
    found = []
    judged = fit.evidence > 0
    for name in sorted({value for value in values if value is not None}):
        here = np.array([value == name for value in values]) & judged
        n = int(here.sum())
        if n:
            rewards = fit.expected_reward[here]
            error = float(rewards.std(ddof=1) / np.sqrt(n)) if n > 1 else None
            shares = [float(share) for share in fit.distribution[here].mean(axis=0)]
            found.append(GroupRow(name, n, float(rewards.mean()), error, shares))
    return found


def _people_by(run: Run, table: pa.Table, fit: Fit) -> dict[str, list[GroupRow]]:
    """By attribute of the personas and of raters: every group's own view of all items, partially pooled."""
    ratings = ratings_from_annotations(table, run.space)
    found: dict[str, list[GroupRow]] = {}
    if not len(ratings):
        return found
    if len(ratings.item_ids) > _MOST_GROUPED:
        some = np.random.default_rng(0).choice(len(ratings.item_ids), _MOST_GROUPED, replace=False)
        kept = pc.is_in(table["item_id"], value_set=pa.array([ratings.item_ids[i] for i in some]))
        ratings = ratings_from_annotations(table.filter(kept), run.space)
    known = {persona.id: persona.attributes for persona in run.panel.personas}
    known |= {row["annotator_id"]: row["attributes"] for row in raters(run.folder)}
    rated = set(ratings.annotator_ids)
    for attribute in dict.fromkeys(name for attributes in known.values() for name in attributes):
        membership = {who: attributes[attribute] for who, attributes in known.items() if attribute in attributes}
        values = {value for name, value in membership.items() if name in rated}
        if not 2 <= len(values) <= _MOST_VALUES or any(isinstance(value, float) for value in values):
            continue
        if all(isinstance(value, int) for value in values):  # an age does not group people
            continue
        found[attribute] = [
            GroupRow(
                group.name,
                int((group.votes > 0).sum()),
                float(group.expected_reward.mean()),
                _known(group.difference_error),
                [float(share) for share in group.distribution.mean(axis=0)],
                group.difference,
            )
            for group in by_group(ratings, run.space, fit.prior, membership)
        ]
    return found
