"""The order effect: how much better a response looks because it is shown first, in log odds, for each kind of annotator and for each annotator.

An annotator's effect is N(δ_kind, ω²), so that somebody who always says "the first" is known by it and says nothing of the responses. Annotators with fewer than 6 answers have their kind's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dprm_data.core.arrays import Floats, Ints

_FEWEST = 6  # answers
_TYPICAL, _WORTH = 0.1, 2.0  # prior of ω²: this, at the worth of so many annotators
_LARGEST = 8.0  # log odds


@dataclass(frozen=True)
class OrderEffects:
    """Of K kinds and A annotators. kind (A,); known (A,): whether the order is known (the others have no effect); mean, error (K,): δ and its standard error; variance: ω²; of_annotator (A,): each one's."""

    kind: Ints
    known: NDArray[np.bool_]
    mean: Floats
    error: Floats
    variance: float
    of_annotator: Floats

    @classmethod
    def none(cls, kind: Ints, known: NDArray[np.bool_]) -> OrderEffects:
        kinds = int(kind.max(initial=-1)) + 1
        return cls(kind, known, np.zeros(kinds), np.full(kinds, np.nan), _TYPICAL, np.zeros(len(kind)))

    def learned(self, score: Floats, curve: Floats, answers: Ints) -> OrderEffects:
        """One step of EM. score, curve (A,): derivative of every annotator's log likelihood by its effect, and information; answers (A,): their numbers."""
        asked = self.known & (curve > 0)
        several = asked & (answers >= _FEWEST)
        noise = 1.0 / np.where(asked, curve, 1.0)
        step = score * noise
        alone = self.of_annotator + np.where(several, np.clip(step, -_LARGEST, _LARGEST), step)
        between = np.where(several, self.variance, 0.0)
        weight = np.where(asked, 1.0 / (between + noise), 0.0)
        total = 1.0 + np.bincount(self.kind, weight, minlength=len(self.mean))  # prior: N(0, 1)
        mean = np.bincount(self.kind, weight * alone, minlength=len(self.mean)) / total
        shrunk = between / (between + noise)
        own = np.where(self.known, mean[self.kind] + shrunk * (alone - mean[self.kind]), 0.0)
        squares = np.where(several, (own - mean[self.kind]) ** 2 + shrunk * noise, 0.0)
        variance = (squares.sum() + _WORTH * _TYPICAL) / (several.sum() + _WORTH)
        seen = np.bincount(self.kind, asked, minlength=len(self.mean)) > 0
        return replace(
            self,
            mean=np.clip(mean, -_LARGEST, _LARGEST),
            error=np.where(seen, 1.0 / np.sqrt(total), np.nan),
            variance=float(variance),
            of_annotator=np.clip(own, -_LARGEST, _LARGEST),
        )

    def with_mean(self, other: OrderEffects) -> OrderEffects:
        """These effects of the annotators, with another's of their kinds."""
        return replace(self, mean=other.mean, error=other.error, variance=other.variance)
