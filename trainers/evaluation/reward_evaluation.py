"""What an evaluation of reward models found, as plain values."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from dprm_data.labels.statistics import Interval
from dprm_data.runs.verdict_line import Line
from dprm_data.validation.distance import Distance
from dprm_trainers.evaluation.group_scores import GroupScores
from dprm_trainers.evaluation.metrics import Curve
from dprm_trainers.reward.rivals import Comparison

FEW_PROMPTS = 20  # fewer give bootstrap intervals that are clearly too narrow


@dataclass(frozen=True)
class Evaluated:
    """What was evaluated. how: a description of the split. pairs_of: what the pairs are of. simulated: the share of the
    labels that a language model gave, None if it is not known. resamples, level: of the intervals."""

    data: str
    how: str
    labels: list[str]
    pairs_of: str
    simulated: float | None
    resamples: int
    level: float


@dataclass(frozen=True)
class PeoplePairs:
    """Predicted shares of pairs against one half of the people's, mean squared error by name, beside the other half."""

    pairs: int
    same_prompt: bool
    errors: dict[str, Interval]


@dataclass
class Evaluation:
    """Metrics by model and name, on `rows` responses and `pairs` pairs.

    curves, pair_curves: the reliability of each model, of cells and of pairs. comparisons: each model beside the rivals;
    verdict: a sentence for each. notes: which models do not beat a rival. people, people_pairs: scores against people's own votes, where there are some.
    by_group: scores against the groups of each attribute; no_groups: why there are none, and what to do.
    """

    rows: int
    groups: int
    pairs: int
    split: str
    reading: str
    figures: dict[str, dict[str, Interval]] = field(default_factory=dict)
    curves: dict[str, Curve] = field(default_factory=dict)
    pair_curves: dict[str, Curve] = field(default_factory=dict)
    comparisons: list[Comparison] = field(default_factory=list)
    verdict: list[Line] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    people: list[Distance] = field(default_factory=list)
    people_pairs: PeoplePairs | None = None
    by_group: list[GroupScores] = field(default_factory=list)
    no_groups: str = ""
    models: list[str] = field(default_factory=list)
    evaluated: Evaluated | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)
