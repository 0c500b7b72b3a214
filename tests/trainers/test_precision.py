"""What stays float32 where the rest is bf16, and what a training says of its speed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from dprm_data.core.errors import DprmError
from dprm_trainers.reward.pretrained import load_model, load_tokenizer
from dprm_trainers.reward.reward_trainer import RewardTrainer, train_reward, with_adapters
from dprm_trainers.reward.throughput import flops_per_token, utilisation
from tests.trainers import tiny


def test_only_what_is_not_trained_is_bf16(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}
    compute = RewardTrainer.compute_loss

    def watched(self: Any, model: Any, inputs: Any, *args: Any, **more: Any) -> Any:
        seen["trained"] = {weight.dtype for weight in model.parameters() if weight.requires_grad}
        seen["kept"] = {
            weight.dtype
            for name, weight in model.named_parameters()
            if not weight.requires_grad and "original_module" not in name
        }
        return compute(self, model, inputs, *args, **more)

    monkeypatch.setattr(RewardTrainer, "compute_loss", watched)
    trained = train_reward(tiny.settings(tmp_path, objective="ot", lora=4, weights="bf16", checkpointing=True))
    assert seen == {"trained": {torch.float32}, "kept": {torch.bfloat16}}
    saved = AutoModelForSequenceClassification.from_pretrained(trained.output, dtype="auto")
    assert {weight.dtype for weight in saved.parameters()} == {torch.float32}  # merged without rounding
    assert trained.figures["validation_loss"] < 0.5


def test_logits_are_float32_under_autocast(tmp_path: Path) -> None:
    settings = tiny.settings(tmp_path, lora=4)
    tokenizer, model_config, length = load_tokenizer(settings, tiny.SPACE)
    model = load_model(settings, model_config, tokenizer, tiny.SPACE, length)
    module = with_adapters(model, settings)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = module(input_ids=torch.tensor([[5, 6, 7]])).logits
    assert logits.dtype == torch.float32
    assert not torch.equal(logits, logits.bfloat16().float())


def test_weights_that_are_trained_are_not_bf16(tmp_path: Path) -> None:
    with pytest.raises(DprmError, match="weights: bf16 needs lora"):
        tiny.settings(tmp_path, weights="bf16")


def test_an_absent_tracker_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformers.integrations.integration_utils.is_tensorboard_available", lambda: False)
    with pytest.raises(DprmError, match=r"(?i)tensorboard"):
        train_reward(tiny.settings(tmp_path, report_to="tensorboard"))


def test_flops_of_a_token(tmp_path: Path) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(tiny.reward_model(tmp_path / "model"))
    weights = sum(weight.numel() for name, weight in model.named_parameters() if "embed_tokens" not in name)
    assert flops_per_token(model) == 6 * weights
    model.model.requires_grad_(False)
    head = sum(weight.numel() for weight in model.score.parameters())
    assert flops_per_token(model) == 4 * weights + 2 * head
    assert utilisation(989e12, "NVIDIA H100 80GB HBM3", 2) == pytest.approx(0.5)
    assert utilisation(1e12, "a GPU of tomorrow", 1) is None
