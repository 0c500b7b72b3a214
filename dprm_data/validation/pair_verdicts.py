"""The protocol of JudgeBench: the share of pairs whose right response is preferred, in all and by the category of the question.

Source: `compute_final_metrics` in `utils/metrics.py` of github.com/ScalerLab/JudgeBench. A judge that sees both responses is asked in both orders; it is right where more of
its two verdicts are right than wrong, so once right and once undecided is right, once each way is not. A reward has no order. Their code for reward models counts an
equal reward as "B>A"; here it is a tie, as for other judges, and a tie is not right.

The leaderboard is about the pairs that GPT-4o wrote.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dprm_data.core.arrays import Floats
from dprm_data.ingest.judge_sets.judge_set import Case
from dprm_data.validation.bench_scores import OVERALL, Credits, Means, Protocol, Rewards, in_section, sections_of


def prefers_right(case: Case, rewards: Floats) -> bool:
    """Whether the right one of two responses has the higher reward."""
    right = case.right.index(True)
    return bool(rewards[right] > rewards[1 - right])


def _credits(cases: Sequence[Case], rewards: Rewards) -> Credits:
    right = np.array([float(prefers_right(*each)) for each in zip(cases, rewards, strict=True)])
    found: Credits = {}
    for model in dict.fromkeys(name.partition(": ")[0] for name in sections_of(cases)):
        sections = [name for name in sections_of(cases) if name.startswith(f"{model}: ")]
        found[f"{model}: {OVERALL}"] = np.where([case.section in sections for case in cases], right, np.nan)
        found |= {name: in_section(cases, right, name) for name in sections}
    return found


def _figures(means: Means) -> dict[str, Floats]:
    return dict(means)


PAIR_VERDICTS = Protocol(
    "Right where the right one of two responses is preferred; a tie is not right.", _credits, _figures
)
