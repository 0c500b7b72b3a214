"""Heads of groups of people on one backbone, beside the population's head.

With the features x (H,) of a response, the population's logits are W x + b. Those of group g are

    (W + D_g) x + b + d_g

The offsets D_g (K, H) and d_g (K,) are kept apart: the population's model stays a plain classifier, which stock software
loads as before, and the offsets lie beside it in a folder of their own. (In the model's folder itself, servers that load
every safetensors file would take them for weights of the classifier.) A group's plain model is the sum of both.

In a training, the head is one wide linear layer: its first K rows are W, the next the offsets. So it is trained, saved in
checkpoints and resumed like any other head. The group's logits read W without passing a gradient to it: the population's
head learns from the population, the offsets from what is different, and the backbone from both.

**Contrasts.** What is trained are E_g with D_g = E_g - sum_h s_h E_h for the share s_h of group h in all votes. So the
offsets have the mean zero over all who voted: the heads can learn nothing but what differs between groups. Without
this they fit together what the population's head leaves, each response's own noise included.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dprm_data.core.arrays import Floats
from dprm_trainers.core.errors import TrainingError
from dprm_trainers.reward.features import FrozenHead, head_name, linear_head

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FOLDER, FILE = "group_heads", "group_heads/offsets.safetensors"


def contrasts(offsets: Tensor, share: Tensor) -> Tensor:
    """D (G K, …) of E (G K, …), for the groups' shares (G,) in all votes."""
    each = offsets.reshape(len(share), -1)
    return (each - (share.to(each) @ each)[None]).reshape(offsets.shape)


