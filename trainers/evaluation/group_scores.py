"""Every model against each group of the people who voted: the worst group, and the jury of groups.

    rps        of a model's distribution against the group's, on the held-out rows on which the group has votes of its own
    pairs      accuracy on pairs of responses, ordered by the group's expected reward
    worst      the group with the highest RPS, and the one with the lowest accuracy; how often resamples have the same one
    win        the jury win rate: over pairs, the share of groups, of equal weight, whose expected reward prefers the
               response that the model prefers; a tie counts half
    majority   the share of pairs in which most groups are on the model's side; groups that are evenly split count half

A group's distribution is `dprm_data.preference.groups`': its own votes, shrunk towards everyone's as far as the votes show
no difference. So a group with few votes looks more like everyone than it may be. The worst of several groups is chosen on
the same rows: with few rows it is partly chance, which the share of resamples shows.

*Rival*: everyone's held-out distribution. It is what a model reaches that predicts the whole population without error: what
it leaves open, only a model of the groups can gain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from dprm_data.core.arrays import Floats, Ints
from dprm_data.labels.space import LabelSpace
from dprm_data.labels.statistics import Interval, Resamples
from dprm_data.preference.pairs import outcomes
from dprm_trainers.core.errors import TrainingDataError
from dprm_trainers.data.group_rows import GroupViews
from dprm_trainers.data.rows import Rows, preference_pairs
from dprm_trainers.reward.reward_model import Judgement
from dprm_trainers.reward.rivals import rps

EVERYONE = "everyone, held out"
_ALIKE, _EQUAL = 5e-4, 1e-9  # groups whose figures differ by less are alike in three digits; two groups are equally bad


@dataclass(frozen=True)
class GroupSize:
    """A group's votes on the held-out rows, the rows that have some, and the pairs of these."""

    votes: float
    rows: int
    pairs: int


@dataclass(frozen=True)
class Worst:
    """The worst group by a figure, and the share of resamples in which it is the worst, too."""

    group: str
    figure: Interval
    resamples: float


@dataclass(frozen=True)
class Jury:
    """The groups as a jury: see the module. pairs: on which two groups or more have votes."""

    win: Interval
    majority: Interval
    pairs: int


@dataclass
class GroupScores:
    """One attribute. figures: by model, group and name. worst: by model and name of the figure. jury: by model."""

    attribute: str
    groups: dict[str, GroupSize]
    figures: dict[str, dict[str, dict[str, Interval]]] = field(default_factory=dict)
    worst: dict[str, dict[str, Worst]] = field(default_factory=dict)
    jury: dict[str, Jury] = field(default_factory=dict)


@dataclass(frozen=True)
class _Group:
    """A group on N rows: target (N, K), NaN where it has no votes; expected (N,); pairs (P, 2), the preferred one first."""

    target: Floats
    expected: Floats
    pairs: Ints
    size: GroupSize


def score_groups(
    judged: Mapping[str, Judgement],
    seen: GroupViews,
    rows: Rows,
    pairs: Ints,
    space: LabelSpace,
    draws: Resamples,
    *,
    within: Literal["group", "any"] = "group",
) -> GroupScores:
    """Score the judgements of N rows against each group. pairs (P, 2): those of the jury. within: of the groups' own pairs,
    see `preference_pairs`.

    Raises `TrainingDataError` if fewer than two groups voted on these rows.
    """
    groups = {name: group for name, group in _on(seen, rows, space, within).items() if group.size.rows}
    if len(groups) < 2:
        raise TrainingDataError(
            f"by {seen.attribute}: {_few(groups)} on the {len(rows)} rows that are evaluated",
            hint="Evaluate more rows (--split, or a larger share held out), or name another attribute.",
        )
    found = GroupScores(seen.attribute, {name: group.size for name, group in groups.items()})
    everyone = Judgement(rows.target @ space.rewards, np.zeros(len(rows)), rows.target)
    votes = np.array([np.nan_to_num(_votes(group.expected, pairs), nan=-1.0) for group in groups.values()])
    for name, judgement in {EVERYONE: everyone, **judged}.items():
        estimates = {group: _estimates(judgement, of, space, draws) for group, of in groups.items()}
        found.figures[name] = {
            group: {figure: draws.interval(values) for figure, values in each.items()}
            for group, each in estimates.items()
        }
        found.worst[name] = _worst(estimates, draws)
        if len(pairs) and np.ptp(judgement.reward) > 0:
            found.jury[name] = jury(outcomes(judgement.reward, pairs), votes, pairs, draws)
    return found


