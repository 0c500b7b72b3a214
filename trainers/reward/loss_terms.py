"""Losses by name: the terms of an objective.

A loss is a class, made once per training for the label space. Another package registers its own in the same way
(`dprm_trainers.extend`):

    @loss("brier")
    class Brier(Loss):
        '''Squared distance of the probabilities.'''

        def __call__(self, prediction, target):
            return (prediction.softmax(dim=-1) - target).square().sum(dim=-1)

`ot` and `cramer` are divided by the greatest cost, and `wasserstein` by the number of steps, so that a weight in a sum
means the same on every label space.

`--help` lists the losses, so importing this module must not import torch or numpy.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, TypeVar

from dprm_data.core.registry import LOSSES
from dprm_trainers.core.errors import LossError

if TYPE_CHECKING:
    from torch import Tensor

    from dprm_data.labels.space import LabelSpace

LossClass = TypeVar("LossClass", bound="type[Loss]")


class Loss(ABC):
    """A loss on one label space. The first line of a subclass's docstring describes it in the documentation.

    aliases: other names. scalar: whether it trains one reward per response, on pairs, instead of a distribution; such a
    loss stands alone. paired: whether it trains distributions on pairs; it may be added to losses of distributions.
    note: a sentence that a training says, e.g. that the loss is slow here.
    """

    aliases: ClassVar[tuple[str, ...]] = ()
    scalar: ClassVar[bool] = False
    paired: ClassVar[bool] = False
    note: str | None = None

    def __init__(self, space: LabelSpace) -> None:  # noqa: B027 - a loss may have nothing to prepare
        """Prepare what depends on the label space alone. Raises `LossError` if the loss cannot be used on it."""

    @abstractmethod
    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The loss of each row (B,), in float32.

        prediction: logits (B, K); target: distributions (B, K). Of a scalar loss: the rewards (B,) of the chosen
        responses and those of the rejected ones. Of a paired loss: logits (2B, K), the chosen responses before the
        rejected ones, and the shares of people (B,) who prefer the chosen one.
        """


def loss(name: str) -> Callable[[LossClass], LossClass]:
    """Register a `Loss` subclass under a name: a letter, then letters, digits, `-` and `_`, in lower case."""
    return LOSSES.register(name)


def _greatest_cost(space: LabelSpace) -> float:
    greatest = float(space.ground_cost.max())
    if greatest == 0:
        raise LossError(
            f"the ground cost of {space.name} is 0 everywhere", hint="Use ce, or give labels different rewards."
        )
    return greatest


@loss("ot")
class OptimalTransport(Loss):
    """Optimal transport under the ground cost of the label space."""

    aliases = ("dprm_ot",)

    def __init__(self, space: LabelSpace) -> None:
        from dprm_trainers.reward.losses import Transport

        self._unit = _greatest_cost(space)
        self._transport = Transport(space.ground_cost)
        self.note = self._transport.note

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        return self._transport.of_logits(prediction, target) / self._unit


@loss("wasserstein")
class Wasserstein(Loss):
    """Transport at unit steps between the labels in the order of their rewards; ties in the order of the space."""

    aliases = ("dprm_w", "w1")

    def __init__(self, space: LabelSpace) -> None:
        import torch

        from dprm_data.labels.geometry import reward_order

        self._order = torch.from_numpy(reward_order(space.rewards))

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        from dprm_trainers.reward.losses import wasserstein_loss

        self._order = self._order.to(prediction.device)  # moved once
        return wasserstein_loss(prediction, target, self._order) / (len(self._order) - 1)


@loss("ce")
class CrossEntropy(Loss):
    """Cross-entropy: sees no geometry."""

    aliases = ("dprm_c",)

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        from dprm_trainers.reward.losses import ce_loss

        return ce_loss(prediction, target)


@loss("cramer")
class Cramer(Loss):
    """Energy distance under the ground cost; on a line the ranked probability score."""

    def __init__(self, space: LabelSpace) -> None:
        import torch

        from dprm_data.labels.geometry import is_negative_type

        self._unit = _greatest_cost(space)
        if not is_negative_type(space.ground_cost):
            raise LossError("cramer is no distance under this ground cost (it is not of negative type)", hint="Use ot.")
        self._cost = torch.from_numpy(space.ground_cost)

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        from dprm_trainers.reward.losses import cramer_loss

        self._cost = self._cost.to(prediction)  # moved once
        return cramer_loss(prediction, target, self._cost) / self._unit


@loss("bt")
class BradleyTerry(Loss):
    """A scalar: Bradley-Terry on the pairs of responses to a prompt (`pairs: any`: of any two)."""

    aliases = ("bt-rm", "bt_rm")
    scalar = True

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        from dprm_trainers.reward.losses import bradley_terry_loss

        return bradley_terry_loss(prediction, target)


class _Paired(Loss):
    """A loss of two distributions and the share of people who prefer the first response."""

    paired = True

    def __init__(self, space: LabelSpace) -> None:
        import torch

        if len(set(space.rewards.tolist())) < 2:
            raise LossError(f"all labels of {space.name} have one reward: no label is better than another")
        self._rewards = torch.from_numpy(space.rewards).float()

    def _sides(self, prediction: Tensor) -> tuple[Tensor, Tensor]:
        self._rewards = self._rewards.to(prediction.device)  # moved once
        chosen, rejected = prediction.chunk(2)
        return chosen, rejected


@loss("ordinal")
class Ordinal(_Paired):
    """On pairs: the share of people who prefer a response, two of whom rate one response each."""

    aliases = ("oprm",)

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        from dprm_trainers.reward.pair_losses import ordinal_loss

        return ordinal_loss(*self._sides(prediction), target, self._rewards)


@loss("utility")
class Utility(_Paired):
    """On pairs: Bradley-Terry on the expected rewards of the two distributions."""

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        from dprm_trainers.reward.pair_losses import utility_loss

        return utility_loss(*self._sides(prediction), target, self._rewards)
