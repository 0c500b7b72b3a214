"""The protocol of PPE: agreement with people's preferences; and on questions with a known answer, accuracy on pairs and the correctness of the best of k.

Source: arXiv 2410.14872 (sections on the human preference and the correctness metrics); the repository github.com/lmarena/PPE has the same names. *Human preference* is the
share of pairs on which people had a preference where the response with the higher reward is the one that they preferred. *Pairs* are the sampled pairs of a right and a wrong
response to one question; a question counts once, by the share of its pairs. *Best of k* is how often the response with the highest reward of all k is right (of
several with it, their share of right ones). The correctness figures are the means of the benchmarks. An equal reward does not count. A response without a reward is never picked.

Not here: the area under the ROC curve, the curve over k, and the correlation of models' rankings.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dprm_data.core.arrays import Floats
from dprm_data.ingest.judge_sets.judge_set import Case
from dprm_data.ingest.judge_sets.ppe import PEOPLE
from dprm_data.validation.bench_scores import Credits, Means, Protocol, Rewards, average, in_section, sections_of
from dprm_data.validation.pair_verdicts import prefers_right

_KINDS = ("pairs", "best of k")


def _credits(cases: Sequence[Case], rewards: Rewards) -> Credits:
    both = list(zip(cases, rewards, strict=True))
    values = {
        "pairs": np.array([_of_pairs(case, given) for case, given in both]),
        "best of k": np.array([_of_best(case, given) for case, given in both]),
    }
    found: Credits = {}
    for section in sections_of(cases):
        if section == PEOPLE:
            right = [float(prefers_right(case, given)) if case.section == PEOPLE else np.nan for case, given in both]
            found[PEOPLE] = np.array(right)
        else:
            found |= {f"{section} {kind}": in_section(cases, values[kind], section) for kind in _KINDS}
    return found


def _of_pairs(case: Case, rewards: Floats) -> float:
    """The share of the case's pairs in which the right response is above the wrong one; NaN without pairs."""
    return float(np.mean([rewards[right] > rewards[wrong] for right, wrong in case.pairs])) if case.pairs else np.nan


def _of_best(case: Case, rewards: Floats) -> float:
    """The share of right responses among those with the highest reward."""
    known = np.isfinite(rewards)
    return float(np.array(case.right)[known & (rewards == rewards[known].max())].mean()) if known.any() else 0.0


def _figures(means: Means) -> dict[str, Floats]:
    found = {PEOPLE: means[PEOPLE]} if PEOPLE in means else {}
    for kind in _KINDS:
        if every := [values for name, values in means.items() if name.endswith(f" {kind}")]:
            found[f"correctness {kind}"] = average(every)
    return found | dict(means)


PICKED_OF_MANY = Protocol(
    "Human preference: right where the response that people preferred has the higher reward. Correctness: sampled pairs of a right and a wrong response, and whether the best of k is right.",
    _credits,
    _figures,
)
