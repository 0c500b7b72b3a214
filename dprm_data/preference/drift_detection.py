"""Drift detection: the items on which the population has moved between the published votes and new ones.

For an item with old votes n and new votes m, two hypotheses are compared under the learned prior: one distribution gave both, or each has its own,

    log B = log p(n) + log p(m) - log p(n + m).

B is a Bayes factor; under no drift its mean is 1, so that P(B >= c) <= 1/c whatever the number of votes. Its p-value is exact under the model:
new votes are simulated from the posterior given the old ones, and B computed for each. Over all items the Benjamini-Hochberg procedure
bounds the share of false alarms among the items that are reported.

Its false alarm rate on real and simulated votes is in `docs/statistics.md`. Sources: Kass & Raftery 1995 (Bayes factors); Benjamini & Hochberg 1995.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from dprm_data.core.arrays import Floats
from dprm_data.core.errors import InputError
from dprm_data.ingest.ratings import Ratings
from dprm_data.ingest.votes import Votes, check_space
from dprm_data.labels.space import LabelSpace
from dprm_data.preference.mean_shift import mean_shift
from dprm_data.preference.model_selection import learn_prior
from dprm_data.preference.posterior import evaluate
from dprm_data.preference.prior import Prior
from dprm_data.preference.rater_units import RaterUnits
from dprm_data.preference.sampling import draw


@dataclass(frozen=True)
class Drift:
    """Items that have old and new votes, a row each, the most surprising first.

    `before`, `after`: expected rewards given the old votes alone and the new votes alone; `log_bayes_factor` for a move; `p_value`; `moved`: reported
    at the false discovery rate `rate`. `shift` is the mean change of raw mean rewards over the items and `shift_error` its standard error; the 95 % interval is
    `shift` ± 1.96 `shift_error`. `unit` is `rater` if it is known who gave both sets of votes; `assumed` if it is known of one set, and the other is assumed to come from as
    few people as its votes allow; `vote` if it is known of neither, so that every vote counts as a different person's.
    """

    item_ids: list[str]
    before: Floats
    after: Floats
    log_bayes_factor: Floats
    p_value: Floats
    moved: np.ndarray[tuple[int], np.dtype[np.bool_]]
    rate: float
    shift: float
    shift_error: float
    unit: str = "vote"

    def to_table(self) -> pa.Table:
        return pa.table(
            {
                "item_id": pa.array(self.item_ids, pa.string()),
                "reward_before": self.before,
                "reward_after": self.after,
                "log_bayes_factor": self.log_bayes_factor,
                "p_value": self.p_value,
                "moved": self.moved,
            }
        )

    def summary(self) -> dict[str, Any]:
        """For a report: how many items moved, and the population as a whole."""
        return {
            "items_compared": len(self.item_ids),
            "items_moved": int(self.moved.sum()),
            "false_discovery_rate": self.rate,
            "mean_reward_shift": self.shift,
            "mean_reward_shift_error": self.shift_error,
            "unit": self.unit,
        }


def drift(
    published: Votes | Ratings,
    new: Votes | Ratings,
    prior: Prior,
    space: LabelSpace,
    *,
    rate: float = 0.1,
    simulations: int = 999,
    seed: int = 0,
    before: RaterUnits | None = None,
    after: RaterUnits | None = None,
) -> Drift:
    """Compare new votes with the published ones, item by item.

    Ratings, votes with who gave them, make the rater the unit of the mean shift; without ratings, `before` and `after` (`rater_units`) say who
    stands behind the published and the new votes.

    Items without votes on either side are omitted. `rate` is the false discovery rate of `moved`. `simulations` per item bound the smallest
    p-value, 1 / (simulations + 1); only items whose Bayes factor favours a move are simulated; all others get p-value 1.
    """
    given = (published, new)
    published, new = (side.votes() if isinstance(side, Ratings) else side for side in given)
    check_space(published, space)
    check_space(new, space)
    if not 0.0 < rate < 1.0:
        raise InputError(f"rate: {rate} is not a false discovery rate between 0 and 1")
    place = {item: i for i, item in enumerate(published.item_ids)}
    pairs = [(place[item], j) for j, item in enumerate(new.item_ids) if item in place]
    old_rows, new_rows = (np.array(side, dtype=np.int64) for side in (zip(*pairs, strict=True) if pairs else ((), ())))
    both = (published.totals[old_rows] > 0) & (new.totals[new_rows] > 0)
    old_rows, new_rows = old_rows[both], new_rows[both]
    old, latest = published.counts[old_rows], new.counts[new_rows]
    if prior.assumed:  # it does not travel: see `updater.py`
        prior, _ = learn_prior(old + latest, space, prior.family)
    score = log_bayes_factors(prior, space, old, latest)
    p_value = np.ones(len(old))
    rng = np.random.default_rng(seed)
    for i in np.flatnonzero(score > 0):
        p_value[i] = _p_value(prior, space, old[i], latest[i], score[i], simulations, rng)
    order = np.lexsort((-score, p_value))
    rewards = space.rewards[:, None]
    compared = [published.item_ids[int(row)] for row in old_rows]
    shift, error, unit = mean_shift(*given, old, latest, compared, space, before, after)
    return Drift(
        item_ids=[published.item_ids[int(old_rows[i])] for i in order],
        before=evaluate(prior, space, old, rewards).mean[order, 0],
        after=evaluate(prior, space, latest, rewards).mean[order, 0],
        log_bayes_factor=score[order],
        p_value=p_value[order],
        moved=benjamini_hochberg(p_value, rate)[order],
        rate=rate,
        shift=shift,
        shift_error=error,
        unit=unit,
    )


def log_bayes_factors(prior: Prior, space: LabelSpace, old: Floats, new: Floats) -> Floats:
    """log B of every row of old and new votes (N, K)."""
    nothing = np.zeros((space.K, 0))
    apart = evaluate(prior, space, np.concatenate([old, new]), nothing).log_evidence
    together = evaluate(prior, space, old + new, nothing).log_evidence
    return np.asarray(apart[: len(old)] + apart[len(old) :] - together)


def benjamini_hochberg(p_values: Floats, rate: float) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which hypotheses are rejected at the false discovery rate `rate`."""
    order = np.argsort(p_values)
    passed = np.flatnonzero(p_values[order] <= rate * np.arange(1, len(order) + 1) / max(len(order), 1))
    rejected = np.zeros(len(order), dtype=bool)
    rejected[order[: passed[-1] + 1 if len(passed) else 0]] = True
    return rejected


def _p_value(
    prior: Prior, space: LabelSpace, old: Floats, new: Floats, score: float, simulations: int, rng: np.random.Generator
) -> float:
    """The share of simulated new votes, from the posterior given the old ones, that favour a move at least as much."""
    p = draw(prior, space, old[None, :], simulations, rng)[:, 0]
    again = rng.multinomial(max(round(float(new.sum())), 1), p / p.sum(axis=1, keepdims=True)).astype(np.float64)
    if new.sum() > 0:
        again *= new.sum() / again.sum(axis=1, keepdims=True)  # fractional votes keep their weight
    simulated = log_bayes_factors(prior, space, np.broadcast_to(old, again.shape), again)
    return float((1 + (simulated >= score - 1e-9).sum()) / (simulations + 1))
