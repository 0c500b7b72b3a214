"""Which items people are to see.

    divided      those on which the panel is most divided (the chance that two of it choose differently)
    uncertain    those whose expected reward is least certain (the widest credible interval)
    random       every item with the same chance: what holds for these holds for all
    stratified   as many of each most likely label as of any other: rare categories are seen too
    ids          these

`weights` say for how many items of the run a chosen one stands (one over its chance to be chosen): figures over reviewed items, weighted so, are
figures over the run. The first two purposes pick extremes; they stand for nothing but themselves, and their weight is 1.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from dprm_data.core.arrays import Floats, Ints
from dprm_data.core.errors import InputError
from dprm_data.preference.fitting import Fit

Purpose = Literal["divided", "uncertain", "random", "stratified", "ids"]
PURPOSES: tuple[str, ...] = get_args(Purpose)
REPRESENTATIVE = ("random", "stratified")


@dataclass(frozen=True)
class Selection:
    """Rows of the fit in the order in which they were chosen, and for how many items each of all N stands if it is among the chosen, shape (N,)."""

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
) -> Selection:
    """Choose items so that there are `count` of them together with those that `already` are under review.

    seed: of `random`, `stratified` and of ties; the same seed gives the same items, and more of them for a greater count. ids: for the purpose `ids`,
    each an item's id or the beginning of one.

    Raises InputError for a purpose, a count or an id that cannot be used.
    """
    if purpose not in PURPOSES:
        raise InputError(f"--select {purpose}: no such purpose (allowed: {', '.join(PURPOSES)})")
    if purpose == "ids":
        rows = _by_ids(fit.votes.item_ids, ids)
        return Selection(purpose, rows, np.ones(len(fit)))
    if ids:
        raise InputError(f"--id names items; --select {purpose} chooses them itself", hint="Use --select ids.")
    if count < 1:
        raise InputError(f"--records {count}: at least one record")
    seen = set(already)
    free = np.array([item_id not in seen for item_id in fit.votes.item_ids], dtype=bool)
    # The order is that of all items, so that a greater count only adds to a smaller one.
    order, chance = _orders(fit, purpose, count, seed)
    rows = order[free[order]][: max(0, count - int((~free).sum()))]
    return Selection(purpose, rows, 1.0 / chance)


def _by_ids(item_ids: Sequence[str], wanted: Sequence[str]) -> Ints:
    if not wanted:
        raise InputError("--select ids needs --id, once for every item")
    rows = []
    for beginning in dict.fromkeys(wanted):
        found = [row for row, item_id in enumerate(item_ids) if item_id.startswith(beginning)]
        if len(found) != 1:
            what = "no item's id begins" if not found else f"{len(found):,} items' ids begin"
            raise InputError(f"{what} with {beginning!r}", hint="dprm show RUN names ids; give more of its digits.")
        rows += found
    return np.array(list(dict.fromkeys(rows)), dtype=np.int64)


def _orders(fit: Fit, purpose: str, count: int, seed: int) -> tuple[Ints, Floats]:
    """All items in the order in which they are taken, and each one's chance to be among the first `count` (1 where chance has no part)."""
    N = len(fit)
    ties = np.random.default_rng(seed).permutation(N)
    if purpose == "random":
        return ties, np.full(N, min(1.0, count / max(N, 1)))
    if purpose == "stratified":
        return _rotating(fit.distribution.argmax(axis=1), ties, count)
    worth = fit.disagreement if purpose == "divided" else fit.reward_high - fit.reward_low
    return ties[np.argsort(-worth[ties], kind="stable")], np.ones(N)


def _rotating(stratum: Ints, ties: Ints, count: int) -> tuple[Ints, Floats]:
    """One item of every stratum in turn, at random within it, until all are taken."""
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
