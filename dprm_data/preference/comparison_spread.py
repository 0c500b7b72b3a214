"""How much responses differ (τ²), how much people do (ρ) and how much one answer varies (φ), from how answers go together.

An answer is y = k/(2m), centred on what is answered where two responses are equal. For two answers with x·x' = 2 (one pair, judged twice)

    of different annotators   E[y y'] = B = E[μ(d)²],  d ~ N(0, 2τ²)
    of one annotator          E[y y'] = W = B + ρ (D - B),  D = E[y²]

and for pairs that share one response nearly half of both. So B gives τ², and (W - B)/(D - B) gives ρ. An answer that gives each step a probability is not drawn anew: D is then that of a step drawn from it, and the
variance V of such a draw is not in the answers. Of an answer's own part of the variance, (1 - ρ) (D - B), the part φ = 1 - V / ((1 - ρ) (D - B)) is left. Neither needs the utilities to be known: where a prompt has few annotators, each of whom answers
several times, the likelihood of a fitted prompt takes one person's taste for everybody's, and τ² would come out far too large. A prior that is worth a few
prompts (for ρ: units) keeps the moments of little data within reason, and is what there is where no prompt has two annotators.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dprm_data.core.arrays import Floats
from dprm_data.preference.comparison_scale import Scale
from dprm_data.preference.comparison_units import Batch

SPREAD, CORRELATION = 1.0, 0.5  # typical of people who compare
_WORTH, _UNITS = 5.0, 20.0  # what they are worth: prompts, and units with several answers
_LOWEST, _HIGHEST = 0.01, 50.0
_LEAST_OWN = 0.1  # φ: answers without any noise are not known for that
_NODES = 20


def spread_and_correlation(
    batches: Sequence[Batch], answer: Floats, variance: Floats, scale: Scale, shift: float
) -> tuple[float, float, float]:
    """τ², ρ and φ. answer (C,): centred, NaN for one that is left out (on another scale than `scale`, or of a pair that was chosen); variance (C,): of a step drawn from an answer that gives each a probability, else 0;
    shift: the mean order effect."""
    sums, prompts, repeated = np.zeros((2, 3)), 0, 0
    for batch in batches:
        given = answer[batch.answers]
        found = batch.agreement(given)
        found[0, 0] += variance[batch.answers][~np.isnan(given)].sum()
        sums += found
        prompts += len(batch.items) if found[1, 2] > 0 else 0
        repeated += batch.with_several(~np.isnan(given))
    own, within, between = (value / number if number > 0 else np.nan for value, number in sums.T)
    typical = _signal(SPREAD, scale, shift)
    between = (prompts * np.nan_to_num(between) + _WORTH * typical) / (prompts + _WORTH)
    raw = (within - between) / max(own - between, 1e-9) if repeated else 0.0
    correlation = (repeated * float(np.clip(raw, 0.0, 1.0)) + _UNITS * CORRELATION) / (repeated + _UNITS)
    correlation = min(correlation, 0.95)
    return _spread(between, scale, shift), correlation, _own_part(answer, variance, between, correlation)


def _own_part(answer: Floats, variance: Floats, between: float, correlation: float) -> float:
    """φ of the answers that give each step a probability; 1 where there are none."""
    here = (variance > 0) & ~np.isnan(answer)
    if not here.any():
        return 1.0
    drawn = float(variance[here].mean())
    own = (1 - correlation) * (float((answer[here] ** 2).mean()) + drawn - between)
    return float(np.clip(1 - drawn / max(own, 1e-9), _LEAST_OWN, 1.0))


def _signal(spread: float, scale: Scale, shift: float) -> float:
    """E[μ(d)²] for d ~ N(0, 2τ²), where μ is half of how much more the answer is for the first than for the second: both orders occur equally often among pairs of answers."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    d = nodes * np.sqrt(2 * spread)
    ahead, back = (scale.moments(side * d + shift, np.zeros_like(d))[0] for side in (1.0, -1.0))
    return float(weights @ (0.5 * (ahead - back)) ** 2 / weights.sum())


def _spread(signal: float, scale: Scale, shift: float) -> float:
    from scipy.optimize import brentq

    def over(log: float) -> float:
        return _signal(float(np.exp(log)), scale, shift) - signal

    low, high = np.log(_LOWEST), np.log(_HIGHEST)
    if over(low) >= 0:
        return _LOWEST
    return float(np.exp(brentq(over, low, high, xtol=1e-4))) if over(high) > 0 else _HIGHEST
