"""Raking: panel weights that meet the margins of a population.

*Raking* (iterative proportional fitting) multiplies the people's weights, margin by margin, by target share / current share, until all margins are met.
Among all weights that meet them, the result is the one nearest to the starting weights in relative entropy.

The cost of unequal weights is given by Kish's effective sample size, n_eff = (sum w)^2 / sum w^2, and the design effect n / n_eff: an estimate from n weighted
people is as uncertain as one from n_eff unweighted ones.

Sources: Deming & Stephan 1940 (raking); Csiszar 1975 (the nearest distribution); Kish, Survey Sampling (1965) (the design effect).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dprm_data.core.arrays import Floats, Ints
from dprm_data.core.errors import PanelError
from dprm_data.core.yamlfile import read_yaml
from dprm_data.panel.personas import Panel

Margin = Mapping[Hashable, float]


@dataclass(frozen=True)
class Raking:
    """`weights` (n,), mean 1; `effective_size` and `design_effect` as above; `largest`: the heaviest weight; `rounds` it took; `error`: the largest
    remaining difference between a share and its target."""

    weights: Floats
    effective_size: float
    design_effect: float
    largest: float
    rounds: int
    error: float

    def to_dict(self) -> dict[str, Any]:
        return {
            "people": len(self.weights),
            "effective_size": self.effective_size,
            "design_effect": self.design_effect,
            "largest_weight": self.largest,
            "rounds": self.rounds,
            "largest_error": self.error,
        }


def rake(
    attributes: Mapping[str, Sequence[Hashable]],
    margins: Mapping[str, Margin],
    *,
    start: Floats | None = None,
    tolerance: float = 1e-6,
    rounds: int = 1000,
) -> Raking:
    """Weights for people with these attributes so that every margin is met.

    `attributes` maps an attribute to its value for each of n people; `margins` maps attributes to the target share of each of their values (shares that sum to 1
    within one per cent are scaled). A joint margin names several attributes with a comma, "age,sex", and its values are tuples.
    `start` are the initial weights (all 1 by default).

    Raises `PanelError` if a margin cannot be met: a value with a positive share that nobody has, a value without a target, or margins that contradict
    each other for these people.
    """
    if not margins:
        raise PanelError("raking needs at least one margin")
    groups = [(name, *_groups(name, attributes, margin)) for name, margin in margins.items()]
    n = len(groups[0][1])
    weights = np.ones(n) if start is None else np.asarray(start, dtype=np.float64).copy()
    if weights.shape != (n,) or not np.isfinite(weights).all() or (weights < 0).any() or weights.sum() <= 0:
        raise PanelError(f"the starting weights must be {n} finite numbers, not negative and not all 0")
    for name, member, target in groups:
        present = np.bincount(member, weights=weights, minlength=len(target))
        if (lost := np.flatnonzero((target > 0) & (present <= 0))).size:
            raise PanelError(_unmet(name, list(margins[name])[int(lost[0])], float(target[lost[0]])))
    weights /= weights.sum()
    error, done = np.inf, 0
    while error > tolerance and done < rounds:
        for _, member, target in groups:
            present = np.bincount(member, weights=weights, minlength=len(target))
            weights *= np.divide(target, present, out=np.zeros_like(target), where=present > 0)[member]
        done += 1
        errors = [_error(weights, member, target) for _, member, target in groups]
        error = max(errors)
    if error > tolerance or not np.isfinite(error):
        worst = groups[int(np.argmax(errors))][0]
        raise PanelError(
            f"the margins cannot all be met by these people: after {done} rounds {worst!r} is still off by {error:.2g}",
            hint="They contradict each other, or a combination that they need is missing: merge values, or drop a margin.",
        )
    weights *= n / weights.sum()
    effective = effective_size(weights)
    return Raking(weights, effective, n / effective, float(weights.max()), done, error)


def raked_panel(panel: Panel, margins: Mapping[str, Margin]) -> tuple[Panel, Raking]:
    """The panel with weights that meet the margins on its personas' attributes, and their design effect.

    Margins are matched to attributes as text, so that a file may say 30 or "30". Raises `PanelError` as `rake` does.
    """
    attributes = {
        name: [str(persona.attributes.get(name)) for persona in panel.personas] for name in panel.attribute_names
    }
    found = rake(attributes, margins, start=np.array([persona.weight for persona in panel.personas]))
    personas = tuple(
        persona.model_copy(update={"weight": float(weight)})
        for persona, weight in zip(panel.personas, found.weights, strict=True)
        if weight > 0  # a target of 0 excludes its people
    )
    note = f"raked to margins on {', '.join(margins)}"
    source = f"{panel.source}; {note}" if panel.source else note
    return panel.model_copy(update={"personas": personas, "source": source}), found


def read_margins(path: Path) -> dict[str, Margin]:
    """Read margins from a YAML file: attribute -> value -> share; a joint margin "age,sex" has values "old,female"."""
    content = read_yaml(path, PanelError, "margins")
    if not isinstance(content, dict) or not all(isinstance(shares, dict) and shares for shares in content.values()):
        raise PanelError(
            f"{path}: margins are attribute -> value -> share", hint="Such as: sex: {female: 0.51, male: 0.49}"
        )
    return {str(name): _shares(str(name), shares, path) for name, shares in content.items()}


def _shares(name: str, shares: Mapping[Any, Any], path: Path) -> Margin:
    wrong = next(
        (value for value, share in shares.items() if isinstance(share, bool) or not isinstance(share, int | float)),
        None,
    )
    if wrong is not None:
        raise PanelError(f"{path}: {name}: the share of {wrong!r} is {shares[wrong]!r}, not a number")
    joint = "," in name
    return {
        tuple(part.strip() for part in str(value).split(",")) if joint else str(value): float(share)
        for value, share in shares.items()
    }


def effective_size(weights: Floats) -> float:
    """Kish's effective sample size (sum w)^2 / sum w^2."""
    return float(weights.sum() ** 2 / (weights**2).sum())


