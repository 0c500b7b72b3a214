"""The simplest rivals of a reward model, made of the same training rows: what it must beat to be worth its size.

constant         the mean distribution of the training rows: it knows the population, not the texts
TF-IDF + ridge   ridge regression of the distributions on the words and characters of prompt and response
the longer one   rewards by length: for the order of responses only
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dprm_data.core.arrays import Floats, Ints
from dprm_data.core.extras import install_command
from dprm_data.labels.geometry import cdf_difference, reward_order
from dprm_data.labels.space import LabelSpace
from dprm_data.labels.statistics import Interval, Resamples
from dprm_data.preference.pairs import outcomes
from dprm_data.preference.text_features import TfIdf
from dprm_data.preference.text_ridge import FOLDS, folds, out_of_fold
from dprm_trainers.data.rows import Message, Rows, TrainingData

CONSTANT, TEXT, LONGER = "constant", "TF-IDF + ridge", "the longer one"
_RPS = "RPS"
_LEAST = 1e-12
_SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0)  # of the constant in the regression's predictions
_NO_SKLEARN = f"{TEXT} is not compared: it needs scikit-learn: {install_command('train')}"
_TOO_LITTLE = f"{TEXT} is not compared: there are too few prompts, or no word occurs twice in the training rows"


def constant(train: Rows, count: int) -> Floats:
    """The mean distribution of the training rows, for `count` responses: (count, K)."""
    return np.tile(train.target.mean(axis=0), (count, 1))


def by_text(train: Rows, rows: Rows) -> Floats | str:
    """The distributions (N, K) that TF-IDF and ridge regression predict for other rows; a sentence where they cannot.

    Penalty and share of the constant (a regression's predictions may be negative) have the least error out of fold.
    """
    if importlib.util.find_spec("sklearn") is None or importlib.util.find_spec("threadpoolctl") is None:
        return _NO_SKLEARN
    fold = folds(np.array([_hash(group) for group in train.groups]))
    words = TfIdf()
    features = words.fit(_fields(train))
    if len(np.unique(fold)) < FOLDS or not features.shape[1]:
        return _TOO_LITTLE
    found = out_of_fold(features, train.target, fold)
    base = train.target.mean(axis=0)
    errors = [cross_entropy(_mixed(found.predicted, base, share), train.target).mean() for share in _SHARES]
    others = words.transform(_fields(rows))
    mean = np.mean([model.predict(others).reshape(len(rows), -1) for model in found.models], axis=0)
    return _mixed(mean, base, _SHARES[int(np.argmin(errors))])


def lengths(completions: Sequence[list[Message]]) -> Floats:
    """The characters of every response (N,)."""
    return np.array([sum(len(turn["content"]) for turn in turns) for turns in completions], dtype=np.float64)


def cross_entropy(p: Floats, q: Floats) -> Floats:
    """-sum q log p: (N,), in nats: the negative log-likelihood of the held-out population."""
    return np.asarray(-(q * np.log(np.maximum(p, _LEAST))).sum(axis=1))


def rps(p: Floats, q: Floats, space: LabelSpace) -> Floats:
    """The ranked probability score of every row of p against q (N, K): the mean squared difference of their distribution
    functions at the K - 1 cuts between labels in the order of their rewards, (N,). Proper."""
    return np.asarray((cdf_difference(p, q, reward_order(space.rewards)) ** 2).mean(axis=1))


@dataclass(frozen=True)
class Comparison:
    """A model beside a rival: its mean error and the rival's, and their paired difference (below 0: the model is better).

    measure: `RPS`, or `errors on pairs` for a model that predicts a scalar alone.
    """

    model: str
    rival: str
    measure: str
    own: float
    other: float
    difference: Interval

    @property
    def beaten(self) -> bool:
        """Whether the rival is worse beyond the interval of the difference."""
        return self.difference.high is not None and self.difference.high < 0

    @property
    def verb(self) -> str:
        """`beats`, `does not beat`, or, where the model is worse beyond the interval, `is worse than`."""
        worse = self.difference.low is not None and self.difference.low > 0
        return "beats" if self.beaten else "is worse than" if worse else "does not beat"

    def __str__(self) -> str:
        return (
            f"{self.model} {self.verb} {self.rival}: {self.measure} {self.own:.3f} against {self.other:.3f}, "
            f"difference {self.difference}"
        )


def comparisons(
    model: str,
    predicted: Floats | None,
    reward: Floats,
    rivals: Mapping[str, Floats],
    target: Floats,
    space: LabelSpace,
    draws: Resamples,
    pairs: Ints,
) -> list[Comparison]:
    """A model beside every rival (name to distributions, (N, K)): by RPS, or, where it predicts a scalar alone, by its
    errors on pairs (P, 2). The constant has no order, so half of its pairs count as errors."""
    found = []
    for rival, p in rivals.items():
        if predicted is not None:
            own, other = rps(predicted, target, space), rps(p, target, space)
            measure, rows = _RPS, None
        elif len(pairs):
            own, other = 1 - outcomes(reward, pairs), 1 - outcomes(p @ space.rewards, pairs)
            measure, rows = "errors on pairs", pairs[:, 0]
        else:
            continue
        difference = draws.mean(own - other, rows)
        found.append(Comparison(model, rival, measure, float(own.mean()), float(other.mean()), difference))
    return found


def verdicts(found: Iterable[Comparison]) -> list[str]:
    """A sentence for every rival that a model does not beat. A scalar model is not held to the constant, which has no
    order."""
    return [str(each) for each in found if not each.beaten and (each.measure == _RPS or each.rival != CONSTANT)]


def on_validation(data: TrainingData, predicted: Floats | None, reward: Floats, pairs: Ints | None) -> list[str]:
    """What is to be said of a model's predictions on the validation split: the rivals that it does not beat."""
    train, rows = data.splits["train"], data.splits["validation"]
    text = by_text(train, rows)
    rivals = {CONSTANT: constant(train, len(rows))} | ({} if isinstance(text, str) else {TEXT: text})
    some = pairs if pairs is not None else np.zeros((0, 2), dtype=np.int64)
    draws = Resamples.of(rows.groups)
    found = comparisons("the model", predicted, reward, rivals, rows.target, data.space, draws, some)
    return [f"on {len(rows)} validation rows {note}" for note in verdicts(found)] + (
        [text] if isinstance(text, str) else []
    )


def _fields(rows: Rows) -> list[list[str]]:
    return [
        ["\n".join(turn["content"] for turn in turns) for turns in part] for part in (rows.prompts, rows.completions)
    ]


def _mixed(predicted: Floats, base: Floats, share: float) -> Floats:
    p = np.clip(predicted, 0.0, None)
    total = p.sum(axis=1, keepdims=True)
    p = np.where(total > 0, p / np.where(total > 0, total, 1.0), base)
    return np.asarray((1 - share) * p + share * base)


def _hash(text: str) -> int:
    return int(hashlib.sha256(str(text).encode()).hexdigest()[:15], 16)
