"""Distributions by group of annotators: severities of groups, and deviations of groups on items, both as variance components.

How do women, people over 60 or one region see an item? A group has few votes per item; alone they are noise. So a group's distribution starts from everyone's: all votes on the item count, the
others' at their worth to the group, n / (1 + r n), and read through the groups' severities (`group_scale.py` has the mathematics). Both are shrunk to what the votes show:

- r, the variance of item x group, is estimated from pairs of votes on one item, within and between groups (`group_deviation.py`);
- severities are shrunk by the variance between groups, against the error of the votes and of the few raters who are nested in a group.

Groups that do not differ get everyone's distribution. Labels without an order have no severity, and only r.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from dprm_data.core.arrays import Floats, Ints
from dprm_data.core.errors import VotesError
from dprm_data.ingest.ratings import Ratings
from dprm_data.labels.space import LabelSpace
from dprm_data.preference.axes import chain, nodes
from dprm_data.preference.components import Components, Posterior
from dprm_data.preference.group_deviation import deviation
from dprm_data.preference.group_scale import GroupScale
from dprm_data.preference.instrument import has_scales
from dprm_data.preference.model_selection import learn_prior
from dprm_data.preference.posterior import Moments, NodeModel, evaluate, evaluate_each, latent_of
from dprm_data.preference.prior import BetaPart, Prior
from dprm_data.preference.rater_units import Figure, difference
from dprm_data.preference.shared_error import people_worth

LEAST_SHARE = 1e-4  # of a label, for the leaning
MOST_STRENGTH = 5_000.0  # 1 / r if r is 0


@dataclass(frozen=True)
class Group:
    """One group's view of all N items: `distribution` (N, K), `expected_reward` (N,) with posterior standard deviation `reward_error` (N,), `votes` (N,) of
    its own. `strength`: as how many of its own votes the others' votes on an item count at most, 1 / r. `leaning` (K,): how often it gives each label, relative to the others. `difference`: how much more reward its raters give than the others on the same items; `difference_error`: its
    standard error with the rater as the unit (the 95 % interval is ± 1.96 of it), and `p_value` of no difference (`rater_units.py`)."""

    name: str
    distribution: Floats
    expected_reward: Floats
    reward_error: Floats
    votes: Floats
    strength: float
    leaning: Floats
    difference: float
    difference_error: float
    p_value: float

    def summary(self) -> dict[str, Any]:
        """The group's figures over all items, as plain data."""
        return {
            "group": self.name,
            "votes": float(self.votes.sum()),
            "strength": self.strength,
            "difference": self.difference,
            "difference_error": self.difference_error,
            "p_value": self.p_value,
        }


def by_group(
    ratings: Ratings, space: LabelSpace, prior: Prior, membership: Mapping[str, Hashable | None]
) -> list[Group]:
    """The groups' distributions, in the order of their names.

    `membership` maps annotators to the value of an attribute (None or no entry: in no group; such votes still count among the others').
    """
    if not ratings.annotator_ids:
        raise VotesError("distributions by group need an annotator_id for every vote")
    value = [membership.get(name) for name in ratings.annotator_ids]
    names = sorted({str(v) for v in value if v is not None})
    if not names:
        raise VotesError("none of the annotators has a group", hint="membership maps annotator ids to groups.")
    number = np.array([-1 if v is None else names.index(str(v)) for v in value])[ratings.annotator]
    reward = ratings.rewards(space)
    whole = _Groups.of(ratings, number, len(names), space, prior)
    everyone = whole.everyone().mean[:, :-1]
    found = []
    for g, name in enumerate(names):
        own = number == g
        gap = difference(reward, ratings.item, ratings.annotator, own.astype(np.float64), ratings.weight)
        found.append(_group(name, whole, g, everyone, gap))
    return found


def group_table(groups: Sequence[Group], item_ids: Sequence[str]) -> pa.Table:
    """A row per item and group: item_id, group, label_distribution, expected_reward, reward_error, votes."""
    parts = [
        pa.table(
            {
                "item_id": pa.array(item_ids, pa.string()),
                "group": pa.array([group.name] * len(item_ids), pa.string()),
                "label_distribution": pa.array(group.distribution.tolist(), pa.list_(pa.float32())),
                "expected_reward": pa.array(group.expected_reward.astype(np.float32)),
                "reward_error": pa.array(group.reward_error.astype(np.float32)),
                "votes": pa.array(group.votes.astype(np.float32)),
            }
        )
        for group in groups
    ]
    return pa.concat_tables(parts)


