"""Pairwise calibration: the predicted share of people who prefer one response to another, against the held-out share.

*The share.* Of two responses a, b with distributions p_a, p_b it is

    S = P(r(X) > r(Y)) + P(r(X) = r(Y)) / 2,   X ~ p_a, Y ~ p_b, independent

the probability that a person drawn from the population rates a higher than another person rates b, a tie counted half
(`dprm_data.validation.pairwise.share_preferring`; the loss `ordinal` trains the same quantity). **It assumes two
independent raters.** One person who rates both is severe or mild with both, so the shares of one person's preferences are
farther from one half. The held-out share is made by the same formula from the held-out distributions, so like is compared
with like; neither is the share that would be counted if everybody compared both. A scalar model has Bradley and Terry's
share, sigmoid(r_a - r_b): a reward on another scale than log odds is then not calibrated, though its order may be right.

*The figures*, for P pairs with the predicted share S and the held-out share s:

    pair brier   mean (S - s)². Proper.
    pair kl      mean s log(s / S) + (1 - s) log((1 - s) / (1 - S)), nats: the log score less the least it can be. Proper.
    pair ece     expected calibration error: the mean of |mean S - mean s| over tenths of S

Which of the two is a is arbitrary, so each pair counts in both orders: S and s, 1 - S and 1 - s. The constant predictor
says one half of every pair and so has no calibration error: read it with the Brier or the log score, which also count how
much a prediction tells. Pairs with equal held-out rewards are in: leaving them out would choose pairs by their outcome.

Sources: the criterion of arXiv:2506.06298, with ties; Gneiting and Raftery, Strictly proper scoring rules (2007).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dprm_data.core.arrays import Floats, Ints
from dprm_data.labels.space import LabelSpace
from dprm_data.labels.statistics import Interval, Resamples
from dprm_data.validation.pairwise import share_preferring
from dprm_trainers.evaluation.metrics import Curve, calibration_error, entropy, reliability
from dprm_trainers.reward.reward_model import Judgement
from dprm_trainers.reward.rivals import cross_entropy

SHARES = "pair "  # before the name of a figure of shares


def predicted_shares(judged: Judgement, pairs: Ints, space: LabelSpace) -> Floats:
    """The share of people (P,) who prefer the first of each pair (P, 2), as a model predicts it."""
    if judged.distribution is not None:
        return share_preferring(judged.distribution[pairs[:, 0]], judged.distribution[pairs[:, 1]], space)
    margin = judged.reward[pairs[:, 0]] - judged.reward[pairs[:, 1]]
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * margin)))  # the sigmoid, without overflow


@dataclass(frozen=True)
class HeldOutPairs:
    """Pairs (P, 2) of N rows, the held-out share (P,) of people who prefer the first, and resamples of P columns."""

    pairs: Ints
    share: Floats
    space: LabelSpace
    draws: Resamples

    @classmethod
    def of(cls, q: Floats, groups: NDArray[Any], pairs: Ints, space: LabelSpace, draws: Resamples) -> HeldOutPairs:
        """q (N, K): the held-out distributions. groups (N,): rows that are drawn together. draws: of the rows, whose number
        and level are taken."""
        share = share_preferring(q[pairs[:, 0]], q[pairs[:, 1]], space)
        again = Resamples.of(groups[pairs[:, 0]], resamples=len(draws.weights) - 1, level=draws.level)
        return cls(pairs, share, space, again)

    def figures(self, judged: Judgement) -> dict[str, Interval]:
        """The figures of a model's shares; none without pairs."""
        if not len(self.pairs):
            return {}
        said = predicted_shares(judged, self.pairs, self.space)
        p, q = _both_sides(said), _both_sides(self.share)
        return {
            f"{SHARES}brier": self.draws.mean((said - self.share) ** 2),
            f"{SHARES}kl": self.draws.mean(cross_entropy(p, q) - entropy(q)),
            f"{SHARES}ece": self.draws.statistic(lambda rows: calibration_error(p[rows], q[rows])),
        }

    def curve(self, judged: Judgement) -> Curve:
        """The reliability of a model's shares: see `reliability`; each pair counts in both orders."""
        return reliability(_both_sides(predicted_shares(judged, self.pairs, self.space)), _both_sides(self.share))


def _both_sides(share: Floats) -> Floats:
    """The shares that prefer the first and the second, (P, 2), to nine digits: one half is one half on both sides, and not
    by a rounding error in two bins of the calibration error."""
    first = np.round(share, 9)
    return np.stack([first, 1.0 - first], axis=1)
