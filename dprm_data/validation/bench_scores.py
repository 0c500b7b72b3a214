"""Scores of a judge on a benchmark, with intervals, and the rivals that every judge must beat.

A protocol says what each case is worth under the rewards that a judge gave its responses (*credits*), and how the means of credits become the benchmark's figures.
Every figure is a linear combination of means over cases. So its interval follows from the same resamples of cases for all judges, and the expected figures of a
judge that answers at random from its expected credits.

A response without a reward (NaN) is not above any other, so a case that hangs on it counts as wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dprm_data.core.arrays import Floats
from dprm_data.ingest.judge_sets.judge_set import Case
from dprm_data.labels.statistics import Interval, Resamples, ratio

Rewards = Sequence[Floats]  # of each case, its responses' (k,)
Credits = dict[str, Floats]  # by name (N,); NaN for cases that it is not about
Means = Mapping[str, Floats]  # by name (1 + B,): of the sample, and of every resample

OVERALL = "overall"
_DRAWS, _LEAST_DRAWS, _MOST_DRAWN = (
    200,
    10,
    200_000,
)  # of a judge that answers at random; the more cases, the fewer are needed


@dataclass(frozen=True)
class Protocol:
    """A benchmark's rules. words: in a sentence, for people; credits, figures: see the module."""

    words: str
    credits: Callable[[Sequence[Case], Rewards], Credits]
    figures: Callable[[Means], dict[str, Floats]]


def resamples_of(cases: Sequence[Case]) -> Resamples:
    """Draws of cases; those of one group together."""
    return Resamples.of([case.group for case in cases], resamples=2000)


def score(protocol: Protocol, cases: Sequence[Case], rewards: Rewards, draws: Resamples) -> dict[str, Interval]:
    """The benchmark's figures of these rewards."""
    return _intervals(protocol, protocol.credits(cases, rewards), draws)


def rival_scores(protocol: Protocol, cases: Sequence[Case], draws: Resamples) -> dict[str, dict[str, Interval]]:
    """The figures of judges that know nothing: random rewards (the expectation), the longer response, and the same reward for all."""
    rng = np.random.default_rng(0)
    times = min(_DRAWS, max(_LEAST_DRAWS, _MOST_DRAWN // max(1, len(cases))))
    drawn = [protocol.credits(cases, [rng.random(len(case.responses)) for case in cases]) for _ in range(times)]
    expected = {name: np.mean([found[name] for found in drawn], axis=0) for name in drawn[0]}
    length = [np.array([float(len(text)) for text in case.responses]) for case in cases]
    return {
        "random": _intervals(protocol, expected, draws),
        "longest": score(protocol, cases, length, draws),
        "constant": score(protocol, cases, [np.zeros(len(case.responses)) for case in cases], draws),
    }


def _intervals(protocol: Protocol, credits: Credits, draws: Resamples) -> dict[str, Interval]:
    figures = protocol.figures({name: _mean(values, draws) for name, values in credits.items()})
    return {name: draws.interval(values) for name, values in figures.items()}


def _mean(values: Floats, draws: Resamples) -> Floats:
    """The mean in the sample and in every resample (1 + B,), of the cases that it is about."""
    known = np.isfinite(values)
    weights = draws.weights[:, known]
    return ratio(weights @ values[known], weights.sum(axis=1))


def average(figures: Sequence[Floats]) -> Floats:
    """The mean of figures; of those that there are, where a section has no case."""
    known = [values for values in figures if np.isfinite(values[0])]
    return np.mean(known, axis=0) if known else np.full_like(figures[0], np.nan)


def in_section(cases: Sequence[Case], values: Floats, section: str) -> Floats:
    """The values of one section's cases (N,); NaN for others."""
    return np.where([case.section == section for case in cases], values, np.nan)


def sections_of(cases: Sequence[Case]) -> list[str]:
    """In the order in which they come."""
    return list(dict.fromkeys(case.section for case in cases))
