"""Rewards for policy training: from prompts and responses as texts to rewards.

Texts are tokenised by the reward model's own tokenizer and chat template, as a policy's token ids mean nothing to it.

**Groups.** With several reward models, one per group of the population (`dprm train reward --group attribute=value`),
or with a model that has heads of groups (`--group-heads attribute`) and `group="least"`, the reward is the group-wise
minimum

    R(x, y) = min over groups g of reading(p_g(. | x, y))

so a policy gains only if the least satisfied group gains. Its mean is at most the least of the groups' mean rewards,
which MaxMin-RLHF (Chakraborty et al., arXiv 2402.08925) maximises: this is a lower bound of that, and stricter, since
one response cannot make up for another. The logged standard deviation and distribution are those of the least satisfied
group, the first at a tie. Heads of one model cost one pass together. (The population's head is not among them.)

Edge cases:

    an empty response               scored as an assistant's turn without text
    a text too long for the model   loses the left of its prompt, as in training, then the left of its response; counted
                                    in `Scores.cut`
    a logit that is not finite      `RewardError`, which names the model and the row
    a prompt without turns          `TrainingError`
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dprm_data.core.arrays import Floats, Ints
from dprm_trainers.core.errors import RewardError, TrainingError
from dprm_trainers.data.rows import Message
from dprm_trainers.data.tokens import encode
from dprm_trainers.reward.reward_model import Judgement, RewardModel
from dprm_trainers.reward.risk_measures import RiskMeasure

LEAST = "least"  # the least satisfied of the groups that have heads


@dataclass(frozen=True)
class Scores:
    """The scores of N responses, in the unit of the labels' rewards.

    reward: (N,), the reading. std: (N,), the standard deviation of the reward over the predicted population; NaN for a
    scalar model. distribution: (N, K), None for a scalar model. worst: (N,), the group (an index into `Scorer.groups`)
    with the least reward; None with one model. cut: the number of texts too long for a model.
    """

    reward: Floats
    std: Floats
    distribution: Floats | None
    worst: Ints | None = None
    cut: int = 0


@dataclass(frozen=True)
class Predictions:
    """The outputs of M models, or heads of groups, for N responses, before any reading.

    logits: (N, M, K). cut: (N,), whether the text was too long for one of the models.
    """

    logits: Floats
    cut: NDArray[np.bool_]


class Scorer:
    """One reward model, or one per group of the population, with a reading."""

    def __init__(
        self,
        models: Sequence[RewardModel],
        *,
        reading: str | RiskMeasure = "mean",
        batch_size: int = 16,
        group: str | None = None,
    ) -> None:
        """group: attribute=value, for the heads of that group; `least`, for those of all groups. Raises `TrainingError`
        if the models cannot be combined, do not support the reading, or have no such heads."""
        if not models:
            raise TrainingError("no reward model was given")
        self.models = tuple(models)
        self.reading = RiskMeasure.of(reading)
        self.batch_size = batch_size
        _check_together(self.models, self.reading)
        self._places = [_places(model, group) for model in self.models]
        self.groups = tuple(name for names in self._places for name in names)
        self.labels: tuple[str, ...] = () if self.models[0].scalar else tuple(self.models[0].space.names)
        self.rewards: tuple[float, ...] = () if not self.labels else tuple(self.models[0].space.rewards.tolist())
        names = [model.name for model in self.models]
        self.name = names[0] if len(names) == 1 else f"min({', '.join(names)})"
        self.name += f", {group}" if group else ""

    @classmethod
    def load(
        cls,
        references: str | Sequence[str],
        *,
        reading: str | RiskMeasure = "mean",
        device: str | None = None,
        batch_size: int = 16,
        bf16: bool = False,
        url: str | Sequence[str] | None = None,
        key_env: str | None = None,
        group: str | None = None,
    ) -> Scorer:
        """Load from folders or the Hub; several models are the groups of a population.

        bf16: half the memory, and rewards to about two digits. url: of a vLLM or SGLang server that has the model, one
        for each; no weights are loaded then. key_env: the environment variable with the server's key. group: see the
        class. Raises `TrainingError`.
        """
        measure = RiskMeasure.of(reading)  # before models are loaded, so that a mistake is reported at once
        names = [references] if isinstance(references, str) else references
        if url is None:
            models = [RewardModel.load(name, device=device, bf16=bf16) for name in names]
        else:
            from dprm_trainers.reward.remote import RemoteModel

            urls = [url] if isinstance(url, str) else list(url)
            if len(urls) != len(names):
                raise TrainingError(f"{len(names)} models and {len(urls)} urls: give one url for each model")
            models = [RemoteModel(name, at, key_env=key_env) for name, at in zip(names, urls, strict=True)]
        return cls(models, reading=measure, batch_size=batch_size, group=group)

    def __call__(self, prompts: Sequence[list[Message]], responses: Sequence[str]) -> Scores:
        """The scores of N responses (texts), each to its prompt (turns). Raises `TrainingError` (see the module)."""
        return self.read(self.predict(prompts, responses))

    def predict(self, prompts: Sequence[list[Message]], responses: Sequence[str]) -> Predictions:
        """Run the models on N responses.

        This is the expensive part; any reading of the result is cheap. Raises `TrainingError`.
        """
        if len(prompts) != len(responses):
            raise TrainingError(
                f"{len(prompts)} prompts and {len(responses)} responses: give one response for each prompt"
            )
        empty = next((row for row, prompt in enumerate(prompts) if not prompt), None)
        if empty is not None:
            raise TrainingError(f"row {empty + 1}: the prompt has no turns")
        pairs = zip(self.models, self._places, strict=True)
        found = [self._logits_of(model, list(places.values()), prompts, responses) for model, places in pairs]
        logits = np.concatenate([every for every, _ in found], axis=1)
        return Predictions(logits, np.any([cut for _, cut in found], axis=0))

    def read(self, predictions: Predictions, reading: str | RiskMeasure | None = None) -> Scores:
        """The scores in predictions. reading: the scorer's own if None.

        Raises `TrainingError` if the models do not support the reading.
        """
        measure = self.reading if reading is None else RiskMeasure.of(reading)
        models = [model for model, places in zip(self.models, self._places, strict=True) for _ in places]
        judged = [model.read(predictions.logits[:, m], measure) for m, model in enumerate(models)]
        return _least(judged, int(predictions.cut.sum()))

    def _logits_of(
        self, model: RewardModel, places: list[int], prompts: Sequence[list[Message]], responses: Sequence[str]
    ) -> tuple[Floats, list[bool]]:
        """The logits of some of a model's heads (N, M, K), and which texts were too long."""
        rows = [
            encode(
                model.tokenizer,
                [prompt],
                [[{"role": "assistant", "content": response}]],
                model.max_length,
                overlong="truncate",
            )
            for prompt, response in zip(prompts, responses, strict=True)
        ]
        ids = [row.ids[0] for row in rows]
        logits = (
            model.logits(ids, self.batch_size)[:, None] if places == [0] else model.all_logits(ids, self.batch_size)
        )
        logits = logits[:, places]
        broken = ~np.isfinite(logits).all(axis=(1, 2))
        if broken.any():
            raise RewardError(
                f"{model.name} gives logits that are not finite for {int(broken.sum())} of {len(logits)} responses "
                f"(the first: row {int(broken.argmax()) + 1})",
                hint="Its weights are broken or overflow; `dprm eval reward` shows how good it is.",
            )
        return logits, [row.cut > 0 for row in rows]


