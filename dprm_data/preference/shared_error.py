"""The error that the votes of a panel share, and how many independent people they are worth. Assumed here, without people's answers.

A panel's mean on an item differs from people's by an error that all its votes share (a model's view of the item), however many votes there are. With v the variance of one person's
answer and r v the variance of the shared error, the mean of N votes has the error variance v (1 / N + r): that of

    N / (1 + r N)  independent people                                      (at most 1 / r)

Without people's answers, r cannot be learned from the panel: its members agree on their common error. So r is assumed, and reported as assumed:

- r = 0.39, from nine models that were worth two people (arXiv 2605.29800: 9 / (1 + 9 r) = 2). Personas of one model, who explain under a tenth of the variance of people's
  annotations (arXiv 2402.10811), are hardly worth more than so many models. The range 0.2 to 0.75 is stated with it.
- With several models, their part can be estimated: let c v be the variance between the models' means of an item (the interaction of item and model, less the votes' noise and the models'
  own severities). A jury of M models has r = 0.39 + c (1 / M - 1 / 9), at least 0.05: fewer models than nine average out less of it, more models average out more.

The distributions stay as they are (shrinking them by an assumption would not reduce the shared error); the variance of every linear functional grows by
r s^2 (N / (N + H))^2, with s^2 its variance within the item's distribution and H the number of people's votes on the item, which share no error.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dprm_data.core.arrays import Floats, Ints

SHARED, SHARED_LOW, SHARED_HIGH = 0.39, 0.2, 0.75  # r
LEAST = 0.05
MODELS = 9.0  # for which SHARED was measured


@dataclass(frozen=True)
class SharedError:
    """r, and the weight of people's votes on N items, `people` (N,): all other votes are a panel's."""

    error: float
    people: Floats

    def of(self, totals: Floats) -> tuple[Floats, Floats]:
        """For total votes (N,): what is added to variances, in units of the variance of one answer, and how many independent people the votes are worth."""
        panel = np.maximum(totals - self.people, 0.0)
        added = self.error * (panel / np.maximum(totals, 1e-300)) ** 2
        return added, people_worth(panel, self.error) + self.people


def people_worth(votes: float | Floats, shared: float = SHARED) -> Floats:
    """How many people N votes of one panel are worth: N / (1 + r N)."""
    n = np.asarray(votes, dtype=np.float64)
    return np.asarray(n / (1.0 + shared * n))


def votes_of_panel(totals: Floats, worth: Floats, shared: float) -> Floats:
    """How many of the votes (N,) are a panel's, if together with people's they are worth so many people (N,): N of N / (1 + r N) + H = worth with N + H = totals."""
    lost = np.maximum(totals - worth, 0.0)  # r N² / (1 + r N)
    return np.asarray(np.minimum(0.5 * (lost + np.sqrt(lost**2 + 4.0 * lost / shared)), totals))


def between_models(item: Ints, model: Ints, reward: Floats) -> tuple[float, int]:
    """c, the models' disagreement about items in variances of one answer, and the number of models: from single votes, all arrays (R,). (0, M) where no item shows it.

    Of every item with two votes each of two models or more, the variance of the models' centred means, less what the votes' own noise puts there.
    """
    models = int(model.max(initial=-1)) + 1
    if models < 2:
        return 0.0, models
    items = int(item.max()) + 1
    cell = item * models + model

    def by_cell(values: Floats) -> Floats:
        return np.asarray(np.bincount(cell, values, minlength=items * models).reshape(items, models), dtype=np.float64)

    n = by_cell(np.ones(len(item)))
    mean = by_cell(reward) / np.maximum(n, 1.0)
    squares = np.maximum(by_cell(reward**2) - n * mean**2, 0.0)
    own = (n > 1).sum(axis=1)
    rows = np.flatnonzero((own > 1) & (own == (n > 0).sum(axis=1)))
    if not len(rows):
        return 0.0, models
    there = n[rows] > 0
    severity = np.where(there, mean[rows], 0.0).sum(axis=0) / np.maximum(there.sum(axis=0), 1)
    at = np.where(there, mean[rows] - severity, np.nan)
    between = float(np.nanvar(at, axis=1, ddof=1).mean())
    answer = float(squares[rows].sum() / np.maximum((n[rows] - 1.0)[there].sum(), 1.0))
    noise = float(np.mean(answer * (there / np.maximum(n[rows], 1.0)).sum(axis=1) / there.sum(axis=1)))
    return (max(between - noise, 0.0) / answer if answer > 0 else 0.0), models


def jury_error(disagreement: float, models: int) -> float:
    """r of a jury of this many models with the disagreement c about items."""
    if models < 2:
        return SHARED
    return float(max(SHARED + disagreement * (1.0 / models - 1.0 / MODELS), LEAST))
