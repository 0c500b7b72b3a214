"""The updater: new votes added to published distributions.

Votes are sufficient, so an update is an addition,

    votes <- lambda * votes + new votes,

and the posterior under the prior that travels with the dataset. With lambda = 1 updates in any order and in any portions give the same result as one
fit of all votes with that prior. With lambda < 1 a vote that is t updates old counts lambda^t, and an item's evidence never exceeds
(votes per update) / (1 - lambda), so that a drifting population is tracked at the cost of wider intervals.

A prior that was learned from items with one vote each only assumes how far items differ: it does not travel, and is learned again from old and new votes.

Source of the forgetting: power discounting in Bayesian time series (Smith 1979; West & Harrison, Bayesian Forecasting and Dynamic Models, ch. 6).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dprm_data.core.errors import InputError
from dprm_data.ingest.votes import Votes, check_space
from dprm_data.labels.space import LabelSpace
from dprm_data.preference.fitting import Fit, fit
from dprm_data.preference.prior import Prior
from dprm_data.preference.shared_error import SharedError
from dprm_data.recipe.fit_config import SmoothingConfig

RELEARNED = (
    "the published prior was learned from items with one vote each: a new one was learned from old and new votes"
)


def update(
    published: Votes,
    new: Votes,
    prior: Prior,
    space: LabelSpace,
    *,
    forgetting: float = 1.0,
    smoothing: SmoothingConfig | None = None,
    interval: float = 0.9,
    shared: SharedError | None = None,
) -> Fit:
    """The published distributions after new votes.

    `published` are the votes that travel with the dataset, `prior` its prior. Items keep their order; those only in `new` come
    after them. A prior that was learned from items with one vote each is learned again from all votes. `forgetting` is lambda, in (0, 1]: it discounts the published votes of every item, including those without new ones.
    `shared`: the error that the published votes of a panel share, with the weight of people among them on every published item; all new votes are taken for people's.
    """
    votes = merge(published, new, space, forgetting=forgetting)
    error = None if shared is None else _with_new(shared, new, votes, forgetting)
    if not prior.assumed:
        return fit(votes, space, prior=prior, smoothing=smoothing, interval=interval, shared=error)
    fitted = fit(votes, space, family=prior.family, smoothing=smoothing, interval=interval, shared=error)
    return replace(fitted, notes=(*fitted.notes, RELEARNED))


def _with_new(shared: SharedError, new: Votes, votes: Votes, forgetting: float) -> SharedError:
    """The shared error of the published votes' panel, where all new votes are people's."""
    row = {item: i for i, item in enumerate(votes.item_ids)}
    people = np.zeros(len(votes))
    people[: len(shared.people)] = forgetting * shared.people
    np.add.at(people, [row[item] for item in new.item_ids], new.totals)
    return replace(shared, people=people)


def merge(published: Votes, new: Votes, space: LabelSpace, *, forgetting: float = 1.0) -> Votes:
    """lambda x published + new, items of both."""
    check_space(published, space)
    check_space(new, space)
    if not 0.0 < forgetting <= 1.0:
        raise InputError(f"forgetting: {forgetting} (allowed: above 0, at most 1; 1 forgets nothing)")
    row = {item: i for i, item in enumerate(published.item_ids)}
    if len(row) != len(published):
        raise InputError("the published votes have an item twice")
    for item in new.item_ids:
        row.setdefault(item, len(row))
    counts = np.zeros((len(row), space.K))
    counts[: len(published)] = forgetting * published.counts
    np.add.at(counts, [row[item] for item in new.item_ids], new.counts)
    return Votes(list(row), counts, new.base if published.base is None else published.base)
