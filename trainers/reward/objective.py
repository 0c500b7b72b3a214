"""The objective of a training: a loss by its name, or a weighted sum of losses, on one label space.

ot             one loss (`dprm_trainers.reward.loss_terms` registers ours)
ot+0.1*ce      a sum; a weight is 1 if not given
bt             a scalar loss: trains one reward per response on pairs, and cannot be added to losses of distributions
"""

from __future__ import annotations

import re
from functools import reduce
from operator import add
from typing import TYPE_CHECKING

from dprm_data.core.registry import LOSSES
from dprm_trainers.core.errors import LossError

if TYPE_CHECKING:
    from torch import Tensor

    from dprm_data.labels.space import LabelSpace

_TERM = re.compile(r"(?:(?P<weight>(?:\d+\.?\d*|\.\d+)(?:e-?\d+)?)\s*\*\s*)?(?P<name>[a-z][a-z0-9_-]*)\Z")


def parse(spec: str) -> dict[str, float]:
    """The losses of an objective with their weights. Raises `LossError`, which lists what is installed."""
    terms: dict[str, float] = {}
    kinds: dict[bool, str] = {}
    for part in spec.lower().split("+"):
        match = _TERM.match(part.strip())
        if match is None:
            raise _error(spec, f"{part.strip()!r} is neither a loss nor a weight times a loss")
        try:
            name = _canonical(match["name"])
        except ValueError as error:
            raise _error(spec, str(error)) from error
        weight = float(match["weight"] or 1.0)
        if name in terms:
            raise _error(spec, f"{name} appears twice")
        if weight <= 0:
            raise _error(spec, f"the weight of {name} must be above 0")
        terms[name] = weight
        kinds[LOSSES.get(name).scalar] = name
    if len(kinds) > 1:
        raise _error(spec, f"{kinds[True]} trains one scalar on pairs and cannot be added to {kinds[False]}")
    return terms


def _canonical(name: str) -> str:
    """The name of a loss that is called by its name or an alias. Raises `ValueError`, which lists what is installed."""
    aliases = {alias: each for each in LOSSES.names() for alias in LOSSES.get(each).aliases}
    return LOSSES.check(aliases.get(name, name))


def _error(spec: str, problem: str) -> LossError:
    return LossError(
        f"objective {spec!r}: {problem}", hint=f"Give one of {', '.join(LOSSES.names())}, or a sum such as ot+0.1*ce."
    )


def is_scalar(spec: str) -> bool:
    """Whether the objective trains a scalar on pairs instead of a distribution."""
    return any(LOSSES.get(name).scalar for name in parse(spec))


def choices() -> str:
    """Every installed loss, for `--help`."""
    names = [f"{name} (a scalar, on pairs)" if LOSSES.get(name).scalar else name for name in LOSSES.names()]
    return ", ".join(names)


class Objective:
    """`objective(logits, target)`: logits (B, K) and target (B, K) to (B,).

    A scalar objective takes scores (2B, 1), the chosen responses before the rejected ones, and ignores the target.
    """

    def __init__(self, spec: str, space: LabelSpace) -> None:
        """Raises `LossError` for a spec that cannot be parsed, or a loss that cannot be used on this label space."""
        self.terms = [(weight, LOSSES.get(name)(space)) for name, weight in parse(spec).items()]
        self.scalar = is_scalar(spec)
        self.notes = [loss.note for _, loss in self.terms if loss.note]

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        prediction, target = logits.float(), target.float()
        if self.scalar:
            prediction, target = prediction.squeeze(-1).chunk(2)
        parts: list[Tensor] = [weight * loss(prediction, target) for weight, loss in self.terms]
        return reduce(add, parts)
