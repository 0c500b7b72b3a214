"""Whether it helps to know the group: each group's head beside its simplest rivals, on the group's own votes.

For group g, the predictions for the responses that it voted on are held to the shares of its votes by two proper scores,
each vote counting once:

    rps     ranked probability score (`dprm_trainers.reward.rivals`)
    nll     cross-entropy of the votes, nats

beside **the population's head** on the same rows (the group is not known) and **the constant of the group** (the texts are
not known: its average on the training rows). Votes, and not the fitted distributions, which are drawn towards everyone's
and would favour the population. A score of votes has the noise of votes in it; in a difference of two it cancels.

The intervals of the differences (95 %, bootstrap, paired) take the prompts for a sample, and the people of a group for
all of it: who says how it goes with other people needs more than the few raters that a group mostly has.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dprm_data.core.arrays import Floats
from dprm_data.core.text import markdown_row
from dprm_data.labels.statistics import Interval, Resamples
from dprm_trainers.reward.rivals import rps

if TYPE_CHECKING:
    from dprm_data.labels.space import LabelSpace
    from dprm_trainers.data.rows import Rows

HEAD, POPULATION, CONSTANT = "group's head", "population's head", "group's constant"
ALL = "all groups"


@dataclass(frozen=True)
class GroupRow:
    """One group. scores: by score and predictor, the mean over the group's votes. better: by score and rival, the head's
    mean minus the rival's: below 0, the head is better."""

    name: str
    rows: int
    votes: float
    scores: dict[str, dict[str, float]]
    difference: dict[str, dict[str, Interval]]


@dataclass(frozen=True)
class GroupFigures:
    """The figures of every group with votes on these rows, and of all together."""

    groups: list[GroupRow]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    def markdown(self) -> str:
        """A row for each group."""
        names = ["", "rows", "votes", *(f"rps: {name}" for name in (HEAD, POPULATION, CONSTANT))]
        names += [f"{score}: head − population" for score in ("rps", "nll")]
        lines = [markdown_row(names), markdown_row(["---", *["---:"] * (len(names) - 1)])]
        for group in self.groups:
            scores = [f"{group.scores['rps'][name]:.4f}" for name in (HEAD, POPULATION, CONSTANT)]
            cells = [group.name, str(group.rows), f"{group.votes:g}", *scores]
            cells += [str(group.difference[score][POPULATION]) for score in ("rps", "nll")]
            lines.append(markdown_row(cells))
        return "\n".join(lines)

    def text(self) -> str:
        """A line for each group, for a terminal."""
        return "\n".join(
            f"{group.name}: {group.rows} rows, {group.votes:g} votes; RPS of its head {group.scores['rps'][HEAD]:.4f}, "
            f"the population's {group.scores['rps'][POPULATION]:.4f}, a constant {group.scores['rps'][CONSTANT]:.4f}; "
            f"head − population {group.difference['rps'][POPULATION]}"
            for group in self.groups
        )

    def verdicts(self, where: str = "") -> list[str]:
        """A sentence for every group whose head does not beat a rival by RPS."""
        found = []
        for group in self.groups:
            for rival in (POPULATION, CONSTANT):
                gap = group.difference["rps"][rival]
                if gap.high is not None and gap.high < 0:
                    continue
                worse = gap.low is not None and gap.low > 0
                own, other = group.scores["rps"][HEAD], group.scores["rps"][rival]
                found.append(
                    f"{where}{group.name}: the {HEAD} {'is worse than' if worse else 'does not beat'} the {rival}: "
                    f"RPS {own:.4f} against {other:.4f}, difference {gap}"
                )
        return found


def group_figures(
    train: Rows, rows: Rows, predicted: Floats, space: LabelSpace, *, resamples: int = 500
) -> GroupFigures:
    """Of predictions (N, 1 + G, K), the population's first, for rows that know what their groups say."""
    assert train.of_groups is not None and rows.of_groups is not None
    constants, _ = train.of_groups.base_rates(train.target)
    parts = []
    for g, name in enumerate(rows.of_groups.names):
        counts = rows.of_groups.counts[:, g]
        some = np.flatnonzero(counts.sum(axis=1) > 0)
        if len(some):
            share = counts[some] / counts[some].sum(axis=1, keepdims=True)
            p = {HEAD: predicted[some, 1 + g], POPULATION: predicted[some, 0]}
            p[CONSTANT] = np.tile(constants[g], (len(some), 1))
            scores = {"rps": {who: rps(q, share, space) for who, q in p.items()}}
            scores["nll"] = {who: -(share * np.log(np.maximum(q, 1e-12))).sum(axis=1) for who, q in p.items()}
            parts.append((name, rows.groups[some], counts[some].sum(axis=1), scores))
    if len(parts) > 1:
        together = {
            score: {
                who: np.concatenate([part[3][score][who] for part in parts]) for who in (HEAD, POPULATION, CONSTANT)
            }
            for score in ("rps", "nll")
        }
        groups, votes = (np.concatenate([part[i] for part in parts]) for i in (1, 2))
        parts.append((ALL, groups, votes, together))
    return GroupFigures([_row(*part, resamples) for part in parts])


def _row(name: str, groups: Any, votes: Floats, scores: dict[str, dict[str, Floats]], resamples: int) -> GroupRow:
    draws = Resamples.of(groups, votes, resamples=resamples)
    means = {score: {who: float(np.average(s, weights=votes)) for who, s in of.items()} for score, of in scores.items()}
    gaps = {
        score: {rival: draws.mean(of[HEAD] - of[rival]) for rival in (POPULATION, CONSTANT)}
        for score, of in scores.items()
    }
    return GroupRow(name, len(votes), float(votes.sum()), means, gaps)
