"""Agreement between annotators: how much they agree, how each differs from the rest, and the effective number of different ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from scipy.special import chdtrc

from dprm_data.core.arrays import Floats, Ints
from dprm_data.core.errors import InputError, VotesError
from dprm_data.ingest.ratings import Ratings
from dprm_data.ingest.votes import Votes
from dprm_data.labels.space import LabelSpace
from dprm_data.labels.statistics import alpha, alpha_of_values, by_rank, by_reward, nominal, reward_variance

Level = Literal["nominal", "ordinal", "interval"]
MOST_ANNOTATORS = 400  # the most active ones, which are compared in pairs


def krippendorff_alpha(votes: Votes, space: LabelSpace, level: Level = "nominal") -> float | None:
    """Krippendorff's alpha of the votes: 1 for perfect agreement, 0 for chance, below 0 for less; None if no item has two votes.

    `ordinal` takes the labels in the order of their rewards, `interval` takes the rewards as numbers. Fractional votes are rounded.
    """
    counts = np.rint(votes.counts)
    if level == "nominal":
        return alpha(counts, nominal(space.K))
    return alpha(counts, by_rank(counts, space.rewards) if level == "ordinal" else by_reward(space.rewards))


def polarisation(distribution: Floats, space: LabelSpace) -> Floats:
    """The variance of the reward relative to its largest possible value (half the people at each end), shape (N,): 0 agree, 1 two camps."""
    width = float(np.ptp(space.rewards))
    if width == 0:
        return np.zeros(len(distribution))
    return reward_variance(distribution, space.rewards) / (0.25 * width**2)


@dataclass(frozen=True)
class Annotators:
    """Figures of each of A annotators.

    `ratings` (A,) their number; `severity` (A,) mean reward given minus what the others gave the same items, negative for strict ones, with its
    standard error; `informativeness` (A,) correlation with the others' mean over the items, NaN with fewer than three; `repeat_agreement` (A,) share of
    pairs of their own ratings of one item that are equal, NaN without repetitions. `agreement` (a, a) share of common items on which two annotators
    chose the same label, for the `compared` (a,) most active; NaN without common items. `effective_number` of different annotators among these.
    """

    annotator_ids: list[str]
    ratings: Ints
    severity: Floats
    severity_error: Floats
    informativeness: Floats
    repeat_agreement: Floats
    compared: Ints
    agreement: Floats
    effective_number: float

    def to_table(self) -> pa.Table:
        return pa.table(
            {
                "annotator_id": pa.array(self.annotator_ids, pa.string()),
                "ratings": self.ratings,
                "severity": self.severity,
                "severity_error": self.severity_error,
                "informativeness": self.informativeness,
                "repeat_agreement": self.repeat_agreement,
            }
        )


def annotators(ratings: Ratings, space: LabelSpace) -> Annotators:
    """Severity, informativeness and agreement of every annotator, and the effective number of different ones.

    The effective number is a^2 / sum_ij A_ij^2, with A_ij agreement beyond chance: (observed - expected) / (1 - expected) of the common
    items, expected from both annotators' own label shares (Cohen's kappa), not below 0, 1 on the diagonal. It is 1 if all annotators are identical,
    and their number if they agree no more than by chance. Severity and informativeness are of rewards, expected ones where ratings are distributions; what is about
    labels takes the most probable one.
    """
    if len(ratings) and not ratings.annotator_ids:
        raise VotesError("agreement between annotators needs an annotator_id for every vote")
    A, N = len(ratings.annotator_ids), len(ratings.item_ids)
    reward = ratings.rewards(space)
    total = np.bincount(ratings.item, weights=reward, minlength=N)[ratings.item]
    number = np.bincount(ratings.item, minlength=N)[ratings.item]
    own_total, own_number = _own(ratings, reward)
    others = number - own_number  # an annotator's repetitions are not others
    comparable = others > 0
    mean = np.divide(total - own_total, others, out=np.zeros(len(reward)), where=comparable)
    who = ratings.annotator[comparable]
    x, y = reward[comparable], mean[comparable]
    n = np.bincount(who, minlength=A).astype(np.float64)
    severity, spread = _mean_and_spread(x - y, who, n)
    compared = np.sort(np.argsort(-np.bincount(ratings.annotator, minlength=A), kind="stable")[:MOST_ANNOTATORS])
    agreement, beyond = _pairs(ratings, compared)
    return Annotators(
        annotator_ids=ratings.annotator_ids,
        ratings=np.bincount(ratings.annotator, minlength=A),
        severity=severity,
        severity_error=spread / np.sqrt(np.maximum(n, 1.0)),
        informativeness=_correlation(x, y, who, n),
        repeat_agreement=_repeats(ratings),
        compared=compared,
        agreement=agreement,
        effective_number=float(len(compared) ** 2 / (beyond**2).sum()) if len(compared) else 0.0,
    )


@dataclass(frozen=True)
class PositionBias:
    """`shares` (K,) of the answers that were shown first, second, ...; `p_value` of Pearson's chi-squared test that all positions are equally likely."""

    shares: Floats
    chi_squared: float
    p_value: float


def position_bias(positions: Ints, K: int) -> PositionBias:
    """Test whether annotators prefer a position in the list. `positions` (R,) are the positions, 0 ... K - 1, at which the chosen labels were shown.

    If the order is permuted at random for every call, all positions are equally likely whatever the labels are.
    """
    if len(positions) == 0 or positions.min() < 0 or positions.max() >= K:
        raise InputError(f"positions must be whole numbers from 0 to {K - 1}, and there must be some")
    counts = np.bincount(positions, minlength=K)
    expected = len(positions) / K
    statistic = float(((counts - expected) ** 2 / expected).sum())
    return PositionBias(counts / len(positions), statistic, float(chdtrc(K - 1, statistic)))


