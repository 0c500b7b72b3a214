"""Frozen weights in four bits under adapters: what is trained, what it takes, and that what is saved is what was trained."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from dprm_data.core.errors import DprmError
from dprm_trainers.data.rows import load_data
from dprm_trainers.reward.memory_estimate import estimate
from dprm_trainers.reward.pretrained import load_model, load_tokenizer
from dprm_trainers.reward.quantised import count, is_quantised, merged, size
from dprm_trainers.reward.reward_model import RewardModel
from dprm_trainers.reward.reward_trainer import train_reward, with_adapters
from dprm_trainers.reward.throughput import flops_per_token
from tests.trainers import tiny

pytest.importorskip("bitsandbytes")


def adapted(settings: Any) -> Any:
    """A model with adapters that change it."""
    tokenizer, model_config, length = load_tokenizer(settings, tiny.SPACE)
    module = with_adapters(load_model(settings, model_config, tokenizer, tiny.SPACE, length), settings)
    torch.manual_seed(0)
    for name, weight in module.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    return module.train(False)


@pytest.mark.parametrize("targets", ["all-linear", ["q_proj", "v_proj"]], ids=str)
@pytest.mark.parametrize("base", ["decoder", "encoder"])
def test_what_is_saved_computes_what_was_trained(tmp_path: Path, base: str, targets: Any) -> None:
    model = tiny.encoder(tmp_path / "base") if base == "encoder" else tiny.base_model(tmp_path / "base")
    targets = ["query", "value"] if base == "encoder" and targets != "all-linear" else targets
    settings = tiny.settings(
        tmp_path, model=str(model), lora=4, lora_targets=targets, weights="nf4", precision="fp32", pooling="last"
    )
    module = adapted(settings)
    assert is_quantised(module)
    ids = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 12]])
    before = module(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    head = [weight for name, weight in module.named_parameters() if "modules_to_save" in name]
    assert head and not any(is_quantised(torch.nn.ParameterList([weight])) for weight in head)
    whole = merged(module)
    whole.save_pretrained(tmp_path / "saved")
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved").train(False)
    assert {weight.dtype for weight in plain.parameters()} == {torch.float32} and not is_quantised(plain)
    assert not hasattr(plain.config, "quantization_config")
    after = plain(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    torch.testing.assert_close(after, before, atol=2e-2, rtol=0)  # activations of the four-bit model pass through bf16
    assert (after - before).abs().mean() < 0.2 * before.std()


def test_a_training_from_end_to_end(tmp_path: Path) -> None:
    said: list[str] = []
    trained = train_reward(tiny.settings(tmp_path, lora=4, weights="nf4", checkpointing=True, epochs=6), said.append)
    last = next(line for line in reversed(said) if "(constant: " in line)
    constant = float(last.rpartition("(constant: ")[2].partition(")")[0])
    assert trained.figures["validation_loss"] < 0.9 * constant
    rows = load_data(tmp_path / "data.parquet", labels="hh6").split("test")
    model = RewardModel.load(str(trained.output))
    assert model.judge(rows.prompts, rows.completions).distribution is not None
    assert "nf4" in (trained.output / "dprm_training.json").read_text()


def test_what_it_takes(tmp_path: Path) -> None:
    folder = tiny.reward_model(tmp_path / "wide", hidden=256)
    found = {}
    for weights in ("bf16", "nf4"):
        module = adapted(tiny.settings(tmp_path, model=str(folder), lora=4, weights=weights))
        frozen = [weight for name, weight in module.named_parameters() if "_proj.base_layer" in name]
        found[weights] = sum(map(count, frozen)), sum(map(size, frozen)), flops_per_token(module)
        told = estimate(module, module.config, rows=2, tokens=8, bf16=False, checkpointing=False)
        assert f"of {sum(map(count, module.parameters())):,} weights" in str(told)
    (numbers, full, flops), (same, quantised, as_many) = found["bf16"], found["nf4"]
    assert same == numbers and as_many == flops
    assert full == 2 * numbers and quantised < 0.54 * numbers


def test_what_cannot_be_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DprmError, match="weights: nf4 needs lora"):
        tiny.settings(tmp_path, weights="nf4")
    with pytest.raises(DprmError, match="not for weights that are spread"):
        train_reward(tiny.settings(tmp_path, lora=4, weights="nf4", trainer={"fsdp": True}))
    real = builtins.__import__

    def absent(name: str, *args: Any, **more: Any) -> Any:
        if name == "bitsandbytes":
            raise ImportError(name="bitsandbytes")
        return real(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(
        DprmError, match=r"needs the package bitsandbytes, which is not installed\n.*dprm-data\[qlora\]"
    ):
        train_reward(tiny.settings(tmp_path, lora=4, weights="nf4"))


def test_attention_is_computed_as_asked(tmp_path: Path) -> None:
    settings = tiny.settings(tmp_path, attention="eager")
    tokenizer, model_config, length = load_tokenizer(settings, tiny.SPACE)
    assert load_model(settings, model_config, tokenizer, tiny.SPACE, length).config._attn_implementation == "eager"
    settings = tiny.settings(tmp_path, attention="unheard-of")
    with pytest.raises(DprmError, match="unheard-of"):
        load_model(settings, model_config, tokenizer, tiny.SPACE, length)
