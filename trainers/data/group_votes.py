"""The votes of groups of people on the responses that a model is trained on, row by row."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dprm_data.core.arrays import Floats, Ints


@dataclass(frozen=True)
class GroupVotes:
    """The votes of G groups of people, by the `values` of an attribute, on N responses. counts: (N, G, K), of each label.
    others: (N,), votes of people in none of the groups."""

    attribute: str
    values: tuple[str, ...]
    counts: Floats
    others: Floats | None = None

    def take(self, index: Ints) -> GroupVotes:
        """These rows."""
        return replace(self, counts=self.counts[index], others=None if self.others is None else self.others[index])

    def of(self, values: tuple[str, ...]) -> GroupVotes:
        """The votes of these groups, in this order; none of a group that is not there."""
        none = np.zeros_like(self.counts[:, 0])
        found = [self.counts[:, self.values.index(v)] if v in self.values else none for v in values]
        return replace(self, values=values, counts=np.stack(found, axis=1))

    @property
    def names(self) -> tuple[str, ...]:
        """`attribute=value` of every group."""
        return tuple(f"{self.attribute}={value}" for value in self.values)

    @property
    def total(self) -> float:
        """All votes of all groups."""
        return float(self.counts.sum())

    @property
    def of_all(self) -> Floats:
        """The share of each group in all votes (G,)."""
        others = 0.0 if self.others is None else float(self.others.sum())
        return np.asarray(self.counts.sum(axis=(0, 2)) / max(self.total + others, 1.0))

    def shares(self, added: float) -> tuple[Floats, Floats]:
        """How often each group gives each label (G, K), with `added` votes of all groups on the same responses; and how
        often all groups do there, (G, K)."""
        own = self.counts.sum(axis=0)
        everyone = np.stack([self.counts[self.counts[:, g].any(axis=1)].sum(axis=(0, 1)) for g in range(len(own))])
        everyone = np.where(everyone.sum(axis=1, keepdims=True) > 0, everyone, self.counts.sum(axis=(0, 1)))
        everyone = (everyone + 1.0) / (everyone + 1.0).sum(axis=1, keepdims=True)
        return (own + added * everyone) / (own.sum(axis=1, keepdims=True) + added), everyone
