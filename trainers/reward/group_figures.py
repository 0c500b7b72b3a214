"""Whether it helps to know the group: each group's head beside its simplest rivals, on the group's own votes.

For group g, the predictions for the responses that it voted on are held to the shares of its votes by two proper scores,
each vote counting once:

    rps     ranked probability score (`dprm_trainers.reward.rivals`)
    nll     cross-entropy of the votes, nats

beside three rivals on the same rows:

    the population's head    the model without its heads of groups
    the mean of all heads    each by its votes: trained like the group's head, but the group is not known
    the group's constant     how often the group gives each label in the training rows: the texts are not known

So knowing the group helps if its head beats the mean of all heads, and the heads are worth having if they beat the
population's. Votes, and not fitted distributions: those are drawn towards everyone's and would favour the population. A
score of votes has the noise of votes in it; in a difference of two scores it cancels in the mean.

The intervals of the differences (95 %, bootstrap, paired) take the prompts for a sample, and the people of a group for
all of it: how it goes with other people of the group needs more raters than a group mostly has.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dprm_data.core.arrays import Floats
from dprm_data.core.text import markdown_row
from dprm_data.labels.statistics import Interval, Resamples
from dprm_trainers.reward.group_loss import ADDED
from dprm_trainers.reward.rivals import cross_entropy, rps

if TYPE_CHECKING:
    from dprm_data.labels.space import LabelSpace
    from dprm_trainers.data.group_votes import GroupVotes
    from dprm_trainers.data.rows import Rows

HEAD, POPULATION, MEAN, CONSTANT = "group's head", "population's head", "mean of all heads", "group's constant"
RIVALS = (POPULATION, MEAN, CONSTANT)
ALL = "all groups"


@dataclass(frozen=True)
class GroupRow:
    """One group. scores: by score and predictor, the mean over the group's votes. difference: by score and rival, the
    head's mean minus the rival's: below 0, the head is better."""

    name: str
    rows: int
    votes: float
    scores: dict[str, dict[str, float]]
    difference: dict[str, dict[str, Interval]]

    def beats(self, rival: str) -> bool:
        """Whether the head is better than a rival by RPS, beyond the interval."""
        high = self.difference["rps"][rival].high
        return high is not None and high < 0


@dataclass(frozen=True)
class GroupFigures:
    """The figures of every group with votes on these rows, and of all together."""

    groups: list[GroupRow]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    def markdown(self) -> str:
        """The scores of every group, then the differences."""
        scores = ["", "rows", "votes", *(f"{score}: {who}" for score in ("rps", "nll") for who in (HEAD, *RIVALS))]
        gaps = ["head minus", *(f"{score}: {who}" for score in ("rps", "nll") for who in RIVALS)]
        lines = [markdown_row(scores), markdown_row(["---", *["---:"] * (len(scores) - 1)])]
        for row in self.groups:
            found = [f"{row.scores[score][who]:.4f}" for score in ("rps", "nll") for who in (HEAD, *RIVALS)]
            lines.append(markdown_row([row.name, str(row.rows), f"{row.votes:g}", *found]))
        lines += ["", markdown_row(gaps), markdown_row(["---", *["---:"] * (len(gaps) - 1)])]
        for row in self.groups:
            found = [_shown(row.difference[score][who]) for score in ("rps", "nll") for who in RIVALS]
            lines.append(markdown_row([row.name, *found]))
        return "\n".join([*lines, "", *(f"- {note}" for note in self.verdicts())]).rstrip()

    def text(self) -> str:
        """A line for each group, for a terminal."""
        return "\n".join(
            f"{row.name}: {row.rows} rows, {row.votes:g} votes; RPS "
            + ", ".join(f"{who} {row.scores['rps'][who]:.4f}" for who in (HEAD, *RIVALS))
            for row in self.groups
        )

    def verdicts(self, where: str = "") -> list[str]:
        """A sentence for every rival that a group's head does not beat by RPS."""
        return [
            f"{where}{row.name}: the {HEAD} {'is worse than' if _above(row.difference['rps'][rival]) else 'does not beat'} "
            f"the {rival}: RPS {row.scores['rps'][HEAD]:.4f} against {row.scores['rps'][rival]:.4f}, difference "
            f"{_shown(row.difference['rps'][rival])}"
            for row in self.groups
            for rival in RIVALS
            if not row.beats(rival)
        ]


def group_figures(
    train: GroupVotes, rows: Rows, predicted: Floats, space: LabelSpace, *, resamples: int = 500
) -> GroupFigures:
    """Of predictions (N, 1 + G, K), the population's first, for rows that know how their groups voted. train: the votes
    of the training rows, on the same groups."""
    assert rows.of_groups is not None
    constants, _ = train.shares(ADDED)
    weight = train.counts.sum(axis=(0, 2))
    mean = np.einsum("g,ngk->nk", weight / weight.sum(), predicted[:, 1:])
    parts = []
    for g, name in enumerate(rows.of_groups.names):
        counts = rows.of_groups.counts[:, g]
        some = np.flatnonzero(counts.sum(axis=1) > 0)
        if len(some):
            share = counts[some] / counts[some].sum(axis=1, keepdims=True)
            p = {HEAD: predicted[some, 1 + g], POPULATION: predicted[some, 0], MEAN: mean[some]}
            p[CONSTANT] = np.tile(constants[g], (len(some), 1))
            scores = {"rps": {who: rps(q, share, space) for who, q in p.items()}}
            scores["nll"] = {who: cross_entropy(q, share) for who, q in p.items()}
            parts.append((name, rows.groups[some], counts[some].sum(axis=1), scores))
    if len(parts) > 1:
        together = {
            score: {who: np.concatenate([part[3][score][who] for part in parts]) for who in (HEAD, *RIVALS)}
            for score in ("rps", "nll")
        }
        groups, votes = (np.concatenate([part[i] for part in parts]) for i in (1, 2))
        parts.append((ALL, groups, votes, together))
    return GroupFigures([_row(*part, resamples) for part in parts])


def _row(name: str, groups: Any, votes: Floats, scores: dict[str, dict[str, Floats]], resamples: int) -> GroupRow:
    draws = Resamples.of(groups, votes, resamples=resamples)
    means = {score: {who: float(np.average(s, weights=votes)) for who, s in of.items()} for score, of in scores.items()}
    gaps = {score: {rival: draws.mean(of[HEAD] - of[rival]) for rival in RIVALS} for score, of in scores.items()}
    return GroupRow(name, len(votes), float(votes.sum()), means, gaps)


def _above(gap: Interval) -> bool:
    return gap.low is not None and gap.low > 0


def _shown(gap: Interval) -> str:
    """With four digits: scores differ little."""
    between = "" if gap.low is None or gap.high is None else f" [{gap.low:+.4f}, {gap.high:+.4f}]"
    return f"{gap.value:+.4f}{between}"
