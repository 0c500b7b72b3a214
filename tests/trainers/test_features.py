"""Features of a frozen backbone: what the cache keeps is found only by the backbone that made it, and a warm cache changes no model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    PreTrainedModel,
)

from dprm_trainers.reward.features import features_of
from dprm_trainers.reward.reward_trainer import train_reward
from tests.trainers import tiny

IDS = [[5, 9, 14, 3], [7, 7, 30, 2, 11, 4], [1]]


def model(rope_theta: float = 10_000.0, seed: int = 0, labels: int = 6) -> PreTrainedModel:
    torch.manual_seed(seed)
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    rope = {"rope_type": "default", "rope_theta": rope_theta}
    config = LlamaConfig(vocab_size=64, pad_token_id=0, num_labels=labels, rope_parameters=rope, **shape)
    return LlamaForSequenceClassification(config)


def _most_of_a_matrix(changed: PreTrainedModel) -> None:
    """All but every fourth weight of the embedding, whose sum stays the same."""
    rows = changed.get_input_embeddings().weight.data.view(-1, 4)
    rows[:, 1:] = rows[:, 1:].roll(1, dims=0)


def _two_weights_swapped(changed: PreTrainedModel) -> None:
    weight = changed.get_parameter("model.norm.weight").data
    weight[0], weight[1] = 2.0, 3.0


def _swapped_back(changed: PreTrainedModel) -> None:
    weight = changed.get_parameter("model.norm.weight").data
    weight[0], weight[1] = 3.0, 2.0


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (lambda m: None, _most_of_a_matrix),
        (_two_weights_swapped, _swapped_back),
    ],
)
def test_other_weights_find_no_stale_features(
    tmp_path: Path, first: Callable[[PreTrainedModel], None], second: Callable[[PreTrainedModel], None]
) -> None:
    one, other = model(), model()
    first(one)
    second(other)
    before = features_of(one, IDS, cache=tmp_path)
    after = features_of(other, IDS, cache=tmp_path)
    assert not np.allclose(before, after)
    assert np.array_equal(after, features_of(other, IDS, cache=tmp_path / "empty"))


def test_another_configuration_finds_no_stale_features(tmp_path: Path) -> None:
    before, after = (features_of(model(theta), IDS, cache=tmp_path) for theta in (10_000.0, 100.0))
    assert not np.allclose(before, after)
    assert len(list(tmp_path.iterdir())) == 2


def test_what_does_not_change_features_finds_them(tmp_path: Path) -> None:
    """The head, its labels, and where the backbone came from."""
    before = features_of(model(), IDS, cache=tmp_path)
    model().save_pretrained(tmp_path / "saved")
    again = AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "saved", num_labels=2, ignore_mismatched_sizes=True
    )
    again.config.dprm = {"objective": "ce"}
    assert np.array_equal(before, features_of(again, IDS, cache=tmp_path))
    assert len(list(tmp_path.glob("*.npy"))) == 1


@pytest.mark.slow
def test_a_warm_cache_gives_the_same_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DPRM_CACHE", str(tmp_path / "cache"))
    cold, warm = (
        train_reward(tiny.settings(tmp_path, freeze="backbone", seed=3, output=str(tmp_path / name)))
        for name in ("cold", "warm")
    )
    assert cold.figures["training_loss"] == warm.figures["training_loss"]
    first, second = (
        AutoModelForSequenceClassification.from_pretrained(done.output).state_dict() for done in (cold, warm)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
