"""A client of `dprm serve`, which tokenises by itself: the model's files are not needed here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dprm_trainers.core.errors import RewardError
from dprm_trainers.reward.remote import address, asked
from dprm_trainers.reward.scorer import Scores


@dataclass
class Service:
    """A client of `dprm serve` in the place of a `Scorer`. url: its address; reading: the service's own if None."""

    url: str
    reading: str | None = None
    key_env: str | None = None
    patience: float = 300.0
    labels: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()

    def __call__(self, prompts: Sequence[Any], responses: Sequence[str]) -> Scores:
        """The scores of N responses, each to its prompt. Raises `RewardError`."""
        content = {"prompts": list(prompts), "responses": list(responses)}
        if self.reading is not None:
            content["reading"] = self.reading  # type: ignore[assignment]
        where = address(self.url, "/score")
        answer = asked(where, content, self.key_env, self.patience)
        try:
            reward, known = np.array(answer["rewards"], dtype=np.float64), answer["distributions"] is not None
            std = np.array(answer["std"], dtype=np.float64) if known else np.full(len(reward), np.nan)
            distribution = np.array(answer["distributions"], dtype=np.float64) if known else None
            self.labels, names = tuple(answer["labels"]), answer["worst_groups"]
            cut = int(answer["cut"])
        except (TypeError, KeyError, ValueError) as error:
            raise RewardError(f"{where} is not `dprm serve`: it answers in another form") from error
        if reward.shape != (len(responses),) or not np.isfinite(reward).all():
            raise RewardError(f"{where} answers {reward.shape} rewards to {len(responses)} responses")
        worst = None
        if names is not None:
            self.groups = (*self.groups, *sorted(set(names) - set(self.groups)))
            worst = np.array([self.groups.index(name) for name in names])
        return Scores(reward, std, distribution, worst, cut)
