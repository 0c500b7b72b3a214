"""Posterior predictive checks: how well the fit describes the votes, with notes in words.

For an item with votes n (N of them), a distribution p is drawn from its posterior and N new votes n* from p; the discrepancy is Pearson's

    D(n, p) = sum_k (n_k - N p_k)^2 / (N p_k),        p-value = share of draws in which D(n*, p) >= D(n, p).

An item whose votes the family cannot describe has a p-value near 0. Over the items the sums of D are compared in the same way. Such checks
are conservative: the votes were used for the fit, so p-values concentrate around 1/2 if the model holds.

Source: Gelman, Meng & Stern, "Posterior predictive assessment of model fitness via realized discrepancies" (1996).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dprm_data.core.arrays import Floats, Ints
from dprm_data.labels.space import LabelSpace
from dprm_data.preference.fitting import Fit
from dprm_data.preference.prior import BetaPart
from dprm_data.preference.sampling import draw

MOST_ITEMS = 2_000
REJECTED = 0.01
ENOUGH_VOTES = 5.0  # an item with fewer fits any shape


@dataclass(frozen=True)
class Quality:
    """`rows` (n,) of the fit were checked; `p_values` (n,) are theirs, `overall` that of all together. `notes` are sentences for the user."""

    rows: Ints
    p_values: Floats
    overall: float
    divided: Ints
    unused_labels: tuple[str, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return {
            "items_checked": len(self.rows),
            "overall_p_value": self.overall,
            "items_rejected": int((self.p_values < REJECTED).sum()),
            "rejection_level": REJECTED,
            "divided_items": len(self.divided),
            "unused_labels": list(self.unused_labels),
            "notes": list(self.notes),
        }


def quality(fit: Fit, space: LabelSpace, *, draws: int = 200, seed: int = 0) -> Quality:
    """Check up to 2,000 items with five votes or more (a random choice of them, determined by the seed)."""
    rng = np.random.default_rng(seed)
    rows = np.flatnonzero(fit.votes.totals >= ENOUGH_VOTES)
    if len(rows) > MOST_ITEMS:
        rows = np.sort(rng.choice(rows, MOST_ITEMS, replace=False))
    counts = fit.votes.counts[rows]
    p_values, overall = _check(fit, space, counts, draws, rng)
    divided = np.flatnonzero(fit.divided > 0.5)
    unused = tuple(name for name, n in zip(space.names, fit.votes.counts.sum(axis=0), strict=True) if n == 0)
    return Quality(rows, p_values, overall, divided, unused, tuple(_notes(fit, p_values, overall, divided, unused)))


def _check(fit: Fit, space: LabelSpace, counts: Floats, draws: int, rng: np.random.Generator) -> tuple[Floats, float]:
    if len(counts) == 0:
        return np.zeros(0), float("nan")
    whole = np.maximum(np.rint(counts.sum(axis=1)), 1).astype(np.int64)
    p = np.maximum(draw(fit.prior, space, counts, draws, rng, misfit=False), 1e-12)
    p /= p.sum(axis=2, keepdims=True)
    simulated, found = _pearson(rng.multinomial(whole[None, :], p), p), _pearson(counts[None, :, :], p)
    worse = (simulated >= found).sum(axis=0)
    worse_in_all = (simulated.sum(axis=1) >= found.sum(axis=1)).sum()
    return (worse + 1.0) / (draws + 1.0), float((worse_in_all + 1.0) / (draws + 1.0))


def _pearson(votes: Floats | Ints, p: Floats) -> Floats:
    expected = votes.sum(axis=-1, keepdims=True) * p
    return np.asarray(((votes - expected) ** 2 / expected).sum(axis=-1))


def _notes(fit: Fit, p_values: Floats, overall: float, divided: Ints, unused: tuple[str, ...]) -> list[str]:
    notes = list(fit.notes)
    if overall < REJECTED:
        share = float((p_values < REJECTED).mean())
        advice = (
            " Where items have many votes, beta-dirichlet follows them beyond the beta." if fit.family == "beta" else ""
        )
        notes.append(
            f"the votes are not quite of the form the family assumes ({share:.0%} of the checked items rejected at {REJECTED:g}).{advice}"
        )
    if len(divided):
        notes.append(f"{len(divided)} items divide their raters: most at the two ends, few between")
    if unused:
        notes.append(f"never chosen: {', '.join(unused)}")
    for part in fit.prior.parts:
        if isinstance(part, BetaPart) and part.lapse > 0.05:
            notes.append(f"about {part.lapse:.0%} of the votes look as if they had nothing to do with the item")
    return notes
