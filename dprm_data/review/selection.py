"""Which items people see.

    divided      the panel disagrees most (the chance that two of its personas choose differently)
    uncertain    the expected reward is least certain (the widest credible interval)
    gain         people's answers lower the expected error of all items most (`answer_gain.py`)
    preferences  people's answers put most pairs of responses to one prompt in their right order (`open_pairs.py`)
    random       every item with the same chance: figures hold for the whole run
    stratified   equally many of each most likely label, so that rare categories are included
    ids          the items named

`weights` are the number of the run's items that a chosen one represents (one over its chance to be chosen): figures over reviewed items, weighted by them, are
figures over the run. The first four purposes pick extremes, which represent only themselves; their weight is 1.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from dprm_data.core.arrays import Floats, Ints
from dprm_data.core.errors import InputError
from dprm_data.preference.fitting import Fit

Purpose = Literal["divided", "uncertain", "gain", "preferences", "random", "stratified", "ids"]
PURPOSES: tuple[str, ...] = get_args(Purpose)
REPRESENTATIVE = ("random", "stratified")


@dataclass(frozen=True)
class Selection:
    """The chosen rows of the fit, in order, and for all N items the number that each represents if chosen, shape (N,)."""

    purpose: str
    rows: Ints
    weights: Floats


def select(
    fit: Fit,
    purpose: str,
    count: int,
    *,
    seed: int = 0,
    ids: Sequence[str] = (),
    already: Collection[str] = (),
    best: Callable[[int], Ints] | None = None,
) -> Selection:
    """Choose items so that, with those `already` under review, there are `count`.

    seed: for `random`, `stratified` and ties; a greater count with the same seed only adds items. ids: for the purpose `ids`,
    each an item's id or the beginning of one. best: for the purposes `gain` and `preferences`, gives so many rows, the best first.

    Raises InputError for a purpose, a count or an id that cannot be used.
    """
    if purpose not in PURPOSES:
        raise InputError(f"--select {purpose}: unknown (allowed: {', '.join(PURPOSES)})")
    if purpose == "ids":
        rows = _by_ids(fit.votes.item_ids, ids)
        return Selection(purpose, rows, np.ones(len(fit)))
    if ids:
        raise InputError(f"--id and --select {purpose} cannot be combined", hint="Use --select ids with --id.")
    check_count(count)
    seen = set(already)
    free = np.array([item_id not in seen for item_id in fit.votes.item_ids], dtype=bool)
    # Ordering all items makes a greater count a superset of a smaller one.
    if purpose in ("gain", "preferences"):
        if best is None:
            raise InputError(f"--select {purpose} needs a run's panel")
        order, chance = best(count + int((~free).sum())), np.ones(len(fit))
    else:
        order, chance = _orders(fit, purpose, count, seed)
    rows = order[free[order]][: max(0, count - int((~free).sum()))]
    return Selection(purpose, rows, 1.0 / chance)


def check_count(count: int) -> None:
    """Raises InputError for a number of records that cannot be had."""
    if count < 1:
        raise InputError(f"--records {count}: must be at least 1")


def _by_ids(item_ids: Sequence[str], wanted: Sequence[str]) -> Ints:
    if not wanted:
        raise InputError("--select ids needs --id, once per item")
    rows = []
    for beginning in dict.fromkeys(wanted):
        found = [row for row, item_id in enumerate(item_ids) if item_id.startswith(beginning)]
        if len(found) != 1:
            what = "no item's id begins" if not found else f"{len(found):,} items' ids begin"
            raise InputError(f"{what} with {beginning!r}", hint="dprm show RUN lists ids; give more digits.")
        rows += found
    return np.array(list(dict.fromkeys(rows)), dtype=np.int64)


def _orders(fit: Fit, purpose: str, count: int, seed: int) -> tuple[Ints, Floats]:
    """All items in order of selection, and each one's chance to be among the first `count` (1 if selection is not random)."""
    N = len(fit)
    ties = np.random.default_rng(seed).permutation(N)
    if purpose == "random":
        return ties, np.full(N, min(1.0, count / max(N, 1)))
    if purpose == "stratified":
        return _rotating(fit.distribution.argmax(axis=1), ties, count)
    worth = fit.disagreement if purpose == "divided" else fit.reward_high - fit.reward_low
    return ties[np.argsort(-worth[ties], kind="stable")], np.ones(N)


def _rotating(stratum: Ints, ties: Ints, count: int) -> tuple[Ints, Floats]:
    """One random item of each stratum in turn, until none is left."""
    N = len(stratum)
    place = np.zeros(N, dtype=np.int64)  # within the stratum
    for label in np.unique(stratum):
        members = ties[stratum[ties] == label]
        place[members] = np.arange(len(members))
    order = np.lexsort((stratum, place))
    sizes = np.bincount(stratum)
    taken = np.bincount(stratum[order[:count]], minlength=len(sizes))
    chance = np.divide(taken, sizes, out=np.ones(len(sizes)), where=sizes > 0)
    return order, np.where(chance[stratum] > 0, chance[stratum], 1.0)