def jury(model: Floats, votes: Floats, pairs: Ints, draws: Resamples) -> Jury:
    """The model's outcomes (P,) of pairs beside those of G groups (G, P): 1 for the first, 0.5 for a tie, 0 for the second,
    below 0 where a group has no votes. Pairs on which fewer than two groups have votes are left out."""
    present = votes >= 0
    count = present.sum(axis=0)
    share = np.where(present, votes, 0.0).sum(axis=0) / np.maximum(count, 1)
    win = model * share + (1.0 - model) * (1.0 - share)
    majority = 0.5 + 0.5 * np.sign(share - 0.5) * (2.0 * model - 1.0)
    asked = count >= 2
    return Jury(
        draws.mean(np.where(asked, win, np.nan), pairs[:, 0]),
        draws.mean(np.where(asked, majority, np.nan), pairs[:, 0]),
        int(asked.sum()),
    )


def _on(seen: GroupViews, rows: Rows, space: LabelSpace, within: Literal["group", "any"]) -> dict[str, _Group]:
    """Every group on the rows."""
    place = {item: i for i, item in enumerate(seen.item_ids)}
    ids = rows.items.tolist() if rows.items is not None else []
    at = np.array([place.get(item, -1) for item in ids] or [-1] * len(rows), dtype=np.int64)
    found = {}
    for group in seen.groups:
        votes = np.where(at >= 0, group.votes[at], 0.0)
        target = np.where((votes > 0)[:, None], group.distribution[at], np.nan)
        pairs = preference_pairs(replace(rows, target=target, evidence=votes), space.rewards, within=within)
        size = GroupSize(float(votes.sum()), int((votes > 0).sum()), len(pairs))
        found[group.name] = _Group(target, target @ space.rewards, pairs, size)
    return found


def _votes(expected: Floats, pairs: Ints) -> Floats:
    """A group's outcomes (P,) of pairs, NaN where it has no votes on one of the two."""
    there = np.isfinite(expected[pairs]).all(axis=1)
    return np.where(there, outcomes(expected, pairs), np.nan)


def _estimates(judgement: Judgement, group: _Group, space: LabelSpace, draws: Resamples) -> dict[str, Floats]:
    """The figures of a judgement against one group, in the sample and every resample, (1 + B,) each."""
    found = {}
    if judgement.distribution is not None:
        found["rps"] = draws.means(rps(judgement.distribution, group.target, space))
    if len(group.pairs) and np.ptp(judgement.reward) > 0:
        found["pairs"] = draws.means(outcomes(judgement.reward, group.pairs), group.pairs[:, 0])
    return found


def _worst(estimates: Mapping[str, Mapping[str, Floats]], draws: Resamples) -> dict[str, Worst]:
    """By each figure the worst group; none where all groups are alike. A resample with several worst groups counts for
    each of them in part."""
    found = {}
    for figure, sign in (("rps", 1.0), ("pairs", -1.0)):
        names = [name for name, each in estimates.items() if figure in each and np.isfinite(each[figure][0])]
        if len(names) < 2:
            continue
        values = sign * np.array([estimates[name][figure] for name in names])
        values = np.where(np.isfinite(values), values, -np.inf)  # a resample without the group
        if np.ptp(values[:, 0]) < _ALIKE:
            continue
        worst = values > values.max(axis=0) - _EQUAL
        at = int(np.argmax(values[:, 0]))
        share = (worst[at, 1:] / worst[:, 1:].sum(axis=0)).mean()
        found[figure] = Worst(names[at], draws.interval(estimates[names[at]][figure]), float(share))
    return found


def _few(groups: Mapping[str, _Group]) -> str:
    return f"only the group {next(iter(groups))} has votes" if groups else "no group has votes"
