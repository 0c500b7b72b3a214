"""The mean change of rewards between two sets of votes on the same items, and its standard error, whether or not it is known who voted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dprm_data.core.arrays import Floats, Ints
from dprm_data.ingest.ratings import Ratings
from dprm_data.ingest.votes import Votes
from dprm_data.labels.space import LabelSpace
from dprm_data.preference.rater_units import Figure, RaterUnits, change, mean_figure, rater_units


def mean_shift(
    published: Votes | Ratings,
    new: Votes | Ratings,
    old: Floats,
    latest: Floats,
    item_ids: Sequence[str],
    space: LabelSpace,
    before: RaterUnits | None,
    after: RaterUnits | None,
) -> tuple[float, float, str]:
    """The mean over the items of the change of raw mean rewards, its (widened) standard error, and its unit: see `Drift`.

    old, latest (I, K): the votes on the compared items, `item_ids`. before, after: who gave the votes, if they come without ratings.
    """
    if not len(old):
        return 0.0, float("nan"), "vote"
    gap = _mean(latest, space) - _mean(old, space)
    value = float(gap.mean())
    if len(gap) < 2:
        return value, float("nan"), "vote"
    ratings = [side if isinstance(side, Ratings) and side.annotator_ids else None for side in (published, new)]
    if ratings[0] is not None and ratings[1] is not None:
        return value, _over_items(gap, _both(ratings[0], ratings[1], item_ids, space)), "rater"
    known = [None if side is None else rater_units(side, space) for side in ratings]
    known = [found or said for found, said in zip(known, (before, after), strict=True)]
    anybody = known[0] or known[1]
    if anybody is None:
        return value, float(gap.std(ddof=1) / np.sqrt(len(gap))), "vote"
    sides = zip(known, (old, latest), strict=True)
    means = [mean_figure(0.0, each or _as_few_as_possible(votes, anybody)) for each, votes in sides]
    variances = [mean.error**2 for mean in means]
    freedom = _freedom(variances, [mean.freedom for mean in means])
    figure = Figure(value, float(np.sqrt(sum(variances))), freedom, sum(mean.recurring for mean in means))
    return value, _over_items(gap, figure), "rater" if all(known) else "assumed"


def _over_items(gap: Floats, figure: Figure) -> float:
    """The error over raters and items like these: the variance by items, and what is added because raters come back (Cameron, Gelbach & Miller 2011)."""
    own = figure.error**2
    rest = max(float(gap.var(ddof=1)) / len(gap) + max(figure.recurring, 0.0) - own, 0.0)
    freedom = _freedom([own, rest], [figure.freedom, len(gap) - 1.0])
    return Figure(figure.value, float(np.sqrt(own + rest)), freedom).wide_error


def _freedom(variances: Sequence[float], degrees: Sequence[float]) -> float:
    """Satterthwaite's degrees of freedom of a sum of estimated variances."""
    parts = sum(variance**2 / free for variance, free in zip(variances, degrees, strict=True))
    return sum(variances) ** 2 / parts if parts > 0 else 1.0


def _as_few_as_possible(votes: Floats, other: RaterUnits) -> RaterUnits:
    """Unknown raters: assumed to be as many as the largest number of votes on an item, to have judged everything, and to differ as much as the known raters."""
    number = votes.sum(axis=1)
    people = max(float(number.max()), 1.0)
    independent = len(votes) ** 2 / float((1.0 / number).sum())
    return RaterUnits(max(round(people), 2), people, independent, other.between, other.within)


def _both(published: Ratings, new: Ratings, item_ids: Sequence[str], space: LabelSpace) -> Figure:
    """The change, if it is known who gave both sets of votes. Raters with the same id in both are the same people."""
    place = {item: i for i, item in enumerate(item_ids)}
    names: dict[str, int] = {}
    parts = []
    for later, side in enumerate((published, new)):
        number = np.array([place.get(item, -1) for item in side.item_ids], dtype=np.int64)
        who = np.array([names.setdefault(name, len(names)) for name in side.annotator_ids], dtype=np.int64)
        rows = np.flatnonzero((number[side.item] >= 0) & (side.weight > 0))
        parts.append(
            (
                side.rewards(space)[rows],
                number[side.item[rows]],
                who[side.annotator[rows]],
                np.full(len(rows), float(later)),
            )
        )
    reward, item, rater, later_ = (np.concatenate(column) for column in zip(*parts, strict=True))
    return change(reward, _whole(item), _whole(rater), later_)


def _whole(codes: Floats | Ints) -> Ints:
    return np.asarray(codes, dtype=np.int64)


def _mean(votes: Floats, space: LabelSpace) -> Floats:
    return np.asarray(votes @ space.rewards / votes.sum(axis=1))
