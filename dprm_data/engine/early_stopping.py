"""RoundPolicy: how many more personas an item is asked about. The default is all of them at once; early stop asks in rounds.

With early stop the first items (the pilot) are asked in full, and the prior over items is learned from their votes; it is learned again when
their number has doubled. Every other item is asked of a few personas, in an order of its own so that nobody is always left out, until
its posterior under that prior is narrow enough. Whoever is not asked has no annotation: nothing is filled in.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np

from dprm_data.core.arrays import Floats
from dprm_data.elicit.work import POPULATION
from dprm_data.engine.replay import TaskState
from dprm_data.ingest.items import Item
from dprm_data.labels.space import LabelSpace
from dprm_data.recipe.recipe import EarlyStopConfig

_MOST_PILOTS = 3200  # items that the prior is learned from at most


class RoundPolicy:
    """Everything at once."""

    def ordered(self, item: Item, states: list[TaskState]) -> list[TaskState]:
        """The order in which an item's tasks are asked."""
        return states

    def may_open(self, opened: int) -> bool:
        """Whether one more item may be asked about now; `opened` wait for their first answers already."""
        return True

    def size(self, *, settled: Sequence[TaskState], waiting: Sequence[TaskState]) -> int | None:
        """How many of an item's waiting tasks are asked now: None for all, 0 for no more."""
        return None

    def closed(self, settled: Sequence[TaskState], *, in_full: bool) -> None:
        """Called with the tasks of every item that has nothing left to ask; in_full: nobody was left out."""


class EarlyStopping(RoundPolicy):
    """Stops asking about an item when its posterior is narrow (`early_stop` in the recipe)."""

    def __init__(self, config: EarlyStopConfig, space: LabelSpace) -> None:
        self._config = config
        self._space = space
        self._pilots: list[Floats] = []
        self._learned_from = 0
        self._prior: object | None = None
        self._known: dict[bytes, bool] = {}  # verdicts by votes: the same votes come again and again

    def ordered(self, item: Item, states: list[TaskState]) -> list[TaskState]:
        shuffled = list(states)
        random.Random(f"early stop {item.item_id}").shuffle(shuffled)
        return sorted(shuffled, key=_is_person)  # what the population would say is asked first

    @property
    def ready(self) -> bool:
        """Whether the pilot is over."""
        return self._prior is not None

    def may_open(self, opened: int) -> bool:
        return self.ready or opened < self._config.pilot - len(self._pilots)

    def size(self, *, settled: Sequence[TaskState], waiting: Sequence[TaskState]) -> int | None:
        if not self.ready:
            return None
        # Every item has the population's distribution, whoever else is asked.
        population = sum(not _is_person(state) for state in waiting)
        people = sum(map(_is_person, settled))
        if people < self._config.first:
            return population + self._config.first - people
        return population + (0 if self.narrow(self.votes(settled)) else self._config.step)

    def closed(self, settled: Sequence[TaskState], *, in_full: bool) -> None:
        if in_full and len(self._pilots) < _MOST_PILOTS:
            self.learn(self.votes(settled))

    def votes(self, settled: Sequence[TaskState]) -> Floats:
        """The votes (K,) of tasks that have ended; one that ended without a label has none."""
        counts = np.zeros(self._space.K)
        for state in settled:
            outcome = state.outcome
            if outcome is None or outcome.status != "ok" or not _is_person(state):
                continue
            if outcome.probs is not None:
                counts += state.task.annotator.weight * outcome.probs
            elif outcome.label is not None:
                counts[outcome.label] += state.task.annotator.weight
        return counts

    def learn(self, votes: Floats) -> None:
        """Take the votes of an item that was asked in full for the prior's sake."""
        self._pilots.append(votes)
        if len(self._pilots) >= max(self._config.pilot, 2 * self._learned_from):
            from dprm_data.preference.model_selection import learn_prior

            self._prior, _ = learn_prior(np.array(self._pilots), self._space, "beta")
            self._learned_from = len(self._pilots)
            self._known.clear()

    def narrow(self, votes: Floats) -> bool:
        """Whether the posterior of an item with these votes keeps the bound."""
        key = votes.tobytes()
        if key not in self._known:
            self._known[key] = self.width(votes) <= self._config.within
        return self._known[key]

    def width(self, votes: Floats) -> float:
        """What is held against the bound: half the 90 % credible interval of the expected reward, or the expected Wasserstein-1 distance
        of the posterior from the truth (in units of reward)."""
        from dprm_data.ingest.votes import Votes
        from dprm_data.preference.fitting import fit

        fitted = fit(Votes(("item",), votes[None, :]), self._space, prior=self._prior, interval=0.9)  # type: ignore[arg-type]
        if self._config.measure == "wasserstein":
            return float(fitted.expected_distance[0])
        return float(fitted.reward_high[0] - fitted.reward_low[0]) / 2


def _is_person(state: TaskState) -> bool:
    """Whether one of the panel is asked, and not the model for a whole population's distribution."""
    return state.task.annotator is not POPULATION


def round_policy_for(config: EarlyStopConfig | None, space: LabelSpace) -> RoundPolicy:
    """The recipe's way of asking."""
    return EarlyStopping(config, space) if config else RoundPolicy()
