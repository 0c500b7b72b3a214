"""Best of n: what the response that a reward model likes best of n is worth, to this proxy and to a gold judge.

N responses to a prompt are independent samples of one policy. Any n of them are n independent samples, too. So the mean
over all C(N, n) subsets of what the chosen response is worth is unbiased for best of n, and varies less than one subset.

It needs no subsets. Sort the N responses by the proxy's reward, the worst first. The response of rank i is the best of a
subset if the other n - 1 are among the i - 1 below it: in C(i - 1, n - 1) of C(N, n) subsets. So

    value(n) = sum_i  w_i v_i,     w_i = C(i - 1, n - 1) / C(N, n)

with v_i the proxy's or the gold judge's reward of the response of rank i. The weights sum to 1 (hockey-stick identity).
With n = N it is the best of all, with n = 1 the mean. Responses of equal proxy reward share the weights of their ranks:
the best of a subset is then drawn at random from its best ones.

KL. Best of n is at most log n - (n - 1) / n nats from the policy it samples. This is an upper bound: exact if no response
can be drawn twice or ties with another, far too large if few responses have most of the probability (Beirami et al. 2024,
arXiv:2401.01879).

Source of the estimator: appendix I of Nakano et al. 2021 (arXiv:2112.09332), as in Gao et al. 2023
(arXiv:2210.10760). The tests compare it with all subsets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import comb, log

import numpy as np

from dprm_data.core.arrays import Floats, Ints
from dprm_data.labels.statistics import Interval, Resamples
from dprm_trainers.data.rows import digest
from dprm_trainers.evaluation.gold_fall import Fall, deepest_fall
from dprm_trainers.evaluation.judges import Verdict
from dprm_trainers.evaluation.policy_responses import Response


@dataclass(frozen=True)
class BestOf:
    """Best of n, in nats at most `kl_bound` from the policy.

    proxy, gold: both judges' rewards of the proxy's choice. proxy_gain, gold_gain: their changes from n = 1, paired by
    prompt. longest_proxy, longest_gold: the rewards of the longest of n, by tokens.
    """

    n: int
    kl_bound: float
    proxy: Interval
    gold: Interval
    proxy_gain: Interval
    gold_gain: Interval
    longest_proxy: Interval
    longest_gold: Interval


@dataclass(frozen=True)
class BestOfN:
    """The curve of one policy: n = 1 (picked at random), 2, 4, ..., N. fall: of gold where the proxy rises, if any.

    beyond_longest: gold of the proxy's choice of N minus gold of the longest of N.
    """

    policy: str
    proxy: str
    gold: str
    prompts: int
    responses: int
    points: list[BestOf]
    beyond_longest: Interval
    fall: Fall | None


def choice_weights(scores: Floats, n: int) -> Floats:
    """The probability of each of N responses (N,) to have the highest score in a subset of n drawn at random."""
    of_rank = np.array(_of_ranks(len(scores), n))
    _, tied = np.unique(scores, return_inverse=True)
    of_tie = np.bincount(tied, weights=of_rank[np.argsort(np.argsort(scores, kind="stable"))]) / np.bincount(tied)
    return np.asarray(of_tie[tied])


@lru_cache
def _of_ranks(N: int, n: int) -> list[float]:
    return [comb(i, n - 1) / comb(N, n) for i in range(N)]


def kl_bound(n: int) -> float:
    """The most nats by which best of n can differ from the policy it samples."""
    return log(n) - (n - 1) / n


def sizes(responses: int) -> list[int]:
    """The powers of two up to the number of responses, and this number."""
    powers = [2**k for k in range(responses.bit_length())]
    return powers if powers[-1] == responses else [*powers, responses]


def best_of_n(policy: str, responses: Sequence[Response], proxy: Verdict, gold: Verdict, *, resamples: int) -> BestOfN:
    """The curve of the policy among these responses, by verdicts on all of them; N is the least number to any prompt."""
    at: dict[str, list[int]] = {}
    for i, row in enumerate(responses):
        if row.policy == policy:
            at.setdefault(digest(row.prompt), []).append(i)
    prompts = [np.array(rows) for rows in at.values()]
    tokens = np.array([float(row.tokens) for row in responses])
    ns = sizes(min(map(len, prompts)))
    draws = Resamples.of(list(at), resamples=resamples)
    by_proxy, by_gold = (expected(prompts, proxy.reward, judge.reward, ns) for judge in (proxy, gold))
    longest_proxy, longest_gold = (expected(prompts, tokens, judge.reward, ns) for judge in (proxy, gold))
    curves = (by_proxy, by_gold, by_proxy - by_proxy[:, :1], by_gold - by_gold[:, :1], longest_proxy, longest_gold)
    points = [BestOf(n, kl_bound(n), *(draws.mean(curve[:, k]) for curve in curves)) for k, n in enumerate(ns)]
    return BestOfN(
        policy,
        proxy.judge,
        gold.judge,
        len(prompts),
        ns[-1],
        points,
        draws.mean(by_gold[:, -1] - longest_gold[:, -1]),
        deepest_fall([f"n = {n}" for n in ns], by_proxy, by_gold, draws),
    )


def expected(prompts: Sequence[Ints], scores: Floats, values: Floats, ns: Sequence[int]) -> Floats:
    """For every prompt (its responses' rows) and n, the expected value of the response of the highest score: (P, n)."""
    return np.array([[choice_weights(scores[rows], n) @ values[rows] for n in ns] for rows in prompts])
