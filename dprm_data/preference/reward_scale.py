"""How ratings measure utilities: expected reward = c_prompt + b u + error.

What the ratings alone say of a response is its posterior without its prior. With the prior N(M, T²), learned as the mean and the variance of all rewards (that of the means plus the mean of the
errors' squares), a posterior N(m, e²) comes from a measurement of precision 1/e² - 1/T² at (m/e² - M/T²) / (1/e² - 1/T²); a response without ratings has none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dprm_data.core.arrays import Floats, Ints

_WORTH = 5.0  # responses that the first guess of b and s² counts for


@dataclass(frozen=True)
class RewardScale:
    """value, precision (N,): the measurements (precision 0: none). slope: b, reward per utility; extra: s², variance of the error beside that of the measurement; guess: of b τ, in reward."""

    value: Floats
    precision: Floats
    slope: float
    extra: float
    guess: float

    @classmethod
    def of(cls, reward: Floats, error: Floats) -> RewardScale | None:
        """From posterior means and standard deviations (N,), NaN where there is none. None if there are no ratings, or if their rewards do not differ."""
        rated = np.flatnonzero(np.isfinite(reward) & np.isfinite(error))
        if len(rated) < 2:
            return None
        m, e2 = reward[rated], np.maximum(error[rated] ** 2, 1e-8)
        centre, total = float(m.mean()), float(m.var() + e2.mean())
        precision = 1 / e2 - 1 / total
        use = precision > 1e-3 / total
        if not use.any() or m.var() < 1e-12:
            return None
        value = np.zeros(len(reward))
        found = np.zeros(len(reward))
        found[rated[use]] = precision[use]
        value[rated[use]] = (m[use] / e2[use] - centre / total) / precision[use]
        guess = float(np.sqrt(m.var()))
        return cls(value, found, guess, 0.1 * guess**2, guess)

    def numbers(self) -> list[float]:
        return [float(np.log(self.slope)), float(np.log(self.extra))]

    def _weights(self, items: Ints) -> Floats:
        """Precision with the extra variance, (G, n)."""
        precision = self.precision[items]
        return precision / (1 + self.extra * precision)

    def _projected(self, items: Ints) -> Floats:
        """The weights as a matrix that takes out the prompt's constant, (G, n, n)."""
        w = self._weights(items)
        total = np.maximum(w.sum(axis=1), 1e-300)[:, None, None]
        return np.asarray(w[:, :, None] * np.eye(w.shape[1]) - w[:, :, None] * w[:, None, :] / total)

    def evidence(self, items: Ints, utility: Floats) -> tuple[Floats, Floats]:
        """Score (G, n) and information (G, n, n) about the utilities (G, n) of prompts with these items."""
        matrix = self._projected(items)
        left = self.value[items] - self.slope * utility
        return self.slope * np.einsum("gij,gj->gi", matrix, left), self.slope**2 * matrix

    def learned(self, parts: list[tuple[Ints, Floats, Floats]], spread: float) -> RewardScale:
        """One step of EM for b and s². parts: of prompts of one size each, items (G, n), posterior means (G, n) and covariances (G, n, n) of their utilities; spread: τ²."""
        together = alone = squares = free = scale = 0.0
        for items, mean, covariance in parts:
            matrix, value, w = self._projected(items), self.value[items], self._weights(items)
            together += float(np.einsum("gi,gij,gj->", mean, matrix, value))
            alone += float(np.einsum("gi,gij,gj->", mean, matrix, mean) + np.einsum("gij,gij->", matrix, covariance))
            several = (w > 0).sum(axis=1, keepdims=True) > 1
            used = (w > 0) & several
            total = np.maximum(w.sum(axis=1, keepdims=True), 1e-300)
            left = value - self.slope * mean
            left = left - (w * left).sum(axis=1, keepdims=True) / total
            # The error beside the measurement's: its posterior, given what is left. (Of the utilities' mean nothing is known, and nothing is asked: τ²/n of each variance.)
            precision = self.precision[items]
            kept = self.extra * precision / (1 + self.extra * precision)
            variance = self.extra / (1 + self.extra * precision) + kept**2 * (
                self.slope**2 * (np.diagonal(covariance, axis1=1, axis2=2) - spread / mean.shape[1]) + 1 / total
            )
            squares += float(np.where(used, (kept * left) ** 2 + variance, 0.0).sum())
            free += float(used.sum())
            scale += float(w[used].sum())
        if not free:
            return self
        mean_weight = scale / free
        guess = self.guess / np.sqrt(spread)
        prior = _WORTH * mean_weight * spread
        slope = (together + prior * guess) / (alone + prior)
        extra = (squares + _WORTH * 0.1 * self.guess**2) / (free + _WORTH)
        return replace(self, slope=float(max(slope, 1e-3 * guess)), extra=float(max(extra, 1e-6 * self.guess**2)))
