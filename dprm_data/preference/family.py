"""Families of fits: what form the prior of a population's distributions has.

A family learns the prior of one node of the label space (a scale, or all labels at once) from the votes on it; the posterior is the
same for all of them, because every prior is a finite mixture of Dirichlets (`dprm_data.preference.components`).

    @family("jeffreys")
    class Jeffreys(Family):
        def learn(self, votes, *, plain=False):
            levels = votes.shape[1]
            return DirichletPart(np.full((1, levels), 0.5), np.ones(1))

`dprm_data.preference.families` has ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar, TypeVar

from dprm_data.core.arrays import Floats
from dprm_data.core.registry import FAMILIES
from dprm_data.labels.space import LabelSpace
from dprm_data.preference.axes import Node, chain, flat
from dprm_data.preference.em import learn_dispersion
from dprm_data.preference.prior import Part, part_from_dict


class Family:
    """A family of priors. A subclass says how its prior is learned, and the facts below.

    ordered: it models the scales of the label space's axes one after the other, and needs an order of the labels.
    candidate: `auto` tries it.
    """

    name: ClassVar[str]
    ordered: ClassVar[bool] = False
    candidate: ClassVar[bool] = False

    def learn(self, votes: Floats, *, plain: bool = False) -> Part:
        """The prior of one node from the votes (U, L) of all items on its L levels.

        plain: without corrections for how annotators answer (level weights and lapses), where the family has any.
        """
        raise NotImplementedError

    def prior_part(self, votes: Floats, *, plain: bool = False) -> Part:
        """The same, with the number of items it was learned from, and by what the posterior's variances must be multiplied."""
        part = replace(self.learn(votes, plain=plain), items=float((votes.sum(axis=1) > 0).sum()))
        return replace(part, dispersion=learn_dispersion(votes, part.components(), ordered=self.ordered))

    def tree(self, space: LabelSpace) -> Node:
        """The nodes that have a prior each. Raises `InputError` where the family needs an order that the space does not have."""
        return chain(space) if self.ordered else flat(space)

    def part_from_dict(self, content: dict[str, Any]) -> Part:
        """The inverse of the part's `to_dict`. Raises `KeyError`, `TypeError` or `ValueError` for anything else."""
        return part_from_dict(content)

    def select(self, votes: Floats, space: LabelSpace) -> tuple[Family, list[str]]:
        """The family to fit, itself unless it is a choice among others, and notes on the choice."""
        return self, []


Registered = TypeVar("Registered", bound=type[Family])


def family(name: str) -> Callable[[Registered], Registered]:
    """Registers a class as the family of this name."""

    def decorate(cls: Registered) -> Registered:
        cls.name = name
        return FAMILIES.register(name)(cls)

    return decorate


def family_of(name: str) -> Family:
    """The family of this name. Raises `DprmError` where there is none."""
    found: type[Family] = FAMILIES.get(name)
    return found()


def check_family(name: str, space: LabelSpace) -> None:
    """Refuse a family that this space has no order for: before anything is paid, not after. Raises `InputError`."""
    family_of(name).tree(space)
