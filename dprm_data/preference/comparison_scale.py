"""How a comparison is answered: the probabilities of its steps, given the difference of two utilities.

The answers to a comparison are the steps -m … m, from "the second is much better" to "the first is much better"; 0 says that neither is better. With m = 1 and without 0, that is
two steps; with it, three. The log odds of neighbouring steps grow with the difference d:

    P(k) proportional to exp(d k/(2m) + θ_|k|),  θ_m = 0

Two steps are Bradley and Terry's model, three Davidson's with tie parameter exp(θ_0), more the adjacent-categories logit for paired comparisons. In all of them d is the log odds of
the two outermost steps, and swapping the two sides mirrors the answers.

Sources: Davidson, JASA 65 (1970); Agresti, Applied Statistics 41 (1992).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dprm_data.core.arrays import Floats

STEPS = (2, 3, 5, 7)  # numbers of steps that are understood
_PSEUDO = 0.5  # answers added to each |k|, so that one nobody gave keeps a probability


@dataclass(frozen=True)
class Scale:
    """The steps of an answer. theta (m+1,): by |k|, the last is 0; where 0 is no answer, the first is -inf. slope: what d is multiplied by, 1 for the scale that sets the unit."""

    steps: int
    theta: Floats
    slope: float = 1.0

    @classmethod
    def of(cls, steps: int) -> Scale:
        theta = np.zeros(steps // 2 + 1)
        if steps % 2 == 0:
            theta[0] = -np.inf
        return cls(steps, theta)

    @property
    def most(self) -> int:
        """m: the outermost step."""
        return self.steps // 2

    def probabilities(self, difference: Floats) -> Floats:
        """Of the steps -m … m, (C, 2m+1), at differences (C,) on the scale of the unit."""
        k = np.arange(-self.most, self.most + 1)
        logs = self.slope * difference[:, None] * k / (2 * self.most) + self.theta[np.abs(k)]
        found = np.exp(logs - logs.max(axis=1, keepdims=True))
        return np.asarray(found / found.sum(axis=1, keepdims=True))

    def moments(self, difference: Floats, error: Floats) -> tuple[Floats, Floats]:
        """Mean and variance of the score k/(2m), (C,) each: times the slope, the derivatives of the log normaliser. Means over differences with this mean and standard deviation (C,)."""
        low, high = (self._moments(self.probabilities(difference + side * error)) for side in (-1.0, 1.0))
        return 0.5 * (low[0] + high[0]), 0.5 * (low[1] + high[1])

    def _moments(self, p: Floats) -> tuple[Floats, Floats]:
        score = np.arange(-self.most, self.most + 1) / (2 * self.most)
        mean = p @ score
        return mean, np.maximum(p @ score**2 - mean**2, 1e-12)

    def preferred(self, difference: Floats) -> tuple[Floats, Floats]:
        """The share of people who prefer the first, and of those without a preference, (C,) each."""
        p = self.probabilities(difference)
        return p[:, self.most + 1 :].sum(axis=1), p[:, self.most]

    def learned(
        self, difference: Floats, error: Floats, answer: Floats, sizes: Floats, weight: Floats, *, with_slope: bool
    ) -> Scale:
        """One step of EM for theta (iterative scaling) and the slope (Newton). difference, error (C,): posterior mean and standard deviation of d in every comparison; answer (C,): the mean step, and sizes (C, m+1): the
        probabilities of |k|, of an answer: all that the likelihood of one that is spread over several steps depends on."""
        size, k = self.most + 1, np.abs(np.arange(-self.most, self.most + 1))
        seen = weight @ sizes + _PSEUDO
        expected, gain, curve = np.zeros(size), 0.0, 0.0
        for side in (-1.0, 1.0):  # the mean of a function of a normal variable, exact to the second order
            d = difference + side * error
            p = self.probabilities(d)
            np.add.at(expected, k, 0.5 * (weight @ p))
            mean, variance = self._moments(p)
            gain += 0.5 * float(weight @ (d * (answer / (2 * self.most) - mean)))
            curve += 0.5 * float(weight @ (d * d * variance))
        expected += _PSEUDO * expected / expected.sum() * (size - (self.steps % 2 == 0))
        allowed = expected > 0
        theta = self.theta.copy()
        theta[allowed] += np.log(seen[allowed] / expected[allowed])
        theta[allowed] -= theta[-1]
        slope = float(np.clip(self.slope + gain / curve, 0.1, 10.0)) if with_slope and curve > 0 else self.slope
        return replace(self, theta=theta, slope=slope)
