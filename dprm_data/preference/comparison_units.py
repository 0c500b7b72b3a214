"""Comparisons laid out for the fit: prompts of equal size together, and in them the answers that one annotator gave about one prompt (a unit).

A unit's answers are about one person's utilities, so they go together: two answers that share a response more than two that do not. With x = e_first - e_second for an answer, the
correlation of the residuals of two answers is ρ x·x'/2: ρ where one pair is judged twice, -ρ where it was turned, half of it where one response is shared. A unit then says

    information  X'A½ R⁻¹ A½X,  score  X'A½ R⁻¹ A⁻½(y - μ),  R = (1-ρ) I + ρ/2 XX'

(a generalised estimating equation; with ρ = 0 the likelihood's own). By Woodbury's identity this needs matrices of the prompt's size only. A unit with one answer counts in full; many answers
of one annotator count at most as one person.

The best and the worst of a set of k are one answer and m = 2k-3 comparisons: the best wins all of its own, the worst none. Where all k are equal, the variance of the score of such an answer is that of m
independent comparisons times λ = (k-1)²/m (9/5 for four), so I in R is multiplied by λ: of four, five comparisons count as 2.8. ρ is about different answers.

Where answers give each step a probability, their own part of the variance is φ times as large (`comparison_spread`), and a unit says so much more as is left of the mean variance of the score X'A½(y - μ):
((1-ρ)φ + ρκ) / ((1-ρ) + ρκ), κ = tr (X'X)² / (2 tr X'X). (φ within R would be the same where all pairs are asked, but lets the equation diverge where people differ much.)

Source: Liang and Zeger, Biometrika 73 (1986).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dprm_data.core.arrays import Floats, Ints


@dataclass(frozen=True)
class Batch:
    """G prompts of n compared responses each, U units and M comparisons. items (G, n): rows; answers (M,): rows of the comparisons, units together; first, second (M,): places in the prompt;
    unit (M,); reply (M,): the answer that it follows from, from 0; prompt (U,), ascending; weight (U,); noise (U,): λ; spread (U,): the part of its answers that give each step a probability."""

    items: Ints
    answers: Ints
    first: Ints
    second: Ints
    unit: Ints
    reply: Ints
    prompt: Ints
    weight: Floats
    noise: Floats
    spread: Floats

    @property
    def of_prompt(self) -> Ints:
        """The prompt of every answer, (M,)."""
        return self.prompt[self.unit]

    def differences(self, utility: Floats) -> Floats:
        """Of every answer, (M,), from utilities (G, n)."""
        return utility[self.of_prompt, self.first] - utility[self.of_prompt, self.second]

    def variances(self, covariance: Floats) -> Floats:
        """Of the difference of every answer, (M,), from covariances (G, n, n)."""
        g, a, b = self.of_prompt, self.first, self.second
        return np.maximum(covariance[g, a, a] + covariance[g, b, b] - 2 * covariance[g, a, b], 0.0)

    def crossed(self, values: Floats) -> Floats:
        """X' diag(values) X of every unit, (U, n, n)."""
        n, a, b = self.items.shape[1], self.first, self.second
        at = self.unit * n * n
        index = np.concatenate([at + a * n + a, at + b * n + b, at + a * n + b, at + b * n + a])
        signed = np.concatenate([values, values, -values, -values])
        return np.bincount(index, signed, minlength=len(self.prompt) * n * n).astype(np.float64).reshape(-1, n, n)

    def summed(self, values: Floats) -> Floats:
        """X' values of every unit, (U, n)."""
        return self._at_responses(self.unit, values, -values)

    def _at_responses(self, of: Ints, first: Floats, second: Floats) -> Floats:
        """Values of the first and of the second of every comparison, summed by response within each of `of` (M,)."""
        n, at = self.items.shape[1], of * self.items.shape[1]
        index = np.concatenate([at + self.first, at + self.second])
        size = (int(of.max(initial=-1)) + 1) * n
        return np.bincount(index, np.concatenate([first, second]), minlength=size).astype(np.float64).reshape(-1, n)

    def by_prompt(self, values: Floats) -> Floats:
        """The sum over each prompt's units, (G, …), of values (U, …)."""
        return np.asarray(np.add.reduceat(values, np.searchsorted(self.prompt, np.arange(len(self.items)))))

    def evidence(self, residual: Floats, information: Floats, correlation: float, own: float) -> tuple[Floats, Floats]:
        """Score (G, n) and information (G, n, n) of every prompt. residual (M,): standardised; information (M,): of one answer about its difference; own: φ."""
        root, pairs = np.sqrt(information), self.crossed(np.ones_like(information))
        score, found = self.summed(root * residual), self.crossed(information)
        alone = (1 - correlation) * self.noise
        if correlation > 0:
            n = self.items.shape[1]
            mixed, ridge = self.crossed(root), 2 * alone / correlation
            inner = np.linalg.solve(
                ridge[:, None, None] * np.eye(n) + pairs,
                np.concatenate([mixed, self.summed(residual)[..., None]], axis=2),
            )
            score = score - np.einsum("uij,uj->ui", mixed, inner[..., -1])
            found = found - mixed @ inner[..., :-1]
        together = correlation * (pairs**2).sum(axis=(1, 2)) / (2 * pairs.trace(axis1=1, axis2=2))
        varies = 1 - (1 - own) * self.spread * alone / (alone + together)
        weight = (self.weight / alone / varies)[:, None]
        return self.by_prompt(weight * score), self.by_prompt(weight[..., None] * found)

    def agreement(self, answer: Floats) -> Floats:
        """Sums of products of answers (M,), centred, and what each is a multiple of, (2, 3): of comparisons with themselves, of different answers of a unit, and of different units. NaN is left
        out."""
        there = ~np.isnan(answer)
        answer, one = np.where(there, answer, 0.0), there.astype(np.float64)
        sums, known = self.summed(answer), self.crossed(one)
        alone = float((self._at_responses(self.reply, answer, -answer) ** 2).sum())
        size = float(one.sum())
        own = float((self._at_responses(self.reply, one, one) ** 2).sum()) + 2 * size  # of X'X, squared
        within, pairs = float((sums**2).sum()), float((known**2).sum())
        all_, everything = (float((self.by_prompt(each) ** 2).sum()) for each in (sums, known))
        return np.array(
            [
                [float(answer @ answer), within - alone, all_ - within],
                [size, (pairs - own) / 2, (everything - pairs) / 2],
            ]
        )

    def with_several(self, counted: NDArray[np.bool_]) -> int:
        """In how many units several answers are counted (M,)."""
        _, rows = np.unique(self.reply, return_index=True)
        return int((np.bincount(self.unit[rows], counted[rows]) > 1).sum())


