"""Cards for models trained on a dataset: a reward model that predicts distributions, and a policy aligned with it.

The trainers pass plain values; nothing here imports torch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dprm_data.core.errors import InputError
from dprm_data.core.markdown import as_code
from dprm_data.publish.cards import render_card


@dataclass(frozen=True, kw_only=True)
class TrainedOn:
    """The data behind a model. dataset: owner/name or a folder; revision: its tag or commit; simulated: the share of labels given by a
    language model, None if unknown."""

    dataset: str
    revision: str | None = None
    simulated: float | None = None
    rows: int | None = None


@dataclass(frozen=True, kw_only=True)
class _ModelCard:
    """What every trained model's card has. training and evaluation: names and values, shown in this order; baselines: by name, the same
    evaluation of what the model must beat."""

    name: str
    base_model: str
    data: TrainedOn
    training: Mapping[str, Any] = field(default_factory=dict)
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    baselines: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    license: str | None = None
    notes: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class RewardModelCard(_ModelCard):
    """The card of a reward model. labels: name and reward, in the head's order; loss: the objective, in words; pooling: `mean` if the
    model is in the layout of sentence-transformers."""

    labels: Sequence[tuple[str, float]]
    loss: str
    pooling: str = "last"

    def render(self) -> str:
        """The README.md. Raises `InputError` if there are fewer than two labels."""
        if len(self.labels) < 2:
            raise InputError("a reward model's card needs its labels: at least two, each with its reward")
        metadata = _metadata(self.name, self.base_model, self.data, self.license)
        metadata |= {
            "pipeline_tag": "text-classification",
            "tags": ["dprm", "reward-model", "preference-distributions"],
        }
        return render_card("reward_model", metadata, _values(self) | {"labels": list(self.labels)})


@dataclass(frozen=True, kw_only=True)
class PolicyCard(_ModelCard):
    """The card of a policy.

    method: PPO, GRPO, ...; reward_model: the model whose `reading` it was trained for; distribution: a label's name and its mean predicted
    share over the responses at the beginning and at the end of training, in the order shown.
    """

    reward_model: str
    method: str
    reading: str = "mean"
    distribution: Sequence[tuple[str, float, float]] = ()

    def render(self) -> str:
        """The README.md."""
        metadata = _metadata(self.name, self.base_model, self.data, self.license)
        metadata |= {"pipeline_tag": "text-generation", "tags": ["dprm", "rlhf", self.method.lower()]}
        return render_card("policy", metadata, _values(self))


def on_the_hub(reference: str) -> bool:
    """Whether this is a repository on the Hub (owner/name) rather than a folder."""
    return re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", reference, re.ASCII) is not None and not Path(reference).exists()


def _link(reference: str, kind: str = "") -> str:
    """The reference, as a link if it is on the Hub."""
    return f"[{reference}](https://huggingface.co/{kind}{reference})" if on_the_hub(reference) else as_code(reference)


def _metadata(name: str, base_model: str, data: TrainedOn, license: str | None) -> dict[str, Any]:
    content: dict[str, Any] = {"model_name": name, "library_name": "transformers"}
    if on_the_hub(base_model):
        content["base_model"] = base_model
    if on_the_hub(data.dataset):
        content["datasets"] = [data.dataset]
    return content | ({"license": license} if license else {})


def _values(card: _ModelCard) -> dict[str, Any]:
    figures = list(dict.fromkeys([*card.evaluation, *(name for other in card.baselines.values() for name in other)]))
    links = {"base_link": _link(card.base_model), "data_link": _link(card.data.dataset, "datasets/")}
    if isinstance(card, PolicyCard):
        links["reward_link"] = _link(card.reward_model)
    return {name: getattr(card, name) for name in card.__dataclass_fields__} | links | {"figures": figures}
