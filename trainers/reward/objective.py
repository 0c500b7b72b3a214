"""What is minimised: a loss of `dprm_trainers.reward.losses`, or a weighted sum of them, on one label space, by its name.

    ot                 DPRM_OT: transport under the label space's ground cost
    wasserstein        DPRM_W: transport at unit steps between the labels in the order of their rewards (equal rewards in the order of the space)
    ce                 DPRM_C
    cramer             the energy distance under the ground cost
    ot+0.1*ce          a sum; weights are numbers, 1 where not given
    bt                 BT-RM: the scalar Bradley-Terry model on preference pairs; nothing can be added to it

Before they are weighted, `ot` and `cramer` are divided by the greatest cost, and `wasserstein` by the number of steps, so that a weight means the same on every label space.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import torch
from torch import Tensor, nn

from dprm_data.labels.geometry import is_negative_type, reward_order
from dprm_data.labels.space import LabelSpace
from dprm_trainers.core.errors import LossError
from dprm_trainers.reward.losses import (
    Transport,
    bradley_terry_loss,
    ce_loss,
    cramer_loss,
    wasserstein_loss,
)

NAMES = ("ot", "wasserstein", "ce", "cramer", "bt")
_ALSO_CALLED = {
    "dprm_ot": "ot",
    "dprm_w": "wasserstein",
    "dprm_c": "ce",
    "bt-rm": "bt",
    "bt_rm": "bt",
    "w1": "wasserstein",
}
_TERM = re.compile(r"(?:(?P<weight>[0-9.]+(?:e-?[0-9]+)?)\s*\*\s*)?(?P<name>[a-z][a-z0-9_-]*)\Z")


def parse(spec: str) -> dict[str, float]:
    """The terms of an objective with their weights. Raises `LossError`, which says what is allowed."""
    allowed = f"Allowed: {', '.join(NAMES)}, and sums of all but bt such as ot+0.1*ce."
    terms: dict[str, float] = {}
    for part in spec.lower().split("+"):
        found = _TERM.match(part.strip())
        name = _ALSO_CALLED.get(found["name"], found["name"]) if found else ""
        if found is None or name not in NAMES:
            raise LossError(f"objective {spec!r}: {part.strip()!r} is no loss", hint=allowed)
        try:
            weight = float(found["weight"] or 1.0)
        except ValueError as error:
            raise LossError(f"objective {spec!r}: {found['weight']!r} is no number", hint=allowed) from error
        if name in terms or weight <= 0:
            why = "stands there twice" if name in terms else "needs a weight above 0"
            raise LossError(f"objective {spec!r}: {name} {why}", hint=allowed)
        terms[name] = weight
    if "bt" in terms and len(terms) > 1:
        raise LossError(
            f"objective {spec!r}: bt trains one scalar on pairs and cannot be added to the others", hint=allowed
        )
    return terms


def is_scalar(spec: str) -> bool:
    """Whether the objective trains a scalar on pairs, and no distribution."""
    return "bt" in parse(spec)


class Objective(nn.Module):
    """`objective(logits, target)`: (B, d) and (B, d) to (B,). For `bt`: scores (2B, 1), the chosen before the rejected, to (B,); the target is not read.

    Raises `LossError` for a spec that is none, or a loss that cannot be had under this ground cost.
    """

    cost: Tensor
    order: Tensor

    def __init__(self, spec: str, space: LabelSpace) -> None:
        super().__init__()
        self.terms = parse(spec)
        cost = space.ground_cost
        self._unit = float(cost.max())
        if self._unit == 0 and {"ot", "cramer"} & set(self.terms):
            raise LossError(
                f"the ground cost of {space.name} is 0 everywhere", hint="Use ce, or give labels different rewards."
            )
        if "cramer" in self.terms and not is_negative_type(cost):
            raise LossError("cramer is no distance under this ground cost (it is not of negative type)", hint="Use ot.")
        self.transport = Transport(cost) if "ot" in self.terms else None
        self.register_buffer("cost", torch.from_numpy(cost).float())
        self.register_buffer("order", torch.from_numpy(reward_order(space.rewards)))

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        if "bt" in self.terms:
            chosen, rejected = logits.float().squeeze(-1).chunk(2)
            return bradley_terry_loss(chosen, rejected)
        logits, target = logits.float(), target.float()
        parts = [weight * self._loss(name)(logits, target) for name, weight in self.terms.items()]
        return torch.stack(parts).sum(dim=0) if len(parts) > 1 else parts[0]

    def _loss(self, name: str) -> Callable[[Tensor, Tensor], Tensor]:
        return {"ot": self._ot, "wasserstein": self._wasserstein, "ce": ce_loss, "cramer": self._cramer}[name]

    def _ot(self, logits: Tensor, target: Tensor) -> Tensor:
        assert self.transport is not None
        moved: Tensor = self.transport(logits.softmax(dim=-1), target)
        return moved / self._unit

    def _wasserstein(self, logits: Tensor, target: Tensor) -> Tensor:
        return wasserstein_loss(logits, target, self.order.to(logits.device)) / (logits.shape[-1] - 1)

    def _cramer(self, logits: Tensor, target: Tensor) -> Tensor:
        return cramer_loss(logits, target, self.cost) / self._unit
