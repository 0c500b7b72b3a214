"""Distributions by group of annotators, with partial pooling.

How do women, people over 60 or one region see an item? A group has few votes per item; alone they are noise. So an item's distribution in group a is
shrunk towards that of everyone else, adjusted by the group's leaning,

    p_ia ~ Dirichlet(tau_a * c_ia),      c_ia,k proportional to q_ia,k omega_a,k

with q_ia the item's posterior mean from the votes of everyone outside the group, omega_a the group's leaning (a weight per label, the same for all items,
by iterative scaling: over all items the labels are expected as often as the group chose them), and tau_a, how closely the group follows
it, by marginal likelihood (Dirichlet-multinomial). A group that agrees with everyone else gets a flat omega and a large tau.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.special import gammaln

from dprm_data.core.arrays import Floats
from dprm_data.core.errors import VotesError
from dprm_data.ingest.ratings import Ratings
from dprm_data.labels.space import LabelSpace
from dprm_data.labels.statistics import reward_variance
from dprm_data.preference.posterior import evaluate
from dprm_data.preference.prior import Prior
from dprm_data.preference.rater_units import Figure, difference

STRENGTHS = np.geomspace(0.5, 5_000.0, 25)
LEANING_VOTES = 10.0
FLOOR = 1e-6


@dataclass(frozen=True)
class Group:
    """One group's view of all N items: `distribution` (N, K), `expected_reward` (N,) with posterior standard deviation `reward_error` (N,), `votes` (N,) of
    its own, `strength` tau, `leaning` (K,) omega. `difference`: how much more reward its raters give than the others on the same items; `difference_error`: its
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
    everyone = ratings.votes().counts
    reward = ratings.rewards(space)
    found = []
    for g, name in enumerate(names):
        own = number == g
        gap = difference(reward, ratings.item, ratings.annotator, own.astype(np.float64), ratings.weight)
        found.append(_group(name, ratings.take(np.flatnonzero(own)).votes().counts, everyone, space, prior, gap))
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


def _group(name: str, own: Floats, everyone: Floats, space: LabelSpace, prior: Prior, gap: Figure) -> Group:
    others = np.maximum(everyone - own, 0.0)
    q = np.maximum(evaluate(prior, space, others, np.eye(space.K)).mean, FLOOR)
    q /= q.sum(axis=1, keepdims=True)
    voted = own.sum(axis=1) > 0
    leaning = _leaning(own[voted], q[voted])
    centre = q * leaning
    centre /= centre.sum(axis=1, keepdims=True)
    strength = _strength(own[voted], centre[voted])
    alpha = strength * centre + own
    total = alpha.sum(axis=1)
    p = alpha / total[:, None]
    return Group(
        name=name,
        distribution=p,
        expected_reward=p @ space.rewards,
        reward_error=np.sqrt(reward_variance(p, space.rewards) / (total + 1.0)),
        votes=own.sum(axis=1),
        strength=strength,
        leaning=leaning,
        difference=gap.value,
        difference_error=gap.wide_error,
        p_value=gap.p_value,
    )


def _leaning(own: Floats, q: Floats) -> Floats:
    """Iterative scaling, with LEANING_VOTES votes for no leaning."""
    log_omega = np.zeros(q.shape[1])
    N, observed = own.sum(axis=1), own.sum(axis=0)
    for _ in range(40):
        centre = q * np.exp(log_omega)
        centre /= centre.sum(axis=1, keepdims=True)
        expected = N @ centre
        log_omega += (observed - expected - LEANING_VOTES * log_omega) / (expected + LEANING_VOTES)
        log_omega = np.clip(log_omega - log_omega.mean(), -5.0, 5.0)
    return np.asarray(np.exp(log_omega))


def _strength(own: Floats, q: Floats) -> float:
    """The likeliest tau on a geometric grid; the middle of it if no votes are informative."""
    if len(own) == 0:
        return float(np.median(STRENGTHS))
    N = own.sum(axis=1)

    def evidence(tau: float) -> float:
        rising = (gammaln(tau * q + own) - gammaln(tau * q)).sum()
        return float(rising - (gammaln(tau + N) - gammaln(tau)).sum())

    return float(STRENGTHS[int(np.argmax([evidence(tau) for tau in STRENGTHS]))])
