"""Evaluate reward models on held-out distributions, beside the simplest rivals.

    ot          transport from the predicted to the held-out distribution under the ground cost, in units of reward
    w1          Wasserstein-1 at unit steps between the labels in the order of their rewards
    rps         ranked probability score: a proper score that knows the order of the labels
    nll         cross-entropy of the held-out distribution, nats
    ece         expected calibration error of the cells, with the reliability picture
    entropy     of the prediction, nats: low is sharp (good only where nll is good too)
    spread      rank correlation of the standard deviations of the reward: whether people disagree where it is predicted
    spearman    rank correlation of predicted and held-out expected reward
    pairs       accuracy on pairs of responses, ordered by held-out expected reward; in bands of margin and disagreement

**Rivals** (`dprm_trainers.reward.rivals`). The constant predictor gives every response the mean distribution of the
training split: the improvement over it is what a model learned from the texts. TF-IDF + ridge has read the same texts:
a model that does not beat it is not worth its size, and that is said. The longer one orders responses by length. The
metrics of distributions do not apply to it or to a scalar model.

**People's votes.** Where the held-out rows are rated by people alone, with two votes or more each, all are also scored
against one half of every response's votes, beside the other half: what people themselves reach
(`dprm_data.validation.distance`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dprm_data.core import charts
from dprm_data.core.arrays import Floats
from dprm_data.core.tables import write_text
from dprm_data.core.text import markdown_row, one_line
from dprm_data.ingest.splits import HeldOut
from dprm_data.labels.space import LabelSpace
from dprm_data.labels.statistics import Interval, Resamples
from dprm_data.runs.folder import is_run_folder
from dprm_data.validation.distance import Distance, distances
from dprm_trainers.core.errors import TrainingDataError
from dprm_trainers.data.rows import Rows, Split, TrainingData, load_data, preference_pairs
from dprm_trainers.evaluation.metrics import BAND, distribution_figures, reliability, reward_figures
from dprm_trainers.reward.reward_card import simulated_share
from dprm_trainers.reward.reward_model import Judgement, RewardModel
from dprm_trainers.reward.risk_measures import RiskMeasure, reward_std
from dprm_trainers.reward.rivals import CONSTANT, LONGER, TEXT, by_text, constant, lengths, verdicts


@dataclass
class Evaluation:
    """Metrics by model and name, on `rows` responses and `pairs` pairs.

    curves: the reliability of each model with a distribution. notes: which models do not beat a rival. people: scores
    against people's own votes, where there are some.
    """

    rows: int
    groups: int
    pairs: int
    split: str
    reading: str
    figures: dict[str, dict[str, Interval]] = field(default_factory=dict)
    curves: dict[str, list[tuple[float, float, int]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    people: list[Distance] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    def markdown(self) -> str:
        """The main metrics, a row per model; then the pairs by bands."""
        names = dict.fromkeys(name for found in self.figures.values() for name in found)
        main = [name for name in names if not name.startswith(BAND)]
        bands = [name for name in names if name.startswith(BAND)]
        lines = [markdown_row(["", *main]), markdown_row(["---", *["---:"] * len(main)])]
        lines += [
            markdown_row([name, *[_shown(found.get(figure)) for figure in main]])
            for name, found in self.figures.items()
        ]
        if bands:
            models = list(self.figures)
            lines += ["", markdown_row(["accuracy on pairs", *models]), markdown_row(["---", *["---:"] * len(models)])]
            for band in bands:
                cells = [_shown(self.figures[model].get(band)) for model in models]
                lines.append(markdown_row([band.removeprefix(BAND), *cells]))
        if self.people:
            columns = ["against half of people's own votes", "items", "w1", "rps", "log", "skill"]
            lines += ["", markdown_row(columns), markdown_row(["---", *["---:"] * 5])]
            lines += [
                markdown_row([row.name, str(row.items), *map(_shown, (row.w1, row.rps, row.log, row.skill))])
                for row in self.people
            ]
        if self.notes:
            lines += ["", *(f"- {note}" for note in self.notes)]
        return "\n".join(lines) + "\n"

    def picture(self) -> str:
        """The reliability of every model with a distribution, as SVG."""
        return charts.picture("Reliability: predicted and observed probability", *_reliability_body(self.curves))

    def write(self, folder: Path) -> None:
        """evaluation.json, evaluation.md and reliability.svg."""
        write_text(folder / "evaluation.json", json.dumps(self.as_dict(), indent=2) + "\n")
        write_text(folder / "evaluation.md", self.markdown())
        write_text(folder / "reliability.svg", self.picture())


def split_of(models: dict[str, RewardModel], reference: str, *, labels: Any = None) -> TrainingData:
    """The data, split as in the first model's training, so that what is held out here was held out there.

    For a Parquet file without `labels`, the label space is the model's. Models of one group of a run's personas are
    compared on that group's distributions. Raises `TrainingDataError` if the data cannot be read or is on another label
    space.
    """
    model = next(iter(models.values()))
    space = labels if labels is not None else model.space if Path(reference).suffix == ".parquet" else None
    shares = asdict(HeldOut.of(model.info.get("split")))
    groups = [other.info.get("group") for other in models.values()]
    one = groups[0] if is_run_folder(reference) and all(found == groups[0] for found in groups) else None
    return load_data(reference, labels=space, group=f"{one['attribute']}={one['value']}" if one else None, **shares)


def evaluate(
    models: dict[str, RewardModel],
    data: TrainingData,
    *,
    split: Split = "test",
    reading: str = "mean",
    pairs: Literal["group", "any"] | None = None,
    resamples: int = 500,
    batch_size: int = 16,
) -> Evaluation:
    """Evaluate models on a split of the data. pairs: see `preference_pairs`; by default `group`, or `any` if that gives
    no pairs.

    Raises `TrainingDataError` if a model is on another label space than the data, or the split is empty.
    """
    rows = data.split(split)
    for name, model in models.items():
        if model.space.names != data.space.names:
            raise TrainingDataError(
                f"{name} is on the label space {model.space.name} ({', '.join(model.space.names)}), "
                f"the data on {data.space.name} ({', '.join(data.space.names)})",
                hint="Compare models on data of their own label space.",
            )
    judged = {
        name: model.judge(rows.prompts, rows.completions, reading=reading, batch_size=batch_size)
        for name, model in models.items()
    }
    train = data.splits["train"] if len(data.splits["train"]) else rows
    base = train.target.mean(axis=0)
    text = by_text(train, rows) if train is not rows and split != "train" else "there are no other rows to learn from"
    longer = lengths(rows.completions)
    rivals = {LONGER: Judgement(longer, np.full(len(rows), np.nan), None)}
    if not isinstance(text, str):
        mean = RiskMeasure.of(reading)(text, data.space.rewards)
        rivals = {TEXT: Judgement(mean, reward_std(text, data.space.rewards), text), **rivals}
    found = preference_pairs(rows, data.space.rewards, within=pairs or "group")
    if pairs is None and not len(found):
        found = preference_pairs(rows, data.space.rewards, within="any")
    result = compare(
        judged,
        rows.target,
        base,
        data.space,
        rows.groups,
        found,
        split=split,
        reading=reading,
        resamples=resamples,
        rivals=rivals,
    )
    if isinstance(text, str):
        result.notes.append(text)
    result.people = _against_people({**rivals, **judged}, data, rows, constant(train, len(rows)), resamples)
    return result


def _against_people(
    judged: Mapping[str, Judgement], data: TrainingData, rows: Rows, same: Floats, resamples: int
) -> list[Distance]:
    """The scores of distributions against people's own votes; none if a model voted, or votes are weighted."""
    if rows.votes is None or simulated_share(Path(data.source)) != 0:
        return []
    some = np.flatnonzero(rows.votes.sum(axis=1) >= 2)
    counts = rows.votes[some]
    if not len(some) or not np.allclose(counts, np.rint(counts), atol=1e-4):
        return []
    predicted = {CONSTANT: same} | {name: j.distribution for name, j in judged.items() if j.distribution is not None}
    groups = rows.groups[some].tolist()
    draws = Resamples.of(groups, resamples=resamples)
    return distances({name: p[some] for name, p in predicted.items()}, counts, groups, data.space, draws)


