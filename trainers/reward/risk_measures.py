"""Risk measures: from a predicted distribution to one number.

A label's reward is r_i; the population chooses it with probability p_i. All measures are in the unit of the rewards,
and none exceeds the best reward. A measure is named by a spec (`--reading` of the commands): `mean`, `cvar`,
`cvar:0.1`.

A measure is a class; another package registers its own in the same way (`dprm_trainers.extend`):

    @risk_measure("worst")
    class Worst(RiskMeasure):
        '''The least reward that anyone gives.'''

        def read(self, p, rewards): ...

cvar and entropic are coherent in the direction of caution (concave, and monotone: shifting mass to a better label never
lowers them). std is not monotone: with a large l, shifting mass to the best label can lower it. Sources: Rockafellar
and Uryasev, J. Risk 2 (2000), for cvar; Foellmer and Schied, "Stochastic Finance" (2004), for entropic.

`--help` lists the measures, so importing this module must not import numpy.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, TypeVar

from pydantic import AfterValidator, BaseModel, Field

from dprm_data.core.registry import RISK_MEASURES
from dprm_trainers.core.errors import TrainingError
from dprm_trainers.core.settings import Choices

if TYPE_CHECKING:
    from dprm_data.core.arrays import Floats

Measure = TypeVar("Measure", bound="type[RiskMeasure]")

_SMALL = 1e-6  # times the range of the rewards: below it `entropic` is its expansion, where the logarithm only rounds
_MOST = 1e6  # the largest level of an unbounded parameter: beyond it a level changes nothing, or overflows


@dataclass(frozen=True)
class Level:
    """The parameter of a risk measure: its symbol in messages, its default, and its range, (0, most] or [0, most]."""

    symbol: str
    default: float
    most: float = math.inf
    zero: bool = False

    def __contains__(self, value: float) -> bool:
        return math.isfinite(value) and (value > 0 or (self.zero and value == 0)) and value <= self.most

    def __str__(self) -> str:
        if math.isinf(self.most):
            return f"{self.symbol} >= 0" if self.zero else f"{self.symbol} > 0"
        return f"0 {'<=' if self.zero else '<'} {self.symbol} <= {self.most:g}"


class RiskMeasure(ABC):
    """A measure at its level. The first line of a subclass's docstring describes it in the documentation.

    parameter: what follows the colon in a spec; None for a measure without a level. needs_distribution: whether a model
    that predicts one scalar lacks what the measure reads.
    """

    parameter: ClassVar[Level | None] = None
    needs_distribution: ClassVar[bool] = True
    name: ClassVar[str] = ""  # set by `risk_measure`

    def __init__(self, level: float | None = None) -> None:
        """level: the parameter's default if None. Raises `TrainingError` if it is outside the range."""
        if level is not None and (self.parameter is None or level not in self.parameter):
            problem = (
                f"{self.name} takes no level" if self.parameter is None else f"{level:g} is outside {self.parameter}"
            )
            raise TrainingError(f"reading '{self.name}:{level:g}': {problem}", hint=_allowed())
        self.level = level if level is not None else self.parameter.default if self.parameter else 0.0

    @staticmethod
    def of(spec: str | RiskMeasure) -> RiskMeasure:
        """The measure of a spec: a name, or `name:level`. Raises `TrainingError`, which lists what is installed."""
        if isinstance(spec, RiskMeasure):
            return spec
        name, _, text = spec.strip().lower().partition(":")
        try:
            measure: type[RiskMeasure] = RISK_MEASURES.get(RISK_MEASURES.check(name))
        except ValueError as error:
            raise TrainingError(f"reading {spec!r}: {error}", hint=_allowed()) from error
        try:
            level = float(text) if text else None
        except ValueError as error:
            raise TrainingError(f"reading {spec!r}: {text!r} is not a number", hint=_allowed()) from error
        return measure(level)

    def __call__(self, distributions: Floats, rewards: Floats) -> Floats:
        """The measure of each row: distributions (N, K) and rewards (K,) to (N,).

        Raises `TrainingError` if it overflows.
        """
        import numpy as np

        p = np.asarray(distributions, dtype=np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            found = np.asarray(self.read(p, rewards))
        _check_finite(found, p, rewards, f"the reading {self.name}" + (f":{self.level:g}" if self.parameter else ""))
        return found

    @abstractmethod
    def read(self, p: Floats, rewards: Floats) -> Floats:
        """The measure of each row of p (N, K), float64, under the labels' rewards (K,): (N,)."""


def risk_measure(name: str) -> Callable[[Measure], Measure]:
    """Register a `RiskMeasure` subclass under a name in lower case without a colon."""

    def decorate(target: Measure) -> Measure:
        target.name = name
        return RISK_MEASURES.register(name)(target)

    return decorate


@risk_measure("mean")
class Mean(RiskMeasure):
    """Σ pᵢ rᵢ, which the paper maximises."""

    needs_distribution = False

    def read(self, p: Floats, rewards: Floats) -> Floats:
        return p @ rewards


@risk_measure("quantile")
class Quantile(RiskMeasure):
    """The least reward r such that at least a share t of the population gives r or less."""

    parameter = Level("t", 0.5, most=1.0)

    def read(self, p: Floats, rewards: Floats) -> Floats:
        order = rewards.argsort(kind="stable")
        at_or_below = p[:, order].cumsum(axis=1)
        index = (at_or_below < self.level - 1e-9).sum(axis=1)
        quantiles: Floats = rewards[order][index.clip(max=len(rewards) - 1)]
        return quantiles


@risk_measure("cvar")
class CVaR(RiskMeasure):
    """The mean over the least satisfied share t, 1/t times the integral of the quantile to t; `cvar:1` is the mean."""

    parameter = Level("t", 0.1, most=1.0)

    def read(self, p: Floats, rewards: Floats) -> Floats:
        order = rewards.argsort(kind="stable")
        p = p[:, order]
        below = p.cumsum(axis=1) - p
        tail = (self.level - below).clip(0.0, p)
        means: Floats = (tail @ rewards[order]) / tail.sum(axis=1)
        return means


@risk_measure("std")
class MeanMinusStd(RiskMeasure):
    """The mean minus l standard deviations over the population; not monotone for large l."""

    parameter = Level("l", 1.0, most=_MOST, zero=True)

    def read(self, p: Floats, rewards: Floats) -> Floats:
        return p @ rewards - self.level * reward_std(p, rewards)


@risk_measure("entropic")
class Entropic(RiskMeasure):
    """-(1/b) log Σ pᵢ exp(-b rᵢ): about the mean - (b/2) · variance for small b, the worst reward as b grows."""

    parameter = Level("b", 1.0, most=_MOST)

    def read(self, p: Floats, rewards: Floats) -> Floats:
        import numpy as np

        if self.level * (rewards.max() - rewards.min()) < _SMALL:
            return p @ rewards - self.level / 2 * reward_std(p, rewards) ** 2
        # The least reward that anyone gives is taken out of the exponential, whose sum could be 0 otherwise.
        low = np.where(p > 0, rewards, np.inf).min(axis=1, keepdims=True)
        sums = (p * np.exp(-self.level * (rewards - low).clip(min=0))).sum(axis=1)
        return np.asarray(low[:, 0] - np.log(sums) / self.level)


def reward_std(distributions: Floats, rewards: Floats) -> Floats:
    """The standard deviation of the reward over the population: (N,). Raises `TrainingError` if it overflows."""
    import numpy as np

    from dprm_data.labels.statistics import reward_variance

    with np.errstate(over="ignore", invalid="ignore"):
        variance: Floats = reward_variance(distributions, rewards)
    _check_finite(variance, distributions, rewards, "the standard deviation")
    return variance**0.5


def _check_finite(values: Floats, p: Floats, rewards: Floats, what: str) -> None:
    """Raise `TrainingError` if a value is not finite although its distribution is."""
    import numpy as np

    if not np.isfinite(values[np.isfinite(p).all(axis=1)]).all():
        raise TrainingError(
            f"{what} overflows with rewards from {rewards.min():g} to {rewards.max():g}",
            hint="Give a smaller level, or a label space with smaller rewards.",
        )


def specs() -> dict[str, type[RiskMeasure]]:
    """Every installed measure by the form of its spec: `mean`, `cvar:t`."""
    measures: list[type[RiskMeasure]] = [RISK_MEASURES.get(name) for name in RISK_MEASURES.names()]
    return {m.name + (f":{m.parameter.symbol}" if m.parameter else ""): m for m in measures}


def _allowed() -> str:
    ranges = [f"{spec} ({m.parameter})" if m.parameter else spec for spec, m in specs().items()]
    return f"Allowed: {', '.join(ranges)}."


def _checked(spec: str) -> str:
    RiskMeasure.of(spec)
    return spec


# The setting `reading` of every command that has one.
ReadingSpec = Annotated[
    str,
    AfterValidator(_checked),
    Choices(lambda: ", ".join(specs())),
    Field(description="How a distribution becomes a reward."),
]


class ReadingOption(BaseModel):
    """The option `--reading` of a command whose other options are its own."""

    reading: ReadingSpec = "mean"
