"""Which numbers are float32 whatever else is bf16: what is trained, the output layer, and the loss.

bf16 keeps 8 bits of a number: a step of 1e-5 of a weight is lost in it. So `weights: bf16` is for weights that are not
trained, under adapters. Logits in bf16 have steps of .03 at 4 to 8; the output layer therefore computes in float32,
under autocast too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Float32Linear(nn.Linear):
    """A linear layer that computes in float32, whatever its input and its (perhaps gathered) weights are in."""

    def forward(self, input: Tensor) -> Tensor:
        with torch.autocast(input.device.type, enabled=False):
            bias = None if self.bias is None else self.bias.float()
            return functional.linear(input.float(), self.weight.float(), bias)


def float32_output(model: PreTrainedModel) -> None:
    """Make the classifier's output layer one that computes in float32. Its name and its weights' values stay."""
    inside = {id(module) for module in model.base_model.modules()}
    outputs = [part for part in model.modules() if isinstance(part, nn.Linear) and id(part) not in inside]
    if outputs:
        last: Any = outputs[-1].float()
        last.__class__ = Float32Linear


def float32_trained(module: nn.Module) -> None:
    """Hold every weight that is trained in float32."""
    for weight in module.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()
