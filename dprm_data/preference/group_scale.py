"""Groups of raters on one scale: each group's severity, and the worth of the others' votes on an item for a group.

An item is a component g of the prior (a beta of mean mu and concentration s, as everyone sees it). Group a sees it at

    logit mu_a = logit mu + delta_a,       delta_a ~ N(0, T²),     T² the variance between groups

*Severity.* delta_a maximises the probability of all votes, by coordinates. Its error has two parts: that of the votes (the curvature), and that of the raters, who are nested in the
group and few: tau² sum_r share_r², with tau² their variance within groups. It is shrunk by the posterior mean of T² / (T² + error²). T has the prior weight 1/2 at 0 and the rest
spread evenly over log T, so that groups that do not differ are not told apart by chance.

*Item x group.* The others also differ from the group on the item itself. With r the variance of that deviation in variances of one vote, n votes of the others are worth n / (1 + r n) of
the group's own (`shared_error.people_worth`; the same for a panel). r = 0 is to ignore groups on items.

With P_a the cells at delta_a, the posterior of an item for group a is

    R_g  proportional to  w_g prod_k P_agk^n_ak  prod_b prod_k P_bgk^(t n_bk),        t = 1 / (1 + r n),

and its distribution sum_g R_g P_ag. With no severities and r = 0 it is everyone's. `group_deviation.py` estimates r.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dprm_data.core.arrays import Floats, Ints
from dprm_data.preference import beta as discretised
from dprm_data.preference.components import Components
from dprm_data.preference.prior import BetaPart
from dprm_data.preference.rater_units import components

REACH, STEP = 2.0, 0.25  # of severities, in logits
SWEEPS = 3
SPREADS = np.geomspace(0.03, 2.0, 15)  # T
LEARNED_ITEMS = 3_000  # from which severities are learned


@dataclass(frozen=True)
class GroupScale:
    """The groups on a scale of L levels: `votes` (A + 1, N, L), the last those of raters in no group; `severity` (A + 1,) delta with its posterior variance `error` (A + 1,)."""

    part: BetaPart
    votes: Floats
    severity: Floats
    error: Floats

    @classmethod
    def learn(cls, part: BetaPart, votes: Floats, item: Ints, rater: Ints, group: Ints, level: Ints) -> GroupScale:
        """item, rater, group (number, A for none), level (V,): the single votes on this scale."""
        A = len(votes) - 1
        none = np.zeros(A + 1)
        start = cls(part, votes, none, none)
        if A < 1 or len(item) < 2:
            return start
        found, curvature = start._likeliest()
        slope = start._slope()
        y = level.astype(np.float64) - slope * found[group]
        between = components(y, item, rater, fitted=max(A - 1, 0)).between / max(slope, 1e-9) ** 2
        people = np.array([_concentrated(rater[group == a]) for a in range(A)])
        return cls(part, votes, *_shrunk(found[:A], 1.0 / np.maximum(curvature[:A], 1e-9) + between * people))

    def cells(self, a: int) -> Floats:
        """P_a (G, L)."""
        return _moved(self.part, float(self.severity[a]))

    def components(self, a: int) -> Components:
        """Everyone's components as the group sees them."""
        return replace(self.part.components(), means=self.cells(a))

    def scores(self, a: int, worth: Floats, rows: slice = slice(None)) -> Floats:
        """log R of the group on these items, up to a constant, (N, G)."""
        found = self.votes[a, rows] @ np.log(self.cells(a)).T + self.part.components().log_weights
        for b in range(len(self.votes)):
            if b != a and self.votes[b, rows].any():
                found += (worth[rows, None] * self.votes[b, rows]) @ np.log(self.cells(b)).T
        return found

    def _slope(self) -> float:
        """By how many levels the mean moves per logit of severity."""
        levels, w = np.arange(self.votes.shape[2]), self.part.weights
        up, down = (w @ _moved(self.part, by) @ levels for by in (0.5, -0.5))
        return float(up - down)

    def _likeliest(self) -> tuple[Floats, Floats]:
        """The severities (A + 1,) of greatest probability, 0 for raters in no group, and minus the curvature there."""
        grid = np.arange(-REACH, REACH + STEP / 2, STEP)
        cells = np.log(np.stack([_moved(self.part, by) for by in grid]))
        kept = np.flatnonzero(self.votes.any(axis=(0, 2)))
        if len(kept) > LEARNED_ITEMS:
            kept = np.random.default_rng(0).choice(kept, LEARNED_ITEMS, replace=False)
        votes, A = self.votes[:, kept], len(self.votes) - 1
        severity, curvature = np.zeros(A + 1), np.zeros(A + 1)
        said = np.stack([one @ cells[len(grid) // 2].T for one in votes])
        log_w = self.part.components().log_weights
        for _ in range(SWEEPS):
            for a in range(A):
                others = said.sum(axis=0) - said[a] + log_w
                profile = np.array([_log_sum(others + votes[a] @ at.T) for at in cells])
                best = int(np.clip(profile.argmax(), 1, len(grid) - 2))
                below, middle, above = profile[best - 1 : best + 2]
                curve = max(2.0 * middle - below - above, 1e-9)
                move = float(np.clip(0.5 * (above - below) / curve, -1.0, 1.0))
                severity[a], curvature[a] = grid[best] + STEP * move, curve / STEP**2
                said[a] = votes[a] @ np.log(_moved(self.part, float(severity[a]))).T
        return severity, curvature


def _shrunk(found: Floats, error: Floats) -> tuple[Floats, Floats]:
    """Posterior mean and variance (A + 1,) of the severities, given their estimates and squared errors (A,). The last is 0, of raters in no group."""
    A, spread = len(found), np.concatenate([[0.0], SPREADS])
    weight = np.concatenate([[0.5], np.full(len(SPREADS), 0.5 / len(SPREADS))])
    total = spread[:, None] ** 2 + error
    # Severities of A groups have A - 1 degrees of freedom: everyone's is 0.
    log_likelihood = -0.5 * (np.log(total) + found**2 / total).sum(axis=1) * (A - 1) / A
    weight = weight * np.exp(log_likelihood - log_likelihood.max())
    weight /= weight.sum()
    kept = spread[:, None] ** 2 / total
    mean = weight @ (kept * found)
    variance = weight @ (kept * error + (kept * found) ** 2) - mean**2
    return np.append(mean, 0.0), np.append(np.maximum(variance, 0.0), 0.0)


def _moved(part: BetaPart, by: float) -> Floats:
    """The cells (G, L) of the components if every mean is moved by so many logits."""
    mu, s = part.grid()
    if by:
        mu = 1.0 / (1.0 + np.exp(-(np.log(mu / (1.0 - mu)) + by)))
    return discretised.weighted(discretised.cells(mu, s, len(part.level_weights)), part.level_weights, part.lapse)


def _concentrated(raters: Ints) -> float:
    """sum_r share_r² of the raters' shares in these votes: 1 over their effective number."""
    number = np.bincount(raters) if len(raters) else np.ones(1)
    return float((number**2).sum() / number.sum() ** 2)


def _log_sum(scores: Floats) -> float:
    top = scores.max(axis=1, keepdims=True)
    return float((np.log(np.exp(scores - top).sum(axis=1)) + top[:, 0]).sum())
