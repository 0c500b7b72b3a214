"""Round policies: how many more personas to ask about an item. By default all at once; early stopping asks in rounds.

Early stopping asks all personas about the first items (the pilot) and learns the prior over items from their votes, again each time their
number has doubled. About every other item it asks a few personas at a time, in an order drawn per item so that no persona is always left
out, until the item's posterior under that prior is narrow enough. A persona that is not asked has no annotation: nothing is imputed.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np

from dprm_data.core.arrays import Floats
from dprm_data.elicit.work import is_population
from dprm_data.engine.replay import TaskState
from dprm_data.ingest.items import Item
from dprm_data.labels.space import LabelSpace
from dprm_data.recipe.recipe import EarlyStopConfig

_MOST_PILOTS = 3200  # at most this many items to learn the prior from


class RoundPolicy:
    """Asks everything at once."""

    def ordered(self, item: Item, states: list[TaskState]) -> list[TaskState]:
        """An item's tasks, in the order in which to ask."""
        return states

    def may_open(self, opened: int) -> bool:
        """Whether another item may be opened now. opened: the number of items that wait for their first answers."""
        return True

    def size(self, *, settled: Sequence[TaskState], waiting: Sequence[TaskState]) -> int | None:
        """How many of an item's waiting tasks to ask now: None for all, 0 for no more."""
        return None

    def closed(self, settled: Sequence[TaskState], *, in_full: bool) -> None:
        """Called with the tasks of every item that needs no further call. in_full: nobody was left out."""


class EarlyStopping(RoundPolicy):
    """Stops asking about an item once its posterior is narrow (`early_stop` in the recipe)."""

    def __init__(self, config: EarlyStopConfig, space: LabelSpace) -> None:
        self._config = config
        self._space = space
        self._pilots: list[Floats] = []
        self._learned_from = 0
        self._prior: object | None = None
        self._known: dict[bytes, bool] = {}  # by votes: the same votes recur often

    def ordered(self, item: Item, states: list[TaskState]) -> list[TaskState]:
        shuffled = list(states)
        random.Random(f"early stop {item.item_id}").shuffle(shuffled)
        return sorted(shuffled, key=_is_person)  # the population's distribution is asked first

    @property
    def ready(self) -> bool:
        """Whether the pilot is over."""
        return self._prior is not None

    def may_open(self, opened: int) -> bool:
        return self.ready or opened < self._config.pilot - len(self._pilots)

    def size(self, *, settled: Sequence[TaskState], waiting: Sequence[TaskState]) -> int | None:
        if not self.ready:
            return None
        # The population's distribution is asked about every item.
        population = sum(not _is_person(state) for state in waiting)
        people = sum(map(_is_person, settled))
        if people < self._config.first:
            return population + self._config.first - people
        return population + (0 if self.narrow(self.votes(settled)) else self._config.step)

    def closed(self, settled: Sequence[TaskState], *, in_full: bool) -> None:
        if in_full and len(self._pilots) < _MOST_PILOTS:
            self.learn(self.votes(settled))

    def votes(self, settled: Sequence[TaskState]) -> Floats:
        """The votes (K,) of the tasks that have ended. A task without a label has none."""
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
        """Add the votes (K,) of a pilot item, and learn the prior if that is due."""
        self._pilots.append(votes)
        if len(self._pilots) >= max(self._config.pilot, 2 * self._learned_from):
            from dprm_data.preference.model_selection import learn_prior

            self._prior, _ = learn_prior(np.array(self._pilots), self._space, "beta")
            self._learned_from = len(self._pilots)
            self._known.clear()

    def narrow(self, votes: Floats) -> bool:
        """Whether the posterior of an item with these votes is within the bound."""
        key = votes.tobytes()
        if key not in self._known:
            self._known[key] = self.width(votes) <= self._config.within
        return self._known[key]

    def width(self, votes: Floats) -> float:
        """The posterior's width, to compare with the bound: half the 90 % credible interval of the expected reward, or the expected
        Wasserstein-1 distance of the posterior from the truth (in units of reward)."""
        from dprm_data.ingest.votes import Votes
        from dprm_data.preference.fitting import fit

        fitted = fit(Votes(("item",), votes[None, :]), self._space, prior=self._prior, interval=0.9)  # type: ignore[arg-type]
        if self._config.measure == "wasserstein":
            return float(fitted.expected_distance[0])
        return float(fitted.reward_high[0] - fitted.reward_low[0]) / 2


def _is_person(state: TaskState) -> bool:
    """Whether the annotator is a persona of the panel, not the population as a whole."""
    return not is_population(state.task.annotator)


def round_policy_for(config: EarlyStopConfig | None, space: LabelSpace) -> RoundPolicy:
    """The recipe's policy."""
    return EarlyStopping(config, space) if config else RoundPolicy()
