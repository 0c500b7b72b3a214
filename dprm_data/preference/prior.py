"""Priors: what was learned across the items, in a form that travels with the dataset.

A `Prior` has one part per node of the chain (`dprm_data.preference.axes`). Whoever has a dataset's votes and its prior can compute every distribution again, add
votes, or judge a single new item as if it had been there from the beginning.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dprm_data.core.arrays import Floats
from dprm_data.core.errors import InputError
from dprm_data.core.registry import FAMILIES
from dprm_data.labels.space import LabelSpace
from dprm_data.preference import beta as discretised
from dprm_data.preference.axes import Node, nodes
from dprm_data.preference.components import Components

FORMAT = 1
FEW_SEVERAL = 0.05  # of the items with votes: if fewer have several votes, these are too few to learn from


@dataclass(frozen=True)
class BetaPart:
    """Weights over a grid of betas on a scale of L levels.

    `means` (M,), `concentrations` (S,), `weights` (M * S,) with the concentration running fastest; `level_weights` (L,) and `lapse` as in
    `dprm_data.preference.beta`. `kappa` says how closely the items keep to their betas: p ~ Dirichlet(kappa x cells), None for exactly. Where
    `exact`, distributions are the cells themselves and kappa only widens their intervals. `items`: how many it was learned from;
    `dispersion`: by what variances are multiplied.
    """

    means: Floats
    concentrations: Floats
    weights: Floats
    level_weights: Floats
    lapse: float = 0.0
    kappa: float | None = None
    exact: bool = True
    items: float = np.inf
    dispersion: float = 1.0

    def grid(self) -> tuple[Floats, Floats]:
        """(mu, s) of every component, each of shape (M * S,)."""
        mu, s = np.meshgrid(self.means, self.concentrations, indexing="ij")
        return mu.ravel(), s.ravel()

    def latent(self) -> Floats:
        """Of every component: mean and second moment of the next annotator's opinion, and whether the beta is U-shaped; (M * S, 3)."""
        mu, s = self.grid()
        u_shaped = (mu * s < 1.0) & ((1.0 - mu) * s < 1.0)
        return np.stack([mu, mu**2 + mu * (1.0 - mu) / (s + 1.0), u_shaped.astype(np.float64)], axis=1)

    def components(self) -> Components:
        P = discretised.weighted(
            discretised.cells(*self.grid(), len(self.level_weights)), self.level_weights, self.lapse
        )
        concentration = np.inf if self.exact or self.kappa is None else self.kappa
        misfit = self.kappa if self.exact else None
        return Components(P, np.full(len(P), concentration), self.weights, misfit, self.items, self.dispersion)

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": "beta",
            "means": self.means.tolist(),
            "concentrations": self.concentrations.tolist(),
            "weights": self.weights.tolist(),
            "level_weights": self.level_weights.tolist(),
            "lapse": self.lapse,
            "kappa": self.kappa,
            "exact": self.exact,
            "items": _finite(self.items),
            "dispersion": self.dispersion,
        }


@dataclass(frozen=True)
class DirichletPart:
    """`alphas` (C, L): the parameters of every component; `weights` (C,); `items`: how many it was learned from;
    `dispersion`: by what variances are multiplied."""

    alphas: Floats
    weights: Floats
    items: float = np.inf
    dispersion: float = 1.0

    def components(self) -> Components:
        total = self.alphas.sum(axis=1)
        return Components(
            self.alphas / total[:, None], total, self.weights, items=self.items, dispersion=self.dispersion
        )

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": "dirichlet",
            "alphas": self.alphas.tolist(),
            "weights": self.weights.tolist(),
            "items": _finite(self.items),
            "dispersion": self.dispersion,
        }


Part = BetaPart | DirichletPart


@dataclass(frozen=True)
class Prior:
    """`parts` belong to the nodes of the space's chain, parents first. `learned_from` says from how much (items, votes, and how many items have `several`)."""

    family: str
    space: str
    labels: tuple[str, ...]
    parts: tuple[Part, ...]
    learned_from: dict[str, float] = field(default_factory=dict)

    @property
    def assumed(self) -> bool:
        """Whether how far items differ is assumed in it: hardly any item that it was learned from has two votes."""
        items, votes = (self.learned_from.get(what, 0.0) for what in ("items", "votes"))
        several = self.learned_from.get("several", votes - items)  # older priors do not say: at most so many
        return several < FEW_SEVERAL * items

    def tree(self, space: LabelSpace) -> Node:
        """The nodes to which the parts belong; refuses a space with other labels."""
        if tuple(space.names) != self.labels:
            raise InputError(
                f"the prior was learned on the labels {', '.join(self.labels)}, the label space {space.name!r} has {', '.join(space.names)}"
            )
        root: Node = FAMILIES.get(self.family)().tree(space)
        widths = [node.levels for node in nodes(root)]
        found = [part.components().means.shape[1] for part in self.parts]
        if widths != found:
            raise InputError(
                f"the prior has parts of {found} levels, the axes of label space {space.name!r} need {widths}"
            )
        return root

    def to_dict(self) -> dict[str, Any]:
        """As JSON can say it; `from_dict` gives back an equal prior (floats survive JSON to the last bit)."""
        return {
            "format": FORMAT,
            "family": self.family,
            "space": self.space,
            "labels": list(self.labels),
            "parts": [part.to_dict() for part in self.parts],
            "learned_from": dict(self.learned_from),
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Prior:
        try:
            if content["format"] != FORMAT:
                raise InputError(f"a prior of format {content['format']}; this version reads format {FORMAT}")
            family = FAMILIES.get(content["family"])()
            parts = tuple(family.part_from_dict(part) for part in content["parts"])
            return cls(
                content["family"], content["space"], tuple(content["labels"]), parts, dict(content["learned_from"])
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"not a prior: {type(error).__name__}: {error}") from error


def part_from_dict(content: dict[str, Any]) -> Part:
    """A `BetaPart` or `DirichletPart` from its `to_dict`."""
    weights = _array(content["weights"], 1)
    items = np.inf if content["items"] is None else float(content["items"])
    dispersion = float(content.get("dispersion", 1.0))
    part: Part
    if content["kind"] == "dirichlet":
        part = DirichletPart(_array(content["alphas"], 2), weights, items, dispersion)
        components = len(part.alphas)
    elif content["kind"] == "beta":
        kappa = None if content["kappa"] is None else float(content["kappa"])
        means, concentrations = _array(content["means"], 1), _array(content["concentrations"], 1)
        part = BetaPart(
            means,
            concentrations,
            weights,
            _array(content["level_weights"], 1),
            float(content["lapse"]),
            kappa,
            bool(content["exact"]),
            items,
            dispersion,
        )
        components = len(means) * len(concentrations)
    else:
        raise ValueError(f"unknown kind {content['kind']!r}")
    if components != len(weights) or not np.isclose(weights.sum(), 1.0):
        raise ValueError("the weights do not belong to the components, or do not sum to 1")
    return part


def _finite(items: float) -> float | None:
    return items if np.isfinite(items) else None


def _array(values: Any, dimensions: int) -> Floats:
    array = np.array(values, dtype=np.float64)
    if array.ndim != dimensions or not np.isfinite(array).all() or (array < 0).any():
        raise ValueError("a list of numbers, finite and not negative, was expected")
    return array