def _check_together(models: tuple[RewardModel, ...], measure: RiskMeasure) -> None:
    first = models[0]
    for model in models:
        model.checked(measure)
        if model.scalar and len(models) > 1:
            raise TrainingError(
                f"{model.name} predicts one scalar: scalars of different models have no common zero, so their minimum "
                "means nothing",
                hint="Give models that predict distributions, one per group.",
            )
        if model.space.names != first.space.names or not np.array_equal(model.space.rewards, first.space.rewards):
            raise TrainingError(
                f"{model.name} and {first.name} are on different labels or rewards: their readings cannot be compared",
                hint="Train the models of all groups on one label space.",
            )


def _places(model: RewardModel, group: str | None) -> dict[str, int]:
    """Which heads of a model are read, by name: the population's, a group's, or those of all groups."""
    if group is None:
        return {_group_of(model): 0}
    names = model.groups if group == LEAST and model.groups else (group,)
    return {name: model.place(name) for name in names}


def _group_of(model: RewardModel) -> str:
    """The group that the model was trained on; its own name if it was trained on everyone."""
    group = model.info.get("group")
    return f"{group['attribute']}={group['value']}" if group else model.name


def _least(judged: Sequence[Judgement], cut: int) -> Scores:
    """The least reward over the models for each row, with the standard deviation and distribution that belong to it."""
    if len(judged) == 1:
        return Scores(judged[0].reward, judged[0].std, judged[0].distribution, cut=cut)
    rewards = np.stack([found.reward for found in judged])
    worst = rewards.argmin(axis=0)
    rows = np.arange(len(worst))
    distributions = np.stack([found.distribution for found in judged if found.distribution is not None])
    return Scores(
        rewards[worst, rows],
        np.stack([found.std for found in judged])[worst, rows],
        distributions[worst, rows],
        worst,
        cut,
    )