def noise_of(reply: Ints) -> Floats:
    """λ of comparisons whose answers are `reply` (C,), (C,)."""
    _, answer, size = np.unique(reply, return_inverse=True, return_counts=True)
    return np.asarray(((size + 1) ** 2 / (4 * size))[answer], dtype=np.float64)


def batches(
    group: Ints,
    first: Ints,
    second: Ints,
    annotator: Ints,
    weight: Floats,
    reply: Ints,
    spread: NDArray[np.bool_],
    also: NDArray[np.bool_],
) -> list[Batch]:
    """Lay out comparisons (C,) of items whose prompts are `group` (N,). A prompt with a comparison is in it, with the items that were compared and those of `also` (N,).

    annotator (C,); reply (C,): the answer that each follows from; spread (C,): whether it gives each step a probability; a unit weighs as much as its comparisons on average.
    """
    if not len(first):
        return []
    wanted = also.copy()
    wanted[first], wanted[second] = True, True
    kept = np.flatnonzero(wanted & np.isin(group, group[first]))
    order = kept[np.argsort(group[kept], kind="stable")]
    prompts, start, size = np.unique(group[order], return_index=True, return_counts=True)
    place = np.zeros(len(group), dtype=np.int64)
    place[order] = np.arange(len(order)) - np.repeat(start, size)
    prompt = np.searchsorted(prompts, group[first])
    rows, noise = np.lexsort((annotator, prompt)), noise_of(reply)
    found = []
    for n in np.unique(size):
        these = np.flatnonzero(size == n)
        mine = rows[size[prompt[rows]] == n]
        key = np.stack([prompt[mine], annotator[mine]])
        unit = np.concatenate([[0], np.cumsum((key[:, 1:] != key[:, :-1]).any(axis=0))])
        _, begin = np.unique(unit, return_index=True)
        found.append(
            Batch(
                items=order[start[these][:, None] + np.arange(n)],
                answers=mine,
                first=place[first[mine]],
                second=place[second[mine]],
                unit=unit,
                reply=np.unique(reply[mine], return_inverse=True)[1],
                prompt=np.searchsorted(these, prompt[mine][begin]),
                weight=np.bincount(unit, weight[mine]) / np.bincount(unit),
                noise=np.bincount(unit, noise[mine]) / np.bincount(unit),
                spread=np.bincount(unit, spread[mine]) / np.bincount(unit),
            )
        )
    return found
