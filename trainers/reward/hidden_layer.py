"""A hidden layer between the mean of a frozen backbone and the head: logits = W tanh(V x + b) + c.

It is trained on cached features (`dprm_trainers.reward.features`), standardised: z = (x - m) / s with their mean m and
standard deviation s. That is linear, so `fold` writes it into V and b, and what is saved reads the mean itself. V belongs
to the backbone from then on, under the name `hidden_head`: the model's head is one linear layer still.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from dprm_trainers.reward.features import head_name, linear_head

if TYPE_CHECKING:
    from transformers import PreTrainedModel

HIDDEN = "hidden_head"
_DROPOUT = 0.3


def add_hidden(model: PreTrainedModel, units: int) -> None:
    """Put a layer of this many units, not trained yet, between the mean and a new head."""
    head = linear_head(model)
    name = head_name(model)
    model.base_model.add_module(HIDDEN, nn.Linear(head.in_features, units).to(head.weight))
    model.set_submodule(name, nn.Linear(units, head.out_features).to(head.weight))


def through_hidden(model: Any, mean: Tensor) -> Tensor:
    """What the head reads of the means (B, H) of texts: (B, H) itself, or the hidden layer's output."""
    layer = getattr(model.base_model, HIDDEN, None)
    return mean if layer is None else torch.tanh(layer(mean))


class HiddenHead(nn.Module):
    """The trainable part: logits (B, d) of features (B, H).

    base: the distribution (d,) predicted before training.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, features: np.ndarray, outputs: int, units: int, base: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("mean", torch.from_numpy(features.mean(axis=0)).float())
        self.register_buffer("scale", torch.from_numpy(features.std(axis=0)).float().clamp_min(1e-6))
        self.hidden, self.out = nn.Linear(features.shape[1], units), nn.Linear(units, outputs)
        self.dropout = nn.Dropout(_DROPOUT)
        with torch.no_grad():
            self.out.weight.mul_(0.01)
            if outputs > 1:
                logs = torch.from_numpy(np.log(np.maximum(base, 1e-6))).float()
                self.out.bias.copy_(logs - logs.mean())

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        read = torch.tanh(self.hidden((features - self.mean) / self.scale))
        return {"logits": self.out(self.dropout(read))}

    @torch.no_grad()
    def fold(self, model: PreTrainedModel) -> None:
        """Give the classifier this hidden layer and head; its logits are then these."""
        add_hidden(model, self.hidden.out_features)
        layer: Any = getattr(model.base_model, HIDDEN)
        layer.weight.copy_(self.hidden.weight / self.scale)
        layer.bias.copy_(self.hidden.bias - layer.weight @ self.mean)
        linear_head(model).load_state_dict(self.out.state_dict())