def _error(weights: Floats, member: Ints, target: Floats) -> float:
    return float(np.abs(np.bincount(member, weights=weights, minlength=len(target)) / weights.sum() - target).max())


def _groups(name: str, attributes: Mapping[str, Sequence[Hashable]], margin: Margin) -> tuple[Ints, Floats]:
    """The index of every person's value, and the targets in that order."""
    parts = [part.strip() for part in name.split(",")]
    missing = [part for part in parts if part not in attributes]
    if missing:
        raise PanelError(
            f"margin {name!r}: the people have no attribute {missing[0]!r} (they have: {', '.join(attributes) or 'none'})"
        )
    columns = [attributes[part] for part in parts]
    if len({len(column) for column in columns}) != 1 or len(columns[0]) == 0:
        raise PanelError(f"margin {name!r}: its attributes cover different people, or nobody")
    values: list[Hashable] = list(columns[0]) if len(columns) == 1 else list(zip(*columns, strict=True))
    number = {value: i for i, value in enumerate(margin)}
    unmatched = [value for value in values if value not in number]
    if unmatched:
        raise PanelError(
            f"margin {name!r} has no target for {unmatched[0]!r}, which {unmatched.count(unmatched[0])} of the people have "
            f"(targets: {', '.join(str(value) for value in number)})",
            hint="Give it a share (0 excludes these people), or recode the attribute.",
        )
    target = np.array(list(margin.values()), dtype=np.float64)
    if not np.isfinite(target).all() or (target < 0).any() or abs(target.sum() - 1.0) > 0.01:
        raise PanelError(f"margin {name!r}: its shares must be non-negative and sum to 1; they sum to {target.sum():g}")
    member = np.array([number[value] for value in values], dtype=np.int64)
    absent = np.flatnonzero((target > 0) & (np.bincount(member, minlength=len(target)) == 0))
    if absent.size:
        raise PanelError(_unmet(name, list(number)[int(absent[0])], float(target[absent[0]])))
    return member, target / target.sum()


def _unmet(name: str, value: Hashable, share: float) -> str:
    return f"margin {name!r} cannot be met: {value!r} should be {share:.1%}, and nobody in the panel has it"
