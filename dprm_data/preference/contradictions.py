"""Contradictions among comparisons: triples of responses of which the first is preferred to the second, the second to the third, and the third to the first.

No order of the responses explains such answers, so utilities cannot either (circular triads; Kendall and Babington Smith, Biometrika 31, 1940).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dprm_data.preference.comparisons import Comparisons

BY_CHANCE = 0.25  # of triples are circular if answers are at random


@dataclass(frozen=True)
class Triples:
    """Triples of responses to one prompt of which each two were compared, one of them winning: how many there are, and how many are circular."""

    triples: int
    circular: int


def circular_triples(data: Comparisons) -> Triples:
    """Count them over all prompts. Of two responses that wins which most annotators prefer, by weight; the order effect cancels out where each is shown first equally often."""
    low, high = np.minimum(data.first, data.second), np.maximum(data.first, data.second)
    pairs, pair = np.unique(np.stack([low, high], axis=1), axis=0, return_inverse=True)
    for_low = np.where(data.first == low, 1, -1) * np.sign(data.answer) * data.weight
    lead = np.bincount(pair.ravel(), for_low, minlength=len(pairs))
    decided = np.abs(lead) > 1e-9
    won = np.where(lead[:, None] > 0, pairs, pairs[:, ::-1])[decided]
    group = data.group[won[:, 0]] if len(won) else np.zeros(0, dtype=np.int64)
    order = np.argsort(group, kind="stable")
    triples = circular = 0.0
    for of_prompt in np.split(won[order], np.flatnonzero(np.diff(group[order])) + 1):
        if len(of_prompt) < 3:
            continue
        responses, place = np.unique(of_prompt, return_inverse=True)
        winner, loser = place.reshape(of_prompt.shape).T
        beats = np.zeros((len(responses), len(responses)))
        beats[winner, loser] = 1.0
        either = beats + beats.T
        circular += np.trace(beats @ beats @ beats) / 3
        triples += np.trace(either @ either @ either) / 6
    return Triples(round(triples), round(circular))
