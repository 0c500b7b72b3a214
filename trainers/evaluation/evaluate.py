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

The share of people who prefer one response to another, and how well it is predicted: `pair_calibration`. Every model
against each group of people, and against the groups as a jury: `group_scores`.

**Rivals** (`dprm_trainers.reward.rivals`). The constant predictor gives every response the mean distribution of the
training split: the improvement over it is what a model learned from the texts. TF-IDF + ridge has read the same texts:
a model that does not beat it is not worth its size, and that is said. The longer one orders responses by length. The
metrics of distributions do not apply to it or to a scalar model.

**People's votes.** Where the held-out rows are rated by people alone, with two votes or more each, all are also scored
against one half of every response's votes, beside the other half: what people themselves reach
(`dprm_data.validation.distance`), and so are the shares of pairs (`dprm_data.validation.pairwise`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dprm_data.core.arrays import Floats, Ints
from dprm_data.ingest.splits import HeldOut
from dprm_data.labels.space import LabelSpace
from dprm_data.labels.statistics import Interval, Resamples
from dprm_data.runs.folder import is_run_folder
from dprm_data.runs.verdict_line import counted
from dprm_data.validation.distance import HALF, distances
from dprm_data.validation.pairwise import pairwise_calibration
from dprm_trainers.core.errors import TrainingDataError
from dprm_trainers.data.group_rows import GroupViews, attributes, views
from dprm_trainers.data.rows import Rows, Split, TrainingData, load_data, preference_pairs
from dprm_trainers.evaluation.evaluation_sentences import verdict_lines
from dprm_trainers.evaluation.group_scores import score_groups
from dprm_trainers.evaluation.metrics import distribution_figures, reliability, reward_figures
from dprm_trainers.evaluation.pair_calibration import HeldOutPairs
from dprm_trainers.evaluation.reward_evaluation import FEW_PROMPTS, Evaluated, Evaluation, PeoplePairs
from dprm_trainers.reward.reward_card import simulated_share
from dprm_trainers.reward.reward_model import Judgement, RewardModel
from dprm_trainers.reward.risk_measures import RiskMeasure, reward_std
from dprm_trainers.reward.rivals import (
    CONSTANT,
    LONGER,
    TEXT,
    by_text,
    comparisons,
    constant,
    lengths,
    verdicts,
)

_SAME_PROMPT, _ANY = "two responses to one prompt", "any two responses, of one prompt or of two"


def split_of(models: dict[str, RewardModel], reference: str, *, labels: Any = None) -> TrainingData:
    """The data, split as in the first model's training, so that what is held out here was held out there.

    For a Parquet file without `labels`, the label space is the model's. Models of one group of a run's personas are
    compared on that group's distributions. Raises `TrainingDataError` if the data cannot be read or is on another label
    space.
    """
    model = next(iter(models.values()))
    groups = [other.info.get("group") for other in models.values()]
    one = groups[0] if is_run_folder(reference) and all(found == groups[0] for found in groups) else None
    return data_of(model, reference, labels, group=f"{one['attribute']}={one['value']}" if one else None)


def data_of(model: RewardModel, reference: str, labels: Any = None, **options: Any) -> TrainingData:
    """Data for a model, split as in its training. For a Parquet file without `labels`, the label space is the model's.
    options: of `load_data`."""
    shares = asdict(HeldOut.of(model.info.get("split")))
    space = labels if labels is not None else model.space if Path(reference).suffix == ".parquet" else None
    return load_data(reference, labels=space, **shares, **options)


def check_labels(name: str, model: RewardModel, space: LabelSpace) -> None:
    """Raise `TrainingDataError` for a model that predicts other labels than those of the data. A scalar has none."""
    if not model.scalar and model.space.names != space.names:
        raise TrainingDataError(
            f"{name} is on the label space {model.space.name} ({', '.join(model.space.names)}), "
            f"the data on {space.name} ({', '.join(space.names)})",
            hint="Compare models on data of their own label space.",
        )


def groups_of(reference: str, by: Sequence[str]) -> list[GroupViews]:
    """The groups of each attribute of a run's annotators, for `evaluate`.

    Raises `DprmError` for data that is no run folder, and for an attribute that no annotator has.
    """
    from dprm_data.runs.run import Run

    if by and not is_run_folder(reference):
        raise TrainingDataError(
            f"{reference} is not a run folder, so it does not say who voted: nothing can be scored by {', '.join(by)}",
            hint="Give the run folder. A table of people's ratings becomes one by a recipe with `annotators: people`, "
            "and `ratings: {attributes: [...]}` keeps its columns about the raters.",
        )
    return [views(Run.open(reference), attribute) for attribute in dict.fromkeys(by)]


def evaluate(
    models: dict[str, RewardModel],
    data: TrainingData,
    *,
    split: Split = "test",
    reading: str = "mean",
    pairs: Literal["group", "any"] | None = None,
    by: Sequence[GroupViews] = (),
    resamples: int = 500,
    batch_size: int = 16,
) -> Evaluation:
    """Evaluate models on a split of the data. pairs: see `preference_pairs`; by default `group`, or `any` where most
    prompts have one response. by: the groups to score against, from `groups_of`.

    Raises `TrainingDataError` if a model is on another label space than the data, the split is empty, or fewer than two
    groups voted on it.
    """
    rows = data.split(split)
    for name, model in models.items():
        check_labels(name, model, data.space)
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
    within, found = _pairs(rows, data.space, pairs)
    draws = Resamples.of(rows.groups, resamples=resamples)
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
    if result.groups < FEW_PROMPTS:
        result.notes.append(
            f"{counted(result.groups, 'prompt')} held out: with fewer than {FEW_PROMPTS}, the intervals are too narrow, "
            "and a verdict may be chance"
        )
    same = constant(train, len(rows))
    known = {CONSTANT: Judgement(same @ data.space.rewards, reward_std(same, data.space.rewards), same)}
    everything = {**known, **rivals, **judged}
    simulated = simulated_share(Path(data.source))
    if simulated == 0:
        _against_people(result, everything, rows, data.space, draws)
    result.by_group = [score_groups(everything, seen, rows, found, data.space, draws, within=within) for seen in by]
    result.no_groups = "" if by else _how_to_group(data.source)
    result.evaluated = Evaluated(
        data.source,
        data.how,
        [f"{label.name} ({label.reward:g})" for label in data.space.labels],
        _SAME_PROMPT if within == "group" else _ANY,
        simulated,
        len(draws.weights) - 1,
        draws.level,
    )
    return result


def _pairs(
    rows: Rows, space: LabelSpace, within: Literal["group", "any"] | None
) -> tuple[Literal["group", "any"], Ints]:
    """What is paired, and the pairs, exact ties too."""
    found = preference_pairs(rows, space.rewards, within=within or "group", ties=True)
    if within is None and 2 * len(found) < len(np.unique(rows.groups)):  # most prompts have one response
        within, found = "any", preference_pairs(rows, space.rewards, within="any", ties=True)
    return within or "group", found


def _against_people(
    result: Evaluation, judged: Mapping[str, Judgement], rows: Rows, space: LabelSpace, draws: Resamples
) -> None:
    """Add the scores of distributions against people's own votes; nothing if votes are missing or weighted."""
    if rows.votes is None:
        return
    some = np.flatnonzero(rows.votes.sum(axis=1) >= 2)
    counts = rows.votes[some]
    if not len(some) or not np.allclose(counts, np.rint(counts), atol=1e-4):
        return
    predicted = {name: j.distribution[some] for name, j in judged.items() if j.distribution is not None}
    groups = rows.groups[some].tolist()
    again = Resamples.of(groups, resamples=len(draws.weights) - 1, level=draws.level)
    result.people = distances(predicted, counts, groups, space, again)
    paired = {name: pairwise_calibration(p, counts, groups, space, level=draws.level) for name, p in predicted.items()}
    of = paired[CONSTANT]
    if of is not None:
        errors = {name: found.error for name, found in paired.items() if found} | {HALF: of.floor}
        result.people_pairs = PeoplePairs(of.pairs, of.same_prompt, errors)


def _how_to_group(source: str) -> str:
    """Why nothing is scored by groups, and what to do."""
    if not is_run_folder(source):
        return (
            "No groups: only a run folder says who voted. A table of people's ratings becomes a run by a recipe with "
            "annotators: people, and ratings: {attributes: [...]} keeps its columns about the raters."
        )
    known = attributes(Path(source))
    if not known:
        return (
            "No groups: the run's annotators have no attribute with two to twelve values. Give the personas attributes, "
            "or name the columns about the raters in ratings: {attributes: [...]}."
        )
    return f"Not scored by group. The annotators' attributes: {', '.join(known)}. Score by one: --by {known[0]}."


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
    """The metrics of judgements of the same N rows, with the constant predictor `base` (K,). pairs (P, 2): exact ties
    count for the shares of people alone. rivals: other judgements to beat."""
    draws = Resamples.of(groups, resamples=resamples)
    expected = target @ space.rewards
    apart = pairs[expected[pairs[:, 0]] != expected[pairs[:, 1]]]
    result = Evaluation(len(target), len(np.unique(groups)), len(apart), split, reading, models=list(judged))
    same = np.tile(base, (len(target), 1))
    shares = HeldOutPairs.of(target, groups, pairs, space, draws)
    level = Judgement(same @ space.rewards, np.zeros(len(same)), same)
    result.figures[CONSTANT] = distribution_figures(same, target, space, draws) | shares.figures(level)
    for name, judgement in {**(rivals or {}), **judged}.items():
        figures: dict[str, Interval] = {}
        if judgement.distribution is not None:
            figures |= distribution_figures(judgement.distribution, target, space, draws)
            result.curves[name] = reliability(judgement.distribution, target)
        figures |= reward_figures(judgement.reward, target, space, apart, draws)
        if name != LONGER and len(pairs):  # a number of characters is no log odds
            figures |= shares.figures(judgement)
            result.pair_curves[name] = shares.curve(judgement)
        result.figures[name] = figures
    known = {name: rival.distribution for name, rival in (rivals or {}).items() if rival.distribution is not None}
    for name, judgement in judged.items():
        against = (name, judgement.distribution, judgement.reward, {CONSTANT: same, **known}, target, space, draws)
        result.comparisons += comparisons(*against, apart)
    result.notes = verdicts(result.comparisons)
    result.verdict = verdict_lines(result.models, result.comparisons)
    return result
