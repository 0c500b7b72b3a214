"""From a predicted distribution to one number: the mean, and readings that look at the whole distribution.

A label's reward is r_i; the population chooses it with probability p_i. All readings are in the unit of the rewards, and none exceeds the best reward.

    mean            sum p_i r_i: what the paper maximises
    quantile:t      the least reward r such that at least a share t of the population gives r or less
    cvar:t          the mean over the t least satisfied: (1/t) x the integral of the quantile from 0 to t. cvar:1 is the mean, t -> 0 the worst reward
    std:l           mean - l x standard deviation over the population
    entropic:b      -(1/b) log sum p_i exp(-b r_i): about mean - (b/2) variance for small b > 0, the worst reward as b grows

cvar and entropic are coherent in the direction of caution (concave, and monotone: shifting mass to a better label never lowers them); std is not monotone: with a large l, mass moved to
the best label can lower it. Sources: Rockafellar and Uryasev, J. Risk 2 (2000), for cvar; Foellmer and Schied, "Stochastic Finance" (2004), for entropic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from dprm_data.core.arrays import Floats
from dprm_data.labels.geometry import reward_order
from dprm_data.labels.statistics import reward_variance
from dprm_trainers.core.errors import TrainingError

Kind = Literal["mean", "quantile", "cvar", "std", "entropic"]
_DEFAULTS: dict[str, float] = {"mean": 0.0, "quantile": 0.5, "cvar": 0.1, "std": 1.0, "entropic": 1.0}


@dataclass(frozen=True)
class Reading:
    """How a distribution is read. `level` is the reading's one number (see the module)."""

    kind: Kind = "mean"
    level: float = 0.0

    @classmethod
    def of(cls, spec: str | Reading) -> Reading:
        """A reading from its name: `mean`, `cvar:0.1`, ... Raises `TrainingError`, which says what is allowed."""
        if isinstance(spec, Reading):
            return spec
        kind, _, number = spec.strip().lower().partition(":")
        try:
            level = float(number) if number else _DEFAULTS.get(kind, 0.0)
        except ValueError:
            level = float("nan")
        inside = (0 < level <= 1) if kind in ("quantile", "cvar") else level > 0 if kind == "entropic" else level >= 0
        if kind not in get_args(Kind) or not inside or not np.isfinite(level):
            raise TrainingError(
                f"no reading {spec!r}",
                hint="Allowed: mean, quantile:t and cvar:t with 0 < t <= 1, std:l with l >= 0, entropic:b with b > 0.",
            )
        return cls(kind, level)  # type: ignore[arg-type]

    def __call__(self, distributions: Floats, rewards: Floats) -> Floats:
        """The reading of every row: (N, K) and (K,) to (N,)."""
        p = np.asarray(distributions, dtype=np.float64)
        if self.kind == "mean":
            return np.asarray(p @ rewards)
        if self.kind == "std":
            return np.asarray(p @ rewards - self.level * reward_std(p, rewards))
        if self.kind == "entropic":
            low = rewards.min()  # taken out before the exponential: nothing overflows
            return np.asarray(low - np.log(p @ np.exp(-self.level * (rewards - low))) / self.level)
        order = reward_order(rewards)
        p, r = p[:, order], rewards[order]
        below = np.cumsum(p, axis=1)
        if self.kind == "quantile":
            return np.asarray(r[np.minimum((below < self.level - 1e-9).sum(axis=1), len(r) - 1)])
        tail = np.clip(self.level - (below - p), 0.0, p)
        return np.asarray((tail @ r) / tail.sum(axis=1))


def reward_std(distributions: Floats, rewards: Floats) -> Floats:
    """The standard deviation of the reward over the population: (N,)."""
    return np.asarray(np.sqrt(reward_variance(distributions, rewards)))
