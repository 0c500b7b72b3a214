"""What one split is trained or validated on: rows with a distribution, pairs of responses, or both."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from dprm_data.core.arrays import Floats, Ints
from dprm_data.labels.space import LabelSpace
from dprm_data.labels.statistics import Resamples
from dprm_data.preference.pairs import outcomes
from dprm_data.runs.folder import is_run_folder
from dprm_data.runs.verdict_line import counted
from dprm_trainers.core.errors import TrainingDataError
from dprm_trainers.data.rows import Labels, Message, Rows, Split, TrainingData, load_data, preference_pairs
from dprm_trainers.data.training_pairs import PairRows, are_pairs, load_pairs
from dprm_trainers.reward.objective import on_rows
from dprm_trainers.reward.rivals import LONGER, lengths

if TYPE_CHECKING:
    from dprm_trainers.reward.objective import Objective
    from dprm_trainers.reward.reward_config import RewardConfig


@dataclass(frozen=True)
class Part:
    """rows: R responses with a target; then the chosen responses of P pairs, then the rejected ones.

    pairs: (P, 2), places in `prompts` and `completions`, None without pairs. share: (P,), of people who prefer the chosen
    one; None for a scalar, whose pairs are rows.
    """

    rows: Rows
    prompts: list[list[Message]]
    completions: list[list[Message]]
    pairs: Ints | None = None
    share: Floats | None = None

    @classmethod
    def of(cls, rows: Rows, pairs: PairRows | None = None) -> Part:
        if pairs is None:
            return cls(rows, rows.prompts, rows.completions)
        first, P = len(rows), len(pairs)
        places = np.stack([np.arange(first, first + P), np.arange(first + P, first + 2 * P)], axis=1)
        return cls(
            rows,
            rows.prompts + pairs.prompts + pairs.prompts,
            rows.completions + pairs.chosen + pairs.rejected,
            places,
            pairs.share,
        )

    @property
    def held(self) -> int:
        """Rows and pairs."""
        return len(self.rows) + (0 if self.share is None else len(self.share))

    @property
    def size(self) -> str:
        """ "100 rows and 2,000 pairs"."""
        pairs = [] if self.share is None else [f"{len(self.share)} pairs"]
        rows = [f"{len(self.rows)} rows"] if len(self.rows) or not pairs else []
        return " and ".join(rows + pairs)

    def said_of_pairs(self, reward: Floats) -> list[str]:
        """How often the pairs that more people prefer one of are in the order of the rewards of all texts, beside the longer
        one."""
        if self.pairs is None or self.share is None or not len(self.share):
            return []
        divided = self.share != 0.5
        pairs = np.where((self.share < 0.5)[:, None], self.pairs[:, ::-1], self.pairs)[divided]
        if not len(pairs):
            return []
        draws = Resamples.of(np.arange(len(pairs)))
        own, longer = (outcomes(score, pairs) for score in (reward, lengths(self.completions)))
        better = draws.mean(own - longer)
        beaten = better.low is not None and better.low > 0
        return [
            f"on {counted(len(pairs), 'validation pair')} the model {'beats' if beaten else 'does not beat'} {LONGER}: "
            f"{own.mean():.3f} right against {longer.mean():.3f}, difference {better}"
        ]


def training_parts(config: RewardConfig, data: TrainingData, objective: Objective) -> dict[str, Part]:
    """What the splits are trained and validated on. Raises `TrainingDataError` where there is nothing to train on."""
    if objective.scalar and not are_pairs(config.data):
        return {name: _with_scalar_pairs(config, data, name) for name in ("train", "validation")}
    if objective.on_rows:
        data.split("train")
    if not objective.on_pairs:
        return {name: Part.of(data.splits[name]) for name in ("train", "validation")}
    pairs = load_pairs(
        config.pair_data or config.data, test=config.test, validation=config.validation, seed=config.split_seed
    )
    held_out = [prompt for name in ("validation", "test") for prompt in data.splits[name].prompts]
    train = pairs["train"].without(held_out)
    if not len(train):
        raise TrainingDataError(
            f"{config.pair_data or config.data}: no pair is left to train on: the prompts of all are held out",
            hint="Give more pairs, or lower test and validation.",
        )
    validation = pairs["validation"].without(data.splits["train"].prompts)
    return {"train": Part.of(data.splits["train"], train), "validation": Part.of(data.splits["validation"], validation)}


def training_data(config: RewardConfig) -> TrainingData:
    """The rows with distributions, of the settings' data; none for an objective of pairs alone. Raises `DprmError`."""
    rows, pairs = on_rows(config.objective), are_pairs(config.data)
    if pairs and rows:
        raise TrainingDataError(
            f"{config.data} has pairs, and the objective {config.objective} trains on rows with a distribution",
            hint="Train on pairs alone (--objective ordinal, or bt for a scalar), or give rows as data and these as pair_data.",
        )
    if not rows and (pairs or not config.scalar):
        return no_rows(config.data, config.labels, scalar=config.scalar)
    return load_data(
        config.data,
        labels=config.labels,
        test=config.test,
        validation=config.validation,
        seed=config.split_seed,
        group=config.group,
        group_heads=config.group_heads,
        votes=config.votes,
    )


def no_rows(source: str, labels: Labels | None, *, scalar: bool = False) -> TrainingData:
    """The label space alone, for a training on pairs: that of `labels`, or of the run folder `source`. A scalar has no
    labels; its record has two."""
    if labels is not None or scalar:
        space = LabelSpace.load(2 if labels is None else labels)
    elif is_run_folder(Path(source)):
        from dprm_data.runs.run import Run

        space = Run.open(Path(source)).space
    else:
        raise TrainingDataError(
            "pairs do not name the labels that the model is to predict",
            hint="Give labels: a bundled name (hh6), a number of levels such as 5, or a YAML file.",
        )
    nothing = Rows([], [], np.array([], dtype=np.str_), np.zeros((0, space.K)), np.zeros(0))
    return TrainingData(space, dict.fromkeys(get_args(Split), nothing), "by prompt", source)


def _with_scalar_pairs(config: RewardConfig, data: TrainingData, name: Literal["train", "validation"]) -> Part:
    rows = data.split(name) if name == "train" else data.splits[name]
    pairs = preference_pairs(rows, data.space.rewards, within=config.pairs, seed=config.split_seed)
    if not len(pairs) and name == "train":
        raise TrainingDataError(
            f"{config.data}: {config.objective} trains on pairs, but no two responses to a prompt differ in reward",
            hint="Set pairs: any to compare responses to different prompts, or choose another objective.",
        )
    return replace(Part.of(rows), pairs=pairs)