def compare(
    judged: dict[str, Judgement],
    target: Floats,
    base: Floats,
    space: LabelSpace,
    groups: np.ndarray,
    pairs: np.ndarray,
    *,
    split: str = "test",
    reading: str = "mean",
    resamples: int = 500,
    rivals: Mapping[str, Judgement] | None = None,
) -> Evaluation:
    """The metrics of judgements of the same N rows, with the constant predictor `base` (K,). rivals: other judgements
    to beat."""
    draws = Resamples.of(groups, resamples=resamples)
    result = Evaluation(len(target), len(np.unique(groups)), len(pairs), split, reading)
    same = np.tile(base, (len(target), 1))
    result.figures[CONSTANT] = distribution_figures(same, target, space, draws)
    for name, judgement in {**(rivals or {}), **judged}.items():
        figures: dict[str, Interval] = {}
        if judgement.distribution is not None:
            figures |= distribution_figures(judgement.distribution, target, space, draws)
            result.curves[name] = reliability(judgement.distribution, target)
        result.figures[name] = figures | reward_figures(judgement.reward, target, space, pairs, draws)
    known = {name: rival.distribution for name, rival in (rivals or {}).items() if rival.distribution is not None}
    for name, judgement in judged.items():
        result.notes += verdicts(
            name, judgement.distribution, judgement.reward, {CONSTANT: same, **known}, target, space, draws, pairs
        )
    return result


def _shown(figure: Interval | None) -> str:
    return "–" if figure is None else str(figure)


def _reliability_body(curves: dict[str, list[tuple[float, float, int]]]) -> tuple[str, float]:
    size, left = 320.0, 40.0
    colours = ["#0f766e", "#b5472f", "#6d5bd0", "#b08900", "#3b82c4", "#8a8f98"]
    parts = [
        f'<rect x="{left}" y="0" width="{size}" height="{size}" fill="none" class="rule"/>',
        f'<line class="rule" x1="{left}" y1="{size}" x2="{left + size}" y2="0" stroke-dasharray="4 4"/>',
    ]
    for share in (0.0, 0.5, 1.0):
        parts.append(charts.text(left + share * size, size + 18, f"{share:g}", "dim", "middle", 12))
        parts.append(charts.text(left - 8, size - share * size + 4, f"{share:g}", "dim", "end", 12))
    parts.append(charts.text(left + size / 2, size + 36, "predicted probability", "dim", "middle", 12))
    for i, (name, curve) in enumerate(curves.items()):
        colour = colours[i % len(colours)]
        at = [(left + a * size, size - b * size, n) for a, b, n in curve]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in at)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"><title>{n:,} cells</title></circle>'
            for x, y, n in at
        ]
        parts.append(f'<rect x="{left + size + 24}" y="{6 + 22 * i}" width="12" height="12" rx="2" fill="{colour}"/>')
        parts.append(charts.text(left + size + 44, 16 + 22 * i, one_line(name, 40)))
    return "".join(parts), size + 44
