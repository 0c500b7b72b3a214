"""A trained reward model in use: conversations in, distributions and rewards out.

`dprm train reward` saves a plain `AutoModelForSequenceClassification` with one output per label, which stock
transformers and vLLM's classify load: the softmax of its logits is the preference distribution. (With mean pooling it
is a model of sentence-transformers: `dprm_trainers.reward.pooling`.) Label names are in
`id2label`; the label space with rewards and ground cost is in the config under `dprm`. A calibrated temperature is
already in the head's weights.

**The mean and the paper's theory.** Under the ground cost c_i = r_best - r_i of moving mass from label i to the best
label, the cost of transport from p to the one-hot distribution at the best label is sum p_i (r_best - r_i) = r_best -
sum p_i r_i, since all mass must move there. So maximising the expected reward *is* minimising that transport. The label
space's cost |r_i - r_j| gives the same number, since no reward exceeds r_best. With two labels the mean is r_0 + (r_1 -
r_0) sigmoid(z_1 - z_0), which ranks by z_1 - z_0 like a scalar reward model; on unanimous (one-hot) labels its
cross-entropy is logistic regression.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dprm_data.core.arrays import Floats
from dprm_trainers.core.errors import TrainingError
from dprm_trainers.core.loading import CONFIG, loading
from dprm_trainers.data.rows import Message
from dprm_trainers.data.token_table import TokenRows
from dprm_trainers.data.tokens import context_length, encode, prepare_tokenizer
from dprm_trainers.reward.features import padded
from dprm_trainers.reward.group_heads import GroupHeads, named_head
from dprm_trainers.reward.pooling import load_classifier, pool_by_mean, pooled_by_us
from dprm_trainers.reward.reward_record import checked_record
from dprm_trainers.reward.risk_measures import RiskMeasure, reward_std

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


_HINT = "Give a folder written by `dprm train reward`, or the name of such a model on the Hub."


@dataclass(frozen=True)
class Judgement:
    """The predictions for N responses: reward (N,), the reading; std (N,); distribution (N, K).

    std: the standard deviation of the reward over the predicted population, not the model's uncertainty. For a scalar
    model it is NaN, and the distribution is None. groups: (N, 1 + G, K), the distributions of the population and of
    every group that has a head, where they were asked for.
    """

    reward: Floats
    std: Floats
    distribution: Floats | None
    groups: Floats | None = None


class RewardModel:
    """A DPRM (or a scalar BT-RM) with its tokenizer and label space, and with heads of groups where it has some."""

    heads: GroupHeads | None = None

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        name: str = "",
        *,
        heads: GroupHeads | None = None,
    ) -> None:
        self.heads = heads
        if pooled_by_us(model.config):
            pool_by_mean(model)
        self.model = model.train(False)
        self._describe(model.config, tokenizer, name or str(model.config.name_or_path))

    def _describe(self, config: Any, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
        """Take over what is known without the weights. Raises `TrainingError` if it does not fit together."""
        self.tokenizer, self.name = tokenizer, name
        self.info: dict[str, Any] = getattr(config, "dprm", None) or {}
        record = checked_record(self.info, self.name)
        self.space, self.scalar = record.label_space, record.scalar
        outputs = 1 if self.scalar else self.space.K
        if config.num_labels != outputs:
            raise TrainingError(f"{self.name} has {config.num_labels} outputs, its label space {outputs}")
        self.max_length = context_length(config, self.info.get("max_length"))

    @classmethod
    def load(cls, reference: str, *, device: str | None = None, bf16: bool = False) -> RewardModel:
        """A model from a folder or the Hub, in float32 or, with bf16, in half the memory. device: by default a GPU if
        there is one.

        Raises `TrainingError` if it cannot be loaded or was not trained by `dprm train reward`.
        """
        from transformers import AutoTokenizer

        record = checked_record(training_of(reference), reference)
        with loading(f"the reward model {reference}", _HINT):
            dtype = torch.bfloat16 if bf16 else torch.float32
            model, lacking = load_classifier(reference, dtype=dtype)
            tokenizer = AutoTokenizer.from_pretrained(reference, **CONFIG)
        if lacking:
            raise TrainingError(
                f"{reference} lacks weights of a reward model: {', '.join(lacking[:3])}",
                hint="They would be initialised at random. Give a complete model.",
            )
        heads = None
        if record.group_heads is not None:
            width = named_head(model)[1].in_features
            heads = GroupHeads.load(reference, record.group_heads, record.label_space.K, width)
        target = device or ("cuda" if torch.cuda.is_available() else "cpu")
        on_device: Any = model
        try:
            on_device = on_device.to(target)
        except (RuntimeError, AssertionError) as error:  # from torch, for a missing or full device
            raise TrainingError(f"{reference} cannot be moved to the device {target}: {error}") from error
        return cls(on_device, prepare_tokenizer(tokenizer), name=reference, heads=heads)

    @property
    def groups(self) -> tuple[str, ...]:
        """`attribute=value` of every group that has a head."""
        return () if self.heads is None else self.heads.names

    def judge(
        self,
        prompts: Sequence[list[Message]],
        completions: Sequence[list[Message]],
        *,
        reading: str | RiskMeasure = "mean",
        batch_size: int = 16,
        group: str | None = None,
    ) -> Judgement:
        """The predictions for every response. Texts that are too long lose their left. group: attribute=value, for what
        that group says. Raises `TrainingError` if it has no head."""
        place = None if group is None else self.place(group)
        encoded = encode(self.tokenizer, list(prompts), list(completions), self.max_length, overlong="truncate")
        if place is None:
            return self.read(self.logits(encoded.ids, batch_size), reading)
        return self.read(self.all_logits(encoded.ids, batch_size)[:, place], reading)

    def place(self, group: str) -> int:
        """Where in `all_logits` a group is. Raises `TrainingError` if it has no head."""
        if self.heads is None:
            raise TrainingError(
                f"{self.name} has no heads of groups",
                hint="Train with --group-heads attribute, or leave the group out.",
            )
        return 1 + self.heads.place(group, self.name)

    def read(self, logits: Floats, reading: str | RiskMeasure = "mean") -> Judgement:
        """The predictions in logits (N, d)."""
        measure = self.checked(reading)
        if self.scalar:
            return Judgement(logits[:, 0], np.full(len(logits), np.nan), None)
        p = softmax(logits)
        return Judgement(measure(p, self.space.rewards), reward_std(p, self.space.rewards), p)

    def checked(self, reading: str | RiskMeasure) -> RiskMeasure:
        """The risk measure. Raises `TrainingError` for one that needs a distribution if the model predicts a scalar."""
        measure = RiskMeasure.of(reading)
        if self.scalar and measure.needs_distribution:
            raise TrainingError(
                f"{self.name} predicts one scalar: there is no distribution for the reading {measure.name}"
            )
        return measure

    @torch.inference_mode()
    def logits(self, ids: TokenRows, batch_size: int = 16) -> Floats:
        """Logits (N, d) of token ids, in batches of rows of similar length."""
        return self._run(ids, batch_size, int(self.model.config.num_labels or 1))

    @torch.inference_mode()
    def all_logits(self, ids: TokenRows, batch_size: int = 16) -> Floats:
        """The population's logits and then those of every group, (N, 1 + G, K): the backbone reads each row once."""
        if self.heads is None:
            return self.logits(ids, batch_size)[:, None]
        K = self.space.K
        with self.heads.on(self.model):
            found = self._run(ids, batch_size, K * (1 + len(self.heads.values)))
        return found.reshape(len(ids), -1, K)

    def _run(self, ids: TokenRows, batch_size: int, outputs: int) -> Floats:
        order = sorted(range(len(ids)), key=lambda i: -len(ids[i]))
        out = np.zeros((len(ids), outputs))
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            batch = padded([ids[i] for i in rows], self.model.config.pad_token_id or 0)
            found = self.model(**{name: value.to(self.model.device) for name, value in batch.items()}).logits
            out[rows] = found.float().cpu().numpy()
        return out


def open_reward_model(reference: str) -> tuple[Any, PreTrainedTokenizerBase]:
    """Configuration and tokenizer of a reward model, without its weights. Raises `TrainingError`."""
    from transformers import AutoConfig, AutoTokenizer

    training_of(reference)
    with loading(f"the reward model {reference}", _HINT):
        config = AutoConfig.from_pretrained(reference, **CONFIG)
        return config, prepare_tokenizer(AutoTokenizer.from_pretrained(reference, **CONFIG))


def training_of(reference: str) -> dict[str, Any]:
    """The record of its training in a reward model (a folder, or a name on the Hub): `dprm` in its config. No weights
    are read.

    Raises `TrainingError` if there is none.
    """
    from transformers import PretrainedConfig

    with loading(f"the reward model {reference}", _HINT):
        settings, _ = PretrainedConfig.get_config_dict(reference)
        record = settings.get("dprm")
    if not record:
        raise TrainingError(
            f"{reference} is not a reward model of dprm: its config has no `dprm`",
            hint="Give a model trained by `dprm train reward`.",
        )
    checked_record(record, reference)
    return dict(record)


def softmax(logits: Floats) -> Floats:
    """Rows of probabilities (…, K), in float64."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True))