def grouped_logits(x: Tensor, weight: Tensor, bias: Tensor | None, outputs: int, share: Tensor) -> Tensor:
    """Logits (…, K (1 + G)) of features x (…, H): the population's, then every group's. weight: (K (1 + G), H), W and E."""
    fixed = None if bias is None else bias[:outputs].detach()
    population = functional.linear(x, weight[:outputs], None if bias is None else bias[:outputs])
    same = functional.linear(x, weight[:outputs].detach(), fixed)
    level = None if bias is None else contrasts(bias[outputs:], share)
    offsets = functional.linear(x, contrasts(weight[outputs:], share), level)
    repeats = [1] * (x.dim() - 1) + [offsets.shape[-1] // outputs]
    return torch.cat([population, same.repeat(repeats) + offsets], dim=-1)


class GroupedLinear(nn.Linear):
    """The wide head. It computes in float32, as the output layer does in every training."""

    start: Tensor
    scale: Tensor
    share: Tensor
    outputs: int

    @classmethod
    def of(
        cls,
        head: nn.Linear,
        offsets: Tensor,
        more: Tensor | None = None,
        scale: float = 1.0,
        share: Tensor | None = None,
    ) -> GroupedLinear:
        """A head with groups. offsets: (G K, H); more: (G K,), of the bias. scale: the mean of |x|². share: (G,), of the
        groups in all votes; without, the offsets are D itself."""
        outputs = head.out_features
        wide = cls(head.in_features, outputs + len(offsets), bias=head.bias is not None)
        wide.weight = nn.Parameter(torch.cat([head.weight.detach(), offsets.to(head.weight)]))
        if head.bias is not None:
            level = torch.zeros(len(offsets)) if more is None else more
            wide.bias = nn.Parameter(torch.cat([head.bias.detach(), level.to(head.bias)]))
        wide.outputs = outputs
        none = torch.zeros(len(offsets) // outputs)
        wide.register_buffer("share", none if share is None else share.clone(), persistent=False)
        wide.register_buffer("start", wide._offsets().detach().clone(), persistent=False)
        wide.register_buffer("scale", torch.tensor(float(scale)), persistent=False)
        return wide

    def forward(self, input: Tensor) -> Tensor:
        with torch.autocast(input.device.type, enabled=False):
            bias = None if self.bias is None else self.bias.float()
            return grouped_logits(input.float(), self.weight.float(), bias, self.outputs, self.share)

    def moved(self) -> Tensor:
        """How far the offsets are from where they started, as the mean square of the logits that this adds."""
        change = (self._offsets() - self.start).square()
        return self.scale * change[:, : self.in_features].sum() + change[:, self.in_features :].sum()

    def _offsets(self) -> Tensor:
        """(G K, H), or with the bias (G K, H + 1)."""
        weight = self.weight[self.outputs :]
        return weight if self.bias is None else torch.cat([weight, self.bias[self.outputs :, None]], dim=1)


class GroupedFrozenHead(FrozenHead):
    """The trainable part on a frozen backbone: the population's coordinates, then the offsets' (G K, H + 1)."""

    start: Tensor
    share: Tensor

    def __init__(
        self, features: np.ndarray, outputs: int, base: np.ndarray | None, levels: np.ndarray, share: np.ndarray
    ) -> None:
        """levels: (G, K), what each group's logits have more than the population's, before training. share: (G,)."""
        super().__init__(features, outputs, base)
        self.outputs = outputs
        offsets = torch.zeros(levels.size, self.weight.shape[1])
        offsets[:, -1] = torch.from_numpy(levels.reshape(-1)).float()
        self.weight = nn.Parameter(torch.cat([self.weight.detach(), offsets]))
        self.register_buffer("start", offsets.clone(), persistent=False)
        self.register_buffer("share", torch.from_numpy(share).float(), persistent=False)

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        return {"logits": grouped_logits(self.coordinates(features), self.weight, None, self.outputs, self.share)}

    def moved(self) -> Tensor:
        """As of `GroupedLinear`: the coordinates are standardised, so |x|² has the mean H, and the last one is 1."""
        change = (self.weight[self.outputs :] - self.start).square()
        return (self.weight.shape[1] - 1) * change[:, :-1].sum() + change[:, -1].sum()


@dataclass(frozen=True)
class GroupHeads:
    """The offsets of a trained model. attribute, values: of the G groups. weight: (G, K, H); bias: (G, K), where the
    head has one."""

    attribute: str
    values: tuple[str, ...]
    weight: Tensor
    bias: Tensor | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """`attribute=value` of every group."""
        return tuple(f"{self.attribute}={value}" for value in self.values)

    def place(self, group: str, model: str) -> int:
        """The number of a group. Raises `TrainingError`."""
        if group not in self.names:
            raise TrainingError(
                f"{model} has no head for the group {group}", hint=f"Its groups: {', '.join(self.names)}."
            )
        return self.names.index(group)

    def divided(self, temperature: float) -> GroupHeads:
        """The offsets beside a head that is divided by a temperature."""
        return replace(
            self, weight=self.weight / temperature, bias=None if self.bias is None else self.bias / temperature
        )

    @contextmanager
    def on(self, model: PreTrainedModel) -> Iterator[None]:
        """Have the model answer the population's logits and all groups', (N, K (1 + G)), in one pass."""
        name, head = named_head(model)
        more = None if self.bias is None else self.bias.flatten()
        model.set_submodule(name, GroupedLinear.of(head, self.weight.flatten(0, 1), more).to(head.weight.device))
        try:
            yield
        finally:
            model.set_submodule(name, head)

    @torch.no_grad()
    def logits(self, x: Floats, head: nn.Linear) -> Floats:
        """The population's logits and the groups', (N, 1 + G, K), of features (N, H)."""
        more = None if self.bias is None else self.bias.flatten()
        wide = GroupedLinear.of(head, self.weight.flatten(0, 1), more)
        return np.asarray(wide(torch.from_numpy(x)).double().numpy()).reshape(len(x), -1, head.out_features)

    @torch.no_grad()
    def fold(self, g: int, head: nn.Linear) -> None:
        """Make a head that of group g."""
        head.weight.add_(self.weight[g].to(head.weight))
        if head.bias is not None and self.bias is not None:
            head.bias.add_(self.bias[g].to(head.bias))

    def save(self, folder: Path) -> None:
        """Write the offsets beside a model; the groups are named in its config."""
        from safetensors.torch import save_file

        (folder / FOLDER).mkdir(exist_ok=True)
        parts = {"weight": self.weight} | ({} if self.bias is None else {"bias": self.bias})
        save_file({name: part.detach().float().cpu().contiguous() for name, part in parts.items()}, folder / FILE)

    @classmethod
    def load(cls, reference: str, record: Any, outputs: int, width: int) -> GroupHeads:
        """Of a model in a folder or on the Hub, whose record names the groups. Raises `TrainingError`."""
        from safetensors.torch import load_file
        from transformers.utils.hub import cached_file

        file = cached_file(reference, FILE, _raise_exceptions_for_missing_entries=False)
        if file is None:
            raise TrainingError(f"{reference} lacks {FILE}, the heads of its groups", hint="Give a complete model.")
        parts = load_file(file)
        found = cls(record.attribute, tuple(record.values), parts["weight"], parts.get("bias"))
        if found.weight.shape != (len(found.values), outputs, width):
            raise TrainingError(
                f"{reference}, {FILE}: {tuple(found.weight.shape)} numbers for {len(found.values)} groups of {outputs} "
                f"outputs on {width} features"
            )
        return found


def named_head(model: PreTrainedModel) -> tuple[str, nn.Linear]:
    """Name and module of the head that groups can have. Raises `TrainingError` if it is not one linear layer."""
    try:
        return head_name(model), linear_head(model)
    except TrainingError as error:
        raise TrainingError(
            f"group_heads: {type(model).__name__} has a head of several layers; heads of groups need one linear layer",
            hint="Train a model for each group instead: --groups attribute.",
        ) from error


@torch.no_grad()
def split_heads(model: PreTrainedModel, attribute: str, values: tuple[str, ...]) -> GroupHeads:
    """Take the offsets out of a trained wide head: the model is a plain classifier afterwards."""
    name, wide = named_head(model)
    outputs = wide.out_features // (1 + len(values))
    plain = nn.Linear(wide.in_features, outputs, bias=wide.bias is not None)
    plain.weight = nn.Parameter(wide.weight.detach()[:outputs].clone())
    assert isinstance(wide, GroupedLinear)
    weight = contrasts(wide.weight.detach()[outputs:], wide.share).reshape(len(values), outputs, -1).clone()
    bias = None
    if wide.bias is not None:
        plain.bias = nn.Parameter(wide.bias.detach()[:outputs].clone())
        bias = contrasts(wide.bias.detach()[outputs:], wide.share).reshape(len(values), outputs).clone()
    model.set_submodule(name, plain)
    return GroupHeads(attribute, values, weight, bias)
