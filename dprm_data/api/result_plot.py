"""The plots of a run: its responses, and its annotators, models or groups of annotators beside each other."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dprm_data.core.errors import InputError
from dprm_data.core.format import percent
from dprm_data.core.plots import Bar, Plot, Strip, values
from dprm_data.core.text import did_you_mean
from dprm_data.ingest.ratings import Ratings, ratings_from_annotations
from dprm_data.labels.space import LabelSpace
from dprm_data.labels.statistics import Resamples
from dprm_data.preference.fit_plot import plot_differences, plot_groups, plot_items, spread_out
from dprm_data.preference.groups import by_group
from dprm_data.preference.model_selection import learn_prior
from dprm_data.runs.folder import RunFolder
from dprm_data.runs.raters import raters

COLUMNS = {"annotator": "annotator_id", "model": "model_id"}


def plot_responses(folder: RunFolder, distributions: pa.Table, space: LabelSpace, most: int) -> Plot:
    """At most so many responses with votes, from the best to the worst."""
    voted = np.flatnonzero(distributions["evidence"].to_numpy() > 0)
    if not len(voted):
        raise InputError(f"{folder}: no item has a vote, so there is nothing to plot")
    expected = distributions["expected_reward"].to_numpy()
    rows = voted[spread_out(expected[voted], most)]
    shown = distributions.take(pa.array(rows))
    texts = [messages[-1]["content"] if messages else "" for messages in shown["completion"].to_pylist()]
    rewards = [shown[name].to_numpy() for name in ("expected_reward", "reward_low", "reward_high")]
    title = f"{len(rows):,} of {distributions.num_rows:,} responses, from the best to the worst"
    shares = np.array(shown["label_distribution"].to_pylist())
    level = folder.recipe().fit.interval
    return plot_items(np.arange(len(rows)), texts, shares, (rewards[0], rewards[1], rewards[2]), level, space, title)


def plot_compared(folder: RunFolder, utilities: pa.Table, items: pa.Table, most: int) -> Plot:
    """At most so many compared responses, by prompt from the best to the worst: their utilities with their intervals."""
    shown = utilities.slice(0, most)
    wanted = items.filter(pc.is_in(items["item_id"], value_set=shown["item_id"].combine_chunks()))
    texts = {row["item_id"]: row["completion"][-1]["content"] for row in wanted.to_pylist()}
    names = ("expected_reward", "reward_low", "reward_high")
    bars = [Bar(texts[row["item_id"]], (), *(row[name] for name in names)) for row in shown.to_pylist()]
    low = min(bar.low for bar in bars if bar.low is not None)
    high = max(bar.high for bar in bars if bar.high is not None)
    title = f"{len(bars):,} of {utilities.num_rows:,} compared responses, by prompt from the best to the worst"
    return values(title, bars, Strip(f"utility, {percent(folder.recipe().fit.interval)} interval", low, high))


def plot_annotators(
    folder: RunFolder, annotations: pa.Table, space: LabelSpace, by: str, names: dict[str, str]
) -> Plot:
    """The labels of every annotator (model), and how much more reward it gives than the others on the same items."""
    column = COLUMNS[by]
    known = annotations.filter(pc.is_valid(annotations[column]))
    place = known.column_names.index("annotator_id")
    ratings = ratings_from_annotations(known.set_column(place, "annotator_id", known[column]), space)
    if len(ratings.annotator_ids) < 2:
        raise InputError(f"{folder}: fewer than two {by}s gave labels, so there is nothing to compare")
    shares = ratings.shares if ratings.shares is not None else np.eye(space.K)[ratings.label]
    bars = []
    for number, name in enumerate(ratings.annotator_ids):
        own = ratings.annotator == number
        mean = ratings.weight[own] @ shares[own] / ratings.weight[own].sum()
        bars.append(Bar(names.get(name, name), mean.tolist(), *_gap(ratings, shares @ space.rewards, own)))
    return plot_differences(f"How the {by}s judge the same items", bars, space)


def _gap(ratings: Ratings, reward: Any, own: Any) -> tuple[float, float | None, float | None]:
    """The mean over items of its reward minus that of the others, with its bootstrap interval over items."""
    n = len(ratings.item_ids)

    def mean(mine: Any) -> Any:
        weight = np.bincount(ratings.item[mine], weights=ratings.weight[mine], minlength=n)
        total = np.bincount(ratings.item[mine], weights=(ratings.weight * reward)[mine], minlength=n)
        return np.where(weight > 0, total / np.maximum(weight, 1e-300), np.nan)

    found = Resamples.of(np.arange(n)).mean(mean(own) - mean(~own))
    return (float("nan") if found.value is None else found.value), found.low, found.high


def plot_people(
    folder: RunFolder, annotations: pa.Table, personas: list[dict[str, Any]], space: LabelSpace, attribute: str
) -> Plot:
    """Each group of annotators that has one value of an attribute, with the annotator as the unit (`groups.py`)."""
    known = {row["persona_id"]: json.loads(row["attributes"] or "{}") for row in personas}
    known |= {row["annotator_id"]: row["attributes"] for row in raters(folder)}
    membership = {who: found[attribute] for who, found in known.items() if found.get(attribute) is not None}
    if not membership:
        there = sorted({name for found in known.values() for name in found})
        raise InputError(
            f"{attribute!r} is no attribute of these annotators{did_you_mean(attribute, there)}",
            hint=f"by takes: {', '.join([*COLUMNS, *there])}.",
        )
    ratings = ratings_from_annotations(annotations, space)
    prior, _ = learn_prior(ratings.votes().counts, space, folder.recipe().fit.family)
    return plot_groups(by_group(ratings, space, prior, membership), space)
