"""Several policies, such as those kept along a training, under a proxy and a gold judge, against the KL to their base."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dprm_data.core.arrays import Ints
from dprm_data.labels.statistics import Interval, Resamples
from dprm_trainers.evaluation.gold_fall import Fall, deepest_fall
from dprm_trainers.evaluation.judges import Verdict


@dataclass(frozen=True)
class PolicyPoint:
    """A policy's mean rewards, and their changes from the first policy's, paired.

    kl: to the reference, nats per response, on the policy's own samples; None if not measured.
    """

    policy: str
    kl: Interval | None
    proxy: Interval
    gold: Interval
    proxy_gain: Interval
    gold_gain: Interval


@dataclass(frozen=True)
class PolicyCurve:
    """The policies in their order, the base first. fall: of gold from one to a later one while the proxy rises, if any."""

    proxy: str
    gold: str
    points: list[PolicyPoint]
    fall: Fall | None


def policy_curve(
    columns: Mapping[str, Ints], kl: Mapping[str, Interval], proxy: Verdict, gold: Verdict, draws: Resamples
) -> PolicyCurve:
    """The curve through the policies. columns: rows of their responses (N,), paired by prompt. draws: of these N."""
    by_proxy, by_gold = (np.stack([judge.reward[rows] for rows in columns.values()], axis=1) for judge in (proxy, gold))
    curves = (by_proxy, by_gold, by_proxy - by_proxy[:, :1], by_gold - by_gold[:, :1])
    points = [
        PolicyPoint(name, kl.get(name), *(draws.mean(curve[:, k]) for curve in curves))
        for k, name in enumerate(columns)
    ]
    return PolicyCurve(proxy.judge, gold.judge, points, deepest_fall(list(columns), by_proxy, by_gold, draws))
