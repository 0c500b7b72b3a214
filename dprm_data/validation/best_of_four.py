"""The protocol of RewardBench 2: the share of prompts whose right response has the highest reward; a score of its own for ties; the mean of the subsets.

Source: `scripts/run_v2.py`, `reroll_and_score_dataset` and `process_single_model` of github.com/allenai/reward-bench (`rewardbench/utils.py`). A right response
that shares the highest reward with others gets one part of as many.

**Ties.** A prompt is answered correctly if every right response is above every wrong one. For each question there is one prompt with several right responses (tied)
and one with a single right one (ref). With s the spread among the right responses of the first, g_tied and g_ref the gaps between the worst right and the best wrong
response:

    0.3 mean correct(tied) + 0.3 mean correct(ref) + 0.2 mean [g_tied > s] + 0.2 mean [min(g_ref, g_tied) > s] + 0.01 mean tanh(min(g_ref, g_tied) / s - 1)

with the last term 0 where it is 0 / 0. So right responses should not differ more among each other than they do from wrong ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dprm_data.core.arrays import Floats
from dprm_data.ingest.judge_sets.judge_set import Case
from dprm_data.ingest.judge_sets.rewardbench2 import TIES
from dprm_data.validation.bench_scores import (
    OVERALL,
    Credits,
    Means,
    Protocol,
    Rewards,
    average,
    in_section,
    sections_of,
)

_TIED = {"tied correct": 0.3, "ref correct": 0.3, "apart": 0.2, "apart from both": 0.2, "margin": 0.01}


def _credits(cases: Sequence[Case], rewards: Rewards) -> Credits:
    picked = np.array([_share_of_best(case, found) for case, found in zip(cases, rewards, strict=True)])
    found = {name: in_section(cases, picked, name) for name in sections_of(cases) if name != TIES}
    return found | _ties(cases, rewards)


def _share_of_best(case: Case, rewards: Floats) -> float:
    """1 / the number of responses with the highest reward, if the (first) right one is among them."""
    if not np.isfinite(rewards).all() or rewards[case.right.index(True)] < rewards.max():
        return 0.0
    return 1.0 / float((rewards == rewards.max()).sum())


def _ties(cases: Sequence[Case], rewards: Rewards) -> Credits:
    found = {f"{TIES} {name}": np.full(len(cases), np.nan) for name in _TIED}
    gaps: dict[str, dict[str, tuple[int, float, float]]] = {}
    for row, (case, given) in enumerate(zip(cases, rewards, strict=True)):
        if case.section != TIES:
            continue
        right = np.array(case.right)
        gap, spread = given[right].min() - given[~right].max(), np.ptp(given[right])
        kind = "ref" if case.case_id.startswith(f"{TIES} ref") else "tied"
        found[f"{TIES} {kind} correct"][row] = gap > 0
        gaps.setdefault(case.group, {})[kind] = (row, gap, spread)
    for both in gaps.values():
        if len(both) == 2:
            row, gap, spread = both["tied"]
            least = np.minimum(gap, both["ref"][1])
            with np.errstate(divide="ignore", invalid="ignore"):
                margin = np.nan_to_num(np.tanh(np.divide(least, spread) - 1.0))
            for name, value in (("apart", gap > spread), ("apart from both", least > spread), ("margin", margin)):
                found[f"{TIES} {name}"][row] = value
    return found


def _figures(means: Means) -> dict[str, Floats]:
    subsets = {name: values for name, values in means.items() if not name.startswith(f"{TIES} ")}
    parts = np.array([weight * means[f"{TIES} {name}"] for name, weight in _TIED.items()])
    if np.isfinite(parts[:, 0]).any():
        subsets[TIES] = np.where(np.isnan(parts).all(axis=0), np.nan, np.nansum(parts, axis=0))
    return {OVERALL: average(list(subsets.values())), **subsets}


BEST_OF_FOUR = Protocol(
    "Right where the right response of four has the highest reward (a shared first place counts in part); ties have a score of their own; overall is the mean of the subsets.",
    _credits,
    _figures,
)
