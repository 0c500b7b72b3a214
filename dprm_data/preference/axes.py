"""The chain of scales on which a label space is modelled.

By the chain rule, p(label) = p(level on axis 1) p(level on axis 2 | level on axis 1) ...: a tree whose nodes are scales. A node branches into
the levels of its axis that occur among its labels; if only one occurs, there is nothing to model. The paper's space has three
nodes: harmlessness, helpfulness of the harmless, helpfulness of the harmful. The categorical families use the flat tree, one node with a branch per label.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dprm_data.core.arrays import Floats
from dprm_data.core.errors import InputError
from dprm_data.labels.geometry import reward_order
from dprm_data.labels.space import LabelSpace


@dataclass(frozen=True)
class Node:
    """A scale: `branches[l]` are the labels of its level l, lowest first; `children[l]` the node that splits them, None for one label."""

    name: str
    branches: tuple[tuple[int, ...], ...]
    children: tuple[Node | None, ...]

    @property
    def levels(self) -> int:
        return len(self.branches)

    def votes(self, counts: Floats) -> Floats:
        """Counts on labels (U, K) to counts on this node's levels (U, L)."""
        if all(len(branch) == 1 for branch in self.branches):
            return np.ascontiguousarray(counts[:, [branch[0] for branch in self.branches]])
        return np.stack([counts[:, list(branch)].sum(axis=1) for branch in self.branches], axis=1)


def flat(space: LabelSpace) -> Node:
    """One node with a branch per label."""
    return Node("labels", tuple((k,) for k in range(space.K)), (None,) * space.K)


def chain(space: LabelSpace) -> Node:
    """The tree of the space's axes. A space without axes is one scale in the order of its rewards, if these are all different."""
    if space.axes:
        root = _grow(space, tuple(range(space.K)), 0, "")
        assert root is not None  # two labels or more, with distinct combinations of levels
        return root
    order = reward_order(space.rewards)
    if (np.diff(space.rewards[order]) == 0).any():
        raise InputError(
            f"label space {space.name!r} has no axes, and its rewards have ties: no order to fit a beta on",
            hint="Give the space axes, or use a categorical family: empirical, dirichlet, mixture or auto.",
        )
    return Node("reward", tuple((int(k),) for k in order), (None,) * space.K)


def nodes(root: Node) -> list[Node]:
    """All nodes, parents first: the order in which priors are stored."""
    found = [root]
    for child in root.children:
        if child is not None:
            found += nodes(child)
    return found


def _grow(space: LabelSpace, labels: tuple[int, ...], depth: int, condition: str) -> Node | None:
    if len(labels) == 1:
        return None
    axis = space.axes[depth]
    level = space.level_index[:, depth]
    branches = [(step.name, tuple(k for k in labels if level[k] == index)) for index, step in enumerate(axis.levels)]
    branches = [(name, branch) for name, branch in branches if branch]
    if len(branches) == 1:
        return _grow(space, labels, depth + 1, condition)
    children = tuple(_grow(space, branch, depth + 1, f" given {name}") for name, branch in branches)
    return Node(axis.name + condition, tuple(branch for _, branch in branches), children)