def agreement_summary(ratings: Ratings, space: LabelSpace) -> dict[str, Any]:
    """A panel's figures for a report. Nominal and ordinal alpha, and repetitions, are of labels: of a distribution, the most probable one."""
    votes = ratings.most_probable().votes()
    soft = ratings.shares is not None
    found = annotators(ratings, space)
    return {
        "annotators": len(ratings.annotator_ids),
        "alpha_nominal": krippendorff_alpha(votes, space, "nominal"),
        "alpha_ordinal": krippendorff_alpha(votes, space, "ordinal"),
        "alpha_interval": alpha_of_values(ratings.item, ratings.rewards(space))
        if soft
        else krippendorff_alpha(votes, space, "interval"),
        "effective_annotators": found.effective_number,
        "repeat_agreement": _finite_mean(found.repeat_agreement),
        "severity_spread": float(found.severity.std()) if len(found.severity) else None,
    }


# -- sums by annotator --------------------------------------------------------------------------------------------------


def _own(ratings: Ratings, reward: Floats) -> tuple[Floats, Floats]:
    """Sum and number of the same annotator's ratings of the same item, for every rating."""
    _, pair = np.unique(ratings.item * max(len(ratings.annotator_ids), 1) + ratings.annotator, return_inverse=True)
    size = int(pair.max(initial=-1)) + 1
    total = np.bincount(pair, weights=reward, minlength=size)
    number = np.bincount(pair, minlength=size).astype(np.float64)
    return np.asarray(total[pair]), np.asarray(number[pair])


def _mean_and_spread(values: Floats, annotator: Ints, n: Floats) -> tuple[Floats, Floats]:
    safe = np.maximum(n, 1.0)
    mean = np.bincount(annotator, weights=values, minlength=len(n)) / safe
    squares = np.bincount(annotator, weights=values**2, minlength=len(n)) / safe
    spread = np.sqrt(np.maximum(squares - mean**2, 0.0) * safe / np.maximum(safe - 1.0, 1.0))
    return np.where(n > 0, mean, np.nan), np.where(n > 1, spread, np.nan)


def _correlation(x: Floats, y: Floats, annotator: Ints, n: Floats) -> Floats:
    safe = np.maximum(n, 1.0)
    sums = [np.bincount(annotator, weights=w, minlength=len(n)) / safe for w in (x, y, x * y, x * x, y * y)]
    covariance = sums[2] - sums[0] * sums[1]
    scale = np.sqrt(np.maximum(sums[3] - sums[0] ** 2, 0.0) * np.maximum(sums[4] - sums[1] ** 2, 0.0))
    known = (n > 2) & (scale > 1e-12)
    return np.where(known, np.divide(covariance, scale, out=np.zeros_like(scale), where=known), np.nan)


def _repeats(ratings: Ratings) -> Floats:
    """Share of equal pairs among an annotator's own ratings of one item (by one model, where several play it)."""
    A = len(ratings.annotator_ids)
    pair = ratings.item * max(A, 1) + ratings.annotator
    if ratings.model is not None:
        pair = pair * (int(ratings.model.max(initial=0)) + 1) + ratings.model
    _, first, group = np.unique(pair, return_index=True, return_inverse=True)
    size = np.bincount(group, minlength=len(first)).astype(np.float64)
    same = np.unique(group * ratings.K + ratings.label, return_counts=True)
    equal = np.bincount(same[0] // ratings.K, weights=same[1] * (same[1] - 1.0), minlength=len(first))
    who = ratings.annotator[first]
    pairs = np.bincount(who, weights=size * (size - 1.0), minlength=A)
    equals = np.bincount(who, weights=equal, minlength=A)
    return np.asarray(np.divide(equals, pairs, out=np.full(A, np.nan), where=pairs > 0))


def _pairs(ratings: Ratings, compared: Ints) -> tuple[Floats, Floats]:
    """Raw agreement and agreement beyond chance of the compared annotators (a, a)."""
    from scipy.sparse import csr_array

    a, N, K = len(compared), len(ratings.item_ids), ratings.K
    place = np.full(max(len(ratings.annotator_ids), 1), -1)
    place[compared] = np.arange(a)
    rows = np.flatnonzero(place[ratings.annotator] >= 0)
    # An annotator's repetitions of an item count once, as shares of labels.
    _, own = _own(ratings, np.ones(len(ratings)))
    column = place[ratings.annotator[rows]]
    cell = (1.0 / own[rows], (ratings.item[rows] * K + ratings.label[rows], column))
    chose = csr_array(cell, shape=(N * K, a))
    judged = csr_array((1.0 / own[rows], (ratings.item[rows], column)), shape=(N, a))
    common = (judged.T @ judged).toarray()
    observed = np.divide((chose.T @ chose).toarray(), common, out=np.full((a, a), np.nan), where=common > 0)
    shares = np.zeros((a, K))
    np.add.at(shares, (column, ratings.label[rows]), 1.0)
    shares /= np.maximum(shares.sum(axis=1, keepdims=True), 1.0)
    expected = shares @ shares.T
    beyond = np.divide(observed - expected, 1.0 - expected, out=np.ones((a, a)), where=expected < 1.0)
    beyond = np.clip(np.nan_to_num(beyond, nan=0.0), 0.0, 1.0)
    np.fill_diagonal(beyond, 1.0)
    return observed, beyond


def _finite_mean(values: Floats) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None
