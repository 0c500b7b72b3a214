"""Compare policies by judges' verdicts on their responses to the same held-out prompts.

    reward          the mean reading over the responses
    shares          the mean predicted (or annotated) distribution over the judge's labels: the paper's Table 2
    win, tie, lose  pairs of responses to one prompt, by the judge's reward: the paper's comparison. A tie is a
                    difference within a share `tie` of the range of rewards
    people          the same for two random people of the judge's population, each of whom labels one of the two
                    responses: compares the rewards of their labels
    distinct-n      distinct n-grams of words over all n-grams, in all responses of a policy (Li et al., NAACL 2016):
                    low for repetitive policies
    KL              to the reference, nats per response, on the policy's own samples

With a gold judge, the curves of `best_of_n` and `policy_curve`.

Intervals are 95 % bootstrap intervals over prompts, with the same draws for all policies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

from dprm_data.core.arrays import Floats
from dprm_data.labels.statistics import Interval, Resamples
from dprm_trainers.core.errors import TrainingDataError, TrainingError
from dprm_trainers.data.rows import digest
from dprm_trainers.evaluation.best_of_n import BestOfN, best_of_n
from dprm_trainers.evaluation.gold_judge import caveats, simulated_behind
from dprm_trainers.evaluation.judges import Verdict
from dprm_trainers.evaluation.policy_curve import PolicyCurve, policy_curve
from dprm_trainers.evaluation.policy_responses import Response

TIE = 0.05  # share of the range of rewards
_FEW = 10  # with fewer prompts, a bootstrap over them is unreliable


@dataclass(frozen=True)
class Duel:
    """`first` against `second`: shares of the pairs; net is win - lose.

    people: win, tie and lose of two random people; None if the judge has no distribution.
    """

    first: str
    second: str
    win: float
    tie: float
    lose: float
    net: Interval
    difference: Interval
    people: tuple[float, float, float] | None


@dataclass(frozen=True)
class Judged:
    """A judge's results. shares: by policy and label."""

    judge: str
    kind: str
    reading: str
    labels: tuple[str, ...]
    rewards: tuple[float, ...]
    reward: dict[str, Interval]
    shares: dict[str, dict[str, Interval]]
    duels: list[Duel]
    notes: list[str]


@dataclass
class PolicyEvaluation:
    """prompts and responses: how many of each, per policy. style: length, ended, distinct-n and KL, by policy.

    best_of_n: of the first policy, and policy_curves: through all; with a gold judge, one for each proxy. gold_simulated:
    the share of language models' labels behind the gold judge; None if unknown.
    """

    prompts: int
    responses: int
    tie: float
    style: dict[str, dict[str, Interval]]
    judged: list[Judged] = field(default_factory=list)
    best_of_n: list[BestOfN] = field(default_factory=list)
    policy_curves: list[PolicyCurve] = field(default_factory=list)
    gold_simulated: float | None = None
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; NaN becomes None."""
        return dict(_finite(asdict(self)))


class Sheet:
    """Responses in a table: a row per prompt and sample, a column per policy.

    Incomplete rows are left out and counted.
    """

    def __init__(self, responses: Sequence[Response]) -> None:
        self.responses = list(responses)
        self.policies = list(dict.fromkeys(row.policy for row in responses))
        at: dict[tuple[str, int], dict[str, int]] = {}
        for i, row in enumerate(responses):
            at.setdefault((digest(row.prompt), row.sample), {})[row.policy] = i
        whole = [found for found in at.values() if len(found) == len(self.policies)]
        if not whole:
            raise TrainingDataError(
                "the policies have no prompt in common that all of them answered",
                hint="Sample them together, with the same prompts.",
            )
        self.left_out = len(at) - len(whole)
        self.columns = {name: np.array([found[name] for found in whole]) for name in self.policies}
        rows = [responses[next(iter(found.values()))] for found in whole]
        self.groups = np.array([digest(row.prompt) for row in rows])

    def of(self, policy: str) -> list[Response]:
        """A policy's responses, in the order of the rows."""
        return [self.responses[i] for i in self.columns[policy]]


def evaluate_policies(
    responses: Sequence[Response],
    verdicts: Sequence[Verdict],
    *,
    gold: Verdict | None = None,
    tie: float = TIE,
    resamples: int = 1000,
) -> PolicyEvaluation:
    """Compare the policies that gave these N responses, by verdicts on all of them.

    gold: of a judge to trust; the other verdicts are then those of proxies, of which the curves are drawn. tie: the share of the range of rewards within which two rewards tie (with a scalar judge, which has no range, only
    equal ones).

    Raises `TrainingDataError` if the policies have no row in common, `TrainingError` for a tie outside [0, 1).
    """
    if not 0 <= tie < 1:
        raise TrainingError(f"tie: {tie} is not a share in [0, 1)")
    sheet = Sheet(responses)
    draws = Resamples.of(sheet.groups, resamples=resamples)
    style = {name: _style(sheet.of(name), draws) for name in sheet.policies}
    found = PolicyEvaluation(len(set(sheet.groups.tolist())), len(sheet.groups), tie, style)
    if sheet.left_out:
        found.notes.append(f"{sheet.left_out} rows were left out, as some policies have no response for them")
    if found.prompts < _FEW:
        found.notes.append(f"with {found.prompts} prompts the intervals are too narrow: other prompts may differ more")
    found.judged = [_judged(verdict, sheet, draws, tie) for verdict in (*verdicts, *([gold] if gold else []))]
    if gold:
        _draw_curves(found, sheet, verdicts, gold, draws)
    return found


