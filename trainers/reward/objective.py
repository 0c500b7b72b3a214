"""The objective of a training: a loss by its name, or a weighted sum of losses, on one label space.

ot             one loss (`dprm_trainers.reward.loss_terms` registers ours)
ot+0.1*ce      a sum; a weight is 1 if not given
ordinal        a loss of pairs: trains the distributions on which of two responses people prefer
ce+0.5*ordinal both: on the rows that have a distribution, and on pairs
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
    from dprm_trainers.reward.loss_terms import Loss

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


def on_pairs(spec: str) -> bool:
    """Whether the objective trains on pairs, be it a scalar or distributions."""
    return any(LOSSES.get(name).scalar or LOSSES.get(name).paired for name in parse(spec))


def on_rows(spec: str) -> bool:
    """Whether the objective trains on rows with a distribution."""
    return any(not LOSSES.get(name).scalar and not LOSSES.get(name).paired for name in parse(spec))


def choices() -> str:
    """Every installed loss, for `--help`."""
    return ", ".join(f"{name}{_kind(LOSSES.get(name))}" for name in LOSSES.names())


def _kind(loss: type[Loss]) -> str:
    return " (a scalar, on pairs)" if loss.scalar else " (on pairs)" if loss.paired else ""


class Objective:
    """`objective(logits, target, share)`: the losses (R + P,) of R rows and P pairs.

    logits (R + 2P, K): the rows, then the chosen responses of the pairs, then the rejected ones. target (R, K): the rows'
    distributions. share (P,): of people who prefer the chosen one; without it there are no pairs.

    A scalar objective takes scores (2P, 1), the chosen responses before the rejected ones, and the shares.
    """

    def __init__(self, spec: str, space: LabelSpace) -> None:
        """Raises `LossError` for a spec that cannot be parsed, or a loss that cannot be used on this label space."""
        self.terms = [(weight, LOSSES.get(name)(space)) for name, weight in parse(spec).items()]
        self.scalar, self.on_rows, self.on_pairs = is_scalar(spec), on_rows(spec), on_pairs(spec)
        self.notes = [loss.note for _, loss in self.terms if loss.note]

    def __call__(self, logits: Tensor, target: Tensor, share: Tensor | None = None) -> Tensor:
        from torch import cat

        prediction, target = logits.float(), target.float()
        if self.scalar:
            chosen, rejected = prediction.squeeze(-1).chunk(2)
            loss = self._sum(chosen, rejected, paired=False)
            if share is None:
                return loss
            # Each person is a pair of their own: a share s prefers the one, 1 - s the other.
            return share * loss + (1 - share) * self._sum(rejected, chosen, paired=False)
        rows, pairs = prediction[: len(target)], prediction[len(target) :]
        parts = [self._sum(rows, target, paired=False)] if self.on_rows else []
        parts += [self._sum(pairs, share.float(), paired=True)] if share is not None and len(share) else []
        return cat(parts)

    def _sum(self, prediction: Tensor, target: Tensor, *, paired: bool) -> Tensor:
        parts: list[Tensor] = [
            weight * loss(prediction, target) for weight, loss in self.terms if loss.paired is paired
        ]
        return reduce(add, parts)
