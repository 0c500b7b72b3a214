"""The estimate of memory beside what autograd, gradients and the optimizer really hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks
from transformers import BertConfig, BertForSequenceClassification, LlamaConfig, LlamaForSequenceClassification

from dprm_trainers.reward.memory_estimate import estimate
from dprm_trainers.reward.pretrained import with_lora
from dprm_trainers.reward.reward_trainer import train_reward
from tests.trainers import tiny

ROWS, TOKENS = 4, 96
SIZES = {
    "hidden_size": 64,
    "intermediate_size": 192,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "vocab_size": 64,
}


def llama() -> Any:
    return LlamaForSequenceClassification(LlamaConfig(**SIZES, num_key_value_heads=2, num_labels=6, pad_token_id=0))


def bert() -> Any:
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return BertForSequenceClassification(BertConfig(**SIZES, **still, num_labels=6, pad_token_id=0))


def held(module: Any, **inputs: Any) -> tuple[int, int, int]:
    """Bytes that a step keeps for its backward pass (weights apart), of its gradients, and of AdamW's moments."""
    weights = {weight.untyped_storage().data_ptr() for weight in module.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    optimizer = torch.optim.AdamW([weight for weight in module.parameters() if weight.requires_grad])
    with saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = module(**inputs).logits.pow(2).mean()
    loss.backward()
    gradients = sum(weight.grad.nbytes for weight in module.parameters() if weight.grad is not None)
    optimizer.step()
    moments = [value for state in optimizer.state.values() for name, value in state.items() if name != "step"]
    return sum(kept.values()), gradients, sum(moment.nbytes for moment in moments)


@pytest.mark.parametrize("make", [llama, bert])
@pytest.mark.parametrize("lora", [0, 8])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_parts_are_what_a_step_holds(make: Any, lora: int, checkpointing: bool) -> None:
    torch.manual_seed(0)
    module = make()
    config = module.config
    if lora:
        module = with_lora(module, rank=lora, alpha=None, targets="all-linear")
    if checkpointing:
        module.gradient_checkpointing_enable()
        if lora:
            module.enable_input_require_grads()
    module.train()
    found = estimate(module, config, rows=ROWS, tokens=TOKENS, bf16=False, checkpointing=checkpointing)
    activations, gradients, moments = held(module, input_ids=torch.randint(3, 64, (ROWS, TOKENS)))
    assert found.weights == sum(weight.nbytes for weight in module.parameters())
    assert (found.gradients, found.optimizer) == (gradients, moments)
    if not checkpointing:  # there the hooks see the inputs of layers only, not the layer that is computed again
        assert 0.7 < activations / found.activations < 1.3
    else:
        assert activations < found.activations


def test_shards_and_bf16() -> None:
    module = llama()
    whole = estimate(module, module.config, rows=1, tokens=8, bf16=False, checkpointing=False)
    half = estimate(module, module.config, rows=1, tokens=8, bf16=False, checkpointing=False, shards=2)
    assert (half.weights, half.gradients, half.optimizer) == (
        whole.weights / 2,
        whole.gradients / 2,
        whole.optimizer / 2,
    )
    assert half.gathered > 0 == whole.gathered and half.activations == whole.activations
    frozen = with_lora(llama().bfloat16(), rank=4, alpha=None, targets="all-linear")
    small = estimate(frozen, module.config, rows=1, tokens=8, bf16=True, checkpointing=False)
    assert small.weights < 0.7 * whole.weights and small.optimizer < 0.3 * whole.optimizer
    assert small.activations < 0.8 * whole.activations


def test_a_training_says_it_first(tmp_path: Path) -> None:
    said: list[str] = []
    train_reward(tiny.settings(tmp_path), said.append)
    places = [
        i for i, line in enumerate(said) for word in ("memory of each process: about", "epoch 1:") if word in line
    ]
    assert len(places) == 2 and places == sorted(places)