@dataclass(frozen=True)
class _Groups:
    """A groups: label counts (A + 1, N, K), the last those of raters in no group, and for each scale of the label space the groups on it; none for labels without an order."""

    counts: Floats
    scales: tuple[GroupScale, ...]
    prior: Prior
    space: LabelSpace

    @classmethod
    def of(cls, ratings: Ratings, number: Ints, groups: int, space: LabelSpace, prior: Prior) -> _Groups:
        counts = np.stack(
            [
                ratings.take(np.flatnonzero(number == g)).votes().counts
                if (number == g).any()
                else np.zeros((len(ratings.item_ids), space.K))
                for g in (*range(groups), -1)
            ]
        )
        if not all(isinstance(part, BetaPart) for part in prior.parts):
            if not has_scales(space):
                return cls(counts, (), prior, space)
            prior, _ = learn_prior(counts.sum(axis=0), space, "beta")
        group = np.where(number < 0, groups, number)
        scales = []
        for node, part in zip(nodes(chain(space)), prior.parts, strict=True):
            assert isinstance(part, BetaPart)
            level_of = np.full(space.K, -1, dtype=np.int64)
            for number_of, branch in enumerate(node.branches):
                level_of[list(branch)] = number_of
            votes = np.stack([node.votes(one) for one in counts])
            level = level_of[ratings.label]
            here = np.flatnonzero(level >= 0)
            scales.append(
                GroupScale.learn(part, votes, ratings.item[here], ratings.annotator[here], group[here], level[here])
            )
        return cls(counts, tuple(scales), prior, space)

    def everyone(self) -> Moments:
        """Of the labels and the reward, groups ignored."""
        return evaluate(self.prior, self.space, self.counts.sum(axis=0), _values(self.space))

    def worth(self, g: int, r: float) -> Floats:
        """As how many of the group's own votes one of the others' counts (N,)."""
        others = (self.counts.sum(axis=0) - self.counts[g]).sum(axis=1)
        return np.where(others > 0, people_worth(others, r) / np.maximum(others, 1e-300), 1.0)

    def deviation(self, g: int) -> float:
        """r of the group."""
        values = self.space.rewards[:, None] if self.scales else np.eye(self.space.K)
        return deviation(self.counts[g], self.counts.sum(axis=0) - self.counts[g], values)

    def moments(self, g: int, r: float) -> Moments:
        """Of the labels and the reward for the group."""
        worth = self.worth(g, r)
        counts = self.counts[g] + worth[:, None] * (self.counts.sum(axis=0) - self.counts[g])
        if not self.scales:
            return evaluate(self.prior, self.space, counts, _values(self.space))

        def models(start: int, stop: int) -> list[NodeModel]:
            return [NodeModel(_Judge(scale, g, worth, start, stop), latent_of(scale.part)) for scale in self.scales]

        return evaluate_each(self.prior.tree(self.space), models, counts, _values(self.space))

    def severity_variance(self, g: int, r: float, reward: Floats) -> Floats:
        """What the error of the group's severity adds to the variance of the expected reward (N,)."""
        total = np.zeros(len(reward))
        for at, scale in enumerate(self.scales):
            if scale.error[g] > 0:
                moved = scale.severity.copy()
                moved[g] += 0.1
                scales = (*self.scales[:at], replace(scale, severity=moved), *self.scales[at + 1 :])
                slope = (replace(self, scales=scales).moments(g, r).mean[:, -1] - reward) / 0.1
                total += slope**2 * scale.error[g]
        return total


@dataclass(frozen=True)
class _Judge:
    """The posterior of the items from `start` to before `stop` for a group on a scale."""

    scale: GroupScale
    group: int
    worth: Floats
    start: int
    stop: int

    def posterior(self, votes: Floats) -> Posterior:
        scores = self.scale.scores(self.group, self.worth, slice(self.start, self.stop))
        top = scores.max(axis=1, keepdims=True)
        R = np.exp(scores - top)
        total = R.sum(axis=1, keepdims=True)
        return Posterior(self._components(), votes, R, total, np.log(total[:, 0]) + top[:, 0])

    def _components(self) -> Components:
        return self.scale.components(self.group)


def _group(name: str, whole: _Groups, g: int, everyone: Floats, gap: Figure) -> Group:
    r = whole.deviation(g)
    found = whole.moments(g, r)
    p, reward = found.mean[:, :-1], found.mean[:, -1]
    variance = found.variance[:, -1] + whole.severity_variance(g, r, reward)
    own = whole.counts[g].sum(axis=1)
    return Group(
        name=name,
        distribution=p / p.sum(axis=1, keepdims=True),
        expected_reward=reward,
        reward_error=np.sqrt(variance),
        votes=own,
        strength=min(1.0 / r, MOST_STRENGTH) if r else MOST_STRENGTH,
        leaning=_leaning(p, everyone, own, whole.counts.sum(axis=(0, 2))),
        difference=gap.value,
        difference_error=gap.wide_error,
        p_value=gap.p_value,
    )


def _leaning(p: Floats, everyone: Floats, own: Floats, total: Floats) -> Floats:
    """How often the group gives each label, relative to the others, over the items with its votes `own` among the `total` (N,); geometric mean 1."""
    if not own.any() or own.sum() >= total.sum():
        return np.ones(p.shape[1])
    mean, whole = own @ p / own.sum(), own @ everyone / own.sum()
    share = own.sum() / total[own > 0].sum()
    others = np.maximum((whole - share * mean) / max(1.0 - share, 1e-9), LEAST_SHARE)
    found = np.log(np.maximum(mean, LEAST_SHARE)) - np.log(others)
    return np.asarray(np.exp(found - found.mean()))


def _values(space: LabelSpace) -> Floats:
    return np.column_stack([np.eye(space.K), space.rewards])