def _draw_curves(
    found: PolicyEvaluation, sheet: Sheet, proxies: Sequence[Verdict], gold: Verdict, draws: Resamples
) -> None:
    """Add the curves for which there are enough responses, or policies."""
    first, several = sheet.policies[0], len(sheet.policies) > 1
    resamples = len(draws.weights) - 1
    curves = [best_of_n(first, sheet.responses, proxy, gold, resamples=resamples) for proxy in proxies]
    found.best_of_n = [curve for curve in curves if curve.responses > 1]
    if several:
        kl = {name: style["kl"] for name, style in found.style.items() if "kl" in style}
        found.policy_curves = [policy_curve(sheet.columns, kl, proxy, gold, draws) for proxy in proxies]
    elif not found.best_of_n:
        found.notes.append(
            "no curves: one response to each prompt, of one policy (--responses 64, or --checkpoints FOLDER)"
        )
    found.gold_simulated = simulated_behind(gold.judge)
    found.notes += caveats(gold, proxies)


def _judged(verdict: Verdict, sheet: Sheet, draws: Resamples, tie: float) -> Judged:
    reward = {name: draws.mean(verdict.reward[at]) for name, at in sheet.columns.items()}
    shares: dict[str, dict[str, Interval]] = {}
    if verdict.distribution is not None:
        for name, at in sheet.columns.items():
            columns = zip(verdict.labels, verdict.distribution[at].T, strict=True)
            shares[name] = {label: draws.mean(values) for label, values in columns}
    margin = tie * float(np.ptp(verdict.rewards)) if verdict.distribution is not None else 0.0
    duels = [_duel(later, earlier, verdict, sheet, draws, margin) for earlier, later in combinations(sheet.policies, 2)]
    return Judged(
        verdict.judge,
        verdict.kind,
        verdict.reading,
        verdict.labels,
        tuple(verdict.rewards.tolist()),
        reward,
        shares,
        duels,
        list(verdict.notes),
    )


def _duel(first: str, second: str, verdict: Verdict, sheet: Sheet, draws: Resamples, margin: float) -> Duel:
    a, b = sheet.columns[first], sheet.columns[second]
    difference = verdict.reward[a] - verdict.reward[b]
    won, lost = (difference > margin).astype(np.float64), (difference < -margin).astype(np.float64)
    people = None
    if verdict.distribution is not None:
        people = people_of(verdict.distribution[a], verdict.distribution[b], verdict.rewards)
    return Duel(
        first,
        second,
        float(won.mean()),
        float(((won + lost) == 0).mean()),
        float(lost.mean()),
        draws.mean(won - lost),
        draws.mean(difference),
        people,
    )


def people_of(first: Floats, second: Floats, rewards: Floats) -> tuple[float, float, float]:
    """Win, tie and lose between one random person's label for the first response and another's for the second.

    first, second: distributions (N, K); rewards: (K,). Returns means over N.
    """
    sign = np.sign(np.subtract.outer(rewards, rewards))
    won, lost = (float(np.einsum("nk,kl,nl->n", first, sign == s, second).mean()) for s in (1, -1))
    return won, max(0.0, 1 - won - lost), lost


def _style(rows: Sequence[Response], draws: Resamples) -> dict[str, Interval]:
    found = {
        "tokens": draws.mean(np.array([float(row.tokens) for row in rows])),
        "ended": draws.mean(np.array([float(row.ended) for row in rows])),
        "empty": draws.mean(np.array([float(not row.text.strip()) for row in rows])),
    }
    for n in (1, 2):
        found[f"distinct-{n}"] = Interval(distinct([row.text for row in rows], n), None, None)
    measured = [row.kl for row in rows if row.kl is not None]
    if len(measured) == len(rows):
        found["kl"] = draws.mean(np.array(measured))
    return found


def distinct(texts: Sequence[str], n: int) -> float | None:
    """Distinct n-grams of words over all n-grams of the texts; None if there are none."""
    grams = [
        tuple(words[i : i + n]) for words in (text.lower().split() for text in texts) for i in range(len(words) - n + 1)
    ]
    return len(set(grams)) / len(grams) if grams else None


def _finite(value: Any) -> Any:
    """The value with None for NaN, which JSON does not have."""
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
