"""Circular triples, against counting them one by one."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from dprm_data.preference.comparisons import Comparisons
from dprm_data.preference.contradictions import BY_CHANCE, circular_triples


def test_as_counted_one_by_one() -> None:
    rng, prompts, size = np.random.default_rng(0), 300, 5
    pairs = np.array([(p * size + a, p * size + b) for p in range(prompts) for a, b in combinations(range(size), 2)])
    pairs = rng.permuted(pairs, axis=1)[rng.random(len(pairs)) < 0.9]  # some are not compared
    answer = rng.choice([-1, -1, 0, 1, 1], len(pairs))
    won = {
        (int(a), int(b)) if said > 0 else (int(b), int(a)) for (a, b), said in zip(pairs, answer, strict=True) if said
    }
    triples = circular = 0
    for p in range(prompts):
        for three in combinations(range(p * size, (p + 1) * size), 3):
            wins = sorted(sum((a, b) in won for b in three) for a in three)
            if sum(wins) == 3:
                triples, circular = triples + 1, circular + (wins == [1, 1, 1])
    count = len(pairs)
    found = circular_triples(
        Comparisons(
            group=np.repeat(np.arange(prompts), size),
            first=pairs[:, 0],
            second=pairs[:, 1],
            annotator=np.zeros(count, dtype=np.int64),
            answer=answer,
            steps=np.full(count, 3),
            weight=np.ones(count),
            kind=np.zeros(1, dtype=np.int64),
            ordered=np.ones(1, dtype=bool),
        )
    )
    assert (found.triples, found.circular) == (triples, circular)
    assert abs(circular / triples - BY_CHANCE) < 0.05
