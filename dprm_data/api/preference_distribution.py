"""The preference distribution of one response, as an object."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dprm_data.core.errors import DprmError
from dprm_data.core.format import money, number, percent
from dprm_data.runs.run import Run

if TYPE_CHECKING:
    import pyarrow as pa

    from dprm_data.api.run_result import RunResult
    from dprm_data.recipe.recipe import Recipe

_WIDTH = 30  # characters of the longest bar


@dataclass(frozen=True, repr=False, eq=False)
class PreferenceDistribution:
    """How a population rates one response, estimated from simulated annotators (`rate`, `arate`).

    probabilities, rewards, votes: by label; votes are weighted, and `evidence` is how many independent people they are worth. expected_reward: the population's mean reward; interval: its central
    credible interval at `level`; reward_std: the spread of single people's rewards; disagreement: the chance that two people choose differently; entropy in nats.
    annotations: one row per annotator, an Arrow table; cost: dollars of all of them (None: a price is not known); calls: made for it now.
    """

    probabilities: dict[str, float]
    rewards: dict[str, float]
    votes: dict[str, float]
    evidence: float
    expected_reward: float
    interval: tuple[float, float]
    level: float
    reward_std: float
    disagreement: float
    entropy: float
    cost: float | None
    calls: int
    annotations: pa.Table = field(repr=False)

    @classmethod
    def of(cls, result: RunResult, recipe: Recipe) -> PreferenceDistribution:
        """Of a finished run of this recipe with one item. Raises `DprmError` if it has another number of items."""
        rows = result.distributions.to_pylist()
        if len(rows) != 1:
            raise DprmError(f"{result.folder} has {len(rows):,} items, not one")
        [row] = rows
        space = Run(recipe, result.folder).space
        return cls(
            probabilities=dict(zip(space.names, row["label_distribution"], strict=True)),
            rewards=dict(zip(space.names, space.rewards.tolist(), strict=True)),
            votes=dict(zip(space.names, row["votes"], strict=True)),
            evidence=row["evidence"],
            expected_reward=row["expected_reward"],
            interval=(row["reward_low"], row["reward_high"]),
            level=recipe.fit.interval,
            reward_std=row["reward_std"],
            disagreement=row["disagreement"],
            entropy=row["entropy"],
            cost=result.cost,
            calls=result.counters.calls if result.counters else 0,
            annotations=result.annotations,
        )

    @property
    def most_probable(self) -> str:
        """The label with the largest probability."""
        return max(self.probabilities, key=lambda label: self.probabilities[label])

    def _figures(self) -> str:
        low, high = (number(end, 2, sign=True) for end in self.interval)
        unread = self.annotations.num_rows - sum(status == "ok" for status in self.annotations["status"].to_pylist())
        without = f", {unread:,} without a label" if unread else ""
        return (
            f"expected reward {number(self.expected_reward, 2, sign=True)} ({percent(self.level)} interval {low} … {high}), "
            f"disagreement {percent(self.disagreement)}, {self.annotations.num_rows:,} simulated annotations{without}, "
            f"{money(self.cost, 'cost not known')}"
        )

    def __repr__(self) -> str:
        wide = max(map(len, self.probabilities))
        lines = [
            f"  {label:<{wide}}  {percent(share):>5}  {'█' * round(share * _WIDTH)}".rstrip()
            for label, share in self.probabilities.items()
        ]
        return "\n".join([f"PreferenceDistribution: {self._figures()}", *lines])

    def _repr_html_(self) -> str:
        from dprm_data.api.result_html import distribution_html

        return distribution_html(self.probabilities, self.rewards, self._figures())
