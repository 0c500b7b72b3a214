"""Pairs of responses to one prompt: which are compared, which of the two is preferred, and how often a reward says so.

A pair is two row numbers, (P, 2). Groups (the responses to one prompt) come in the order in which their rows first appear, and rows of equal reward in their own order, so
that the same rows always give the same pairs in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dprm_data.core.arrays import Floats, Ints
from dprm_data.ingest.votes import item_codes

ALL_PAIRS_UP_TO = 8  # responses to one prompt; of more, only the best is paired with each of the others

Groups: TypeAlias = Sequence[str] | NDArray[Any] | pa.ChunkedArray


def preferred_pairs(groups: Groups, reward: Floats, *, ties: bool = False) -> Ints:
    """Pairs of rows of one group, the one with the higher reward (N,) first.

    Every pair of up to 8 rows; of more, the best with each of the others. Rows whose reward is NaN are left out, and so are exact ties, unless they are asked for: then the earlier row is first.
    """
    order, place, size = _grouped(groups, -reward, np.flatnonzero(~np.isnan(reward)))
    partners = np.where((size <= ALL_PAIRS_UP_TO) | (place == 0), size - 1 - place, 0)
    pairs = order[_runs(np.arange(len(order)) + 1, partners)]
    return pairs if ties else np.asarray(pairs[reward[pairs[:, 0]] > reward[pairs[:, 1]]])


def surest(groups: Groups, pairs: Ints, probability: Floats, margin: Floats, most: int) -> Ints:
    """Which of the pairs (P, 2) are the `most` surest of their group: by probability, then by margin, (P,) each. In their order."""
    group = group_numbers(groups)[pairs[:, 0]]
    order = np.lexsort((-margin, -probability, group))
    _, start, inverse = np.unique(group[order], return_index=True, return_inverse=True)
    return np.sort(order[np.arange(len(order)) - start[inverse] < most])


def random_pairs(reward: Floats, each: int, seed: int, *, ties: bool = False) -> Ints:
    """Every row paired with `each` others at random, whatever their groups, the one with the higher reward (N,) first, every pair once.

    Rows whose reward is NaN are left out, and so are exact ties, unless they are asked for.
    """
    judged = np.flatnonzero(~np.isnan(reward))
    if len(judged) < 2:
        return np.zeros((0, 2), dtype=np.int64)
    first = np.repeat(judged, each)
    second = judged[np.random.default_rng(seed).integers(0, len(judged), len(first))]
    pairs = np.unique(np.sort(np.stack([first, second], axis=1), axis=1), axis=0)
    margin = reward[pairs[:, 0]] - reward[pairs[:, 1]]
    pairs = np.where((margin < 0)[:, None], pairs[:, ::-1], pairs)
    return pairs if ties else np.asarray(pairs[margin != 0])


def pairs_within(groups: Groups, most: int) -> Ints:
    """Every pair of the first `most` rows of each group."""
    order, place, size = _grouped(groups)
    return np.asarray(order[_runs(np.arange(len(order)) + 1, np.maximum(np.minimum(size, most) - 1 - place, 0))])


def marked_pairs(groups: Groups, chosen: NDArray[np.bool_], rejected: NDArray[np.bool_]) -> Ints:
    """Every row marked as chosen with every row of its group marked as rejected."""
    marked = np.flatnonzero(chosen | rejected)
    order, place, size = _grouped(groups, rejected.astype(np.float64), marked)
    row = np.arange(len(order))
    is_chosen = ~rejected[order]
    start = row - place  # of the row's group, whose chosen rows stand first
    number_chosen = np.bincount(start, weights=is_chosen, minlength=len(order)).astype(np.int64)[start]
    return np.asarray(order[_runs(start + number_chosen, np.where(is_chosen, size - number_chosen, 0))])


def outcomes(reward: Floats, pairs: Ints) -> Floats:
    """1 if the first of a pair (P, 2) has the higher reward (N,), 0.5 at a tie, else 0: (P,)."""
    first, second = reward[pairs[:, 0]], reward[pairs[:, 1]]
    return np.asarray((first > second) + 0.5 * (first == second))


def probabilities(mean: Floats, variance: Floats, pairs: Ints) -> Floats:
    """The probability that the first of a pair (P, 2) has the higher expected reward, from its posterior mean and variance (N,) in every row: (P,).

    Phi(difference / standard deviation of the difference), which takes the two posteriors as normal and independent of each other.
    """
    if not len(pairs):
        return np.zeros(0)
    from scipy.special import ndtr

    first, second = pairs.T
    difference, spread = mean[first] - mean[second], np.sqrt(variance[first] + variance[second])
    certain = np.where(difference == 0, 0.5, difference > 0)  # where nothing is left open
    z = np.divide(difference, spread, out=np.zeros_like(difference), where=spread > 0)
    return np.asarray(np.where(spread > 0, ndtr(z), certain))


def group_numbers(groups: Groups) -> Ints:
    """Groups numbered in the order in which they first appear, (N,)."""
    column = groups if isinstance(groups, pa.ChunkedArray) else pa.chunked_array([pa.array(groups, pa.string())])
    return item_codes(column, None)[1]


def _grouped(groups: Groups, key: Floats | None = None, rows: Ints | None = None) -> tuple[Ints, Ints, Ints]:
    """The rows (all by default) sorted by group, then key, then number; each one's place in its group, and its group's size."""
    number = group_numbers(groups)
    rows = np.arange(len(number)) if rows is None else rows
    first_row = np.full(int(number.max(initial=-1)) + 1, len(number))
    np.minimum.at(first_row, number[rows], rows)
    group = first_row[number]
    order = rows[np.lexsort((group[rows],) if key is None else (key[rows], group[rows]))]
    _, start, inverse, size = np.unique(group[order], return_index=True, return_inverse=True, return_counts=True)
    return order, np.arange(len(order)) - start[inverse], size[inverse]


def _runs(start: Ints, length: Ints) -> Ints:
    """Every i with each of start[i], ..., start[i] + length[i] - 1."""
    first = np.repeat(np.arange(len(start)), length)
    step = np.arange(len(first)) - np.repeat(np.cumsum(length) - length, length)
    return np.stack([first, start[first] + step], axis=1)
