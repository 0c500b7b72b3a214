"""What groups of people say of the responses that a model is trained on, row by row, for a head for each group."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dprm_data.core.arrays import Floats, Ints


@dataclass(frozen=True)
class GroupTargets:
    """G groups of people, by the `values` of an attribute, on N responses.

    target: (N, G, K), each group's distributions, drawn towards everyone's as far as they agree. counts: (N, G, K), the
    group's own votes; without any, the target is everyone's distribution.
    """

    attribute: str
    values: tuple[str, ...]
    target: Floats
    counts: Floats

    def take(self, index: Ints) -> GroupTargets:
        """These rows."""
        return replace(self, target=self.target[index], counts=self.counts[index])

    @property
    def names(self) -> tuple[str, ...]:
        """`attribute=value` of every group."""
        return tuple(f"{self.attribute}={value}" for value in self.values)

    @property
    def votes(self) -> Floats:
        """(N, G): how many votes each group gave to each response."""
        return np.asarray(self.counts.sum(axis=2))

    def base_rates(self, everyone: Floats) -> tuple[Floats, Floats]:
        """The mean distribution of each group (G, K) over the responses that it rated, by votes; and the mean of
        everyone's, (N, K), over the same. A group without votes has everyone's mean."""
        votes = self.votes
        total = votes.sum(axis=0)
        weight = np.where(total > 0, votes, 1.0) / np.where(total > 0, total, len(votes))
        return np.einsum("ng,ngk->gk", weight, self.target), weight.T @ everyone
