"""The reward as a callable for trainers that take one, such as TRL's GRPOTrainer and RLOOTrainer.

Models are loaded at the first call: only the settings are pickled to another process, and importing this needs no
torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dprm_trainers.reward.scorer import Scorer, Scores
    from dprm_trainers.reward.service_client import Service


class RewardFunction:
    """`rewards = function(prompts, completions, **columns)` returns N floats. The dataset's columns are ignored.

    prompts and completions: N texts, or N lists of messages (TRL's standard and conversational formats).

    With TRL's `log_metric` it logs means over the batch: `reward_std` (the standard deviation over the predicted
    population), `preference/<label>` (the share of each label), `worst/<group>` (how often each group is the least
    satisfied, if there are several) and `cut` (the share of texts too long for the model).
    """

    def __init__(
        self,
        references: str | Sequence[str] | None,
        *,
        name: str,
        **settings: Any,
    ) -> None:
        self.__name__ = name  # trainers log it under this name
        self._references = [references] if isinstance(references, str) else references and list(references)
        self._settings = settings
        self._scorer: Scorer | Service | None = None

    def __call__(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        log_metric: Callable[[str, float], None] | None = None,
        **columns: Any,
    ) -> list[float]:
        """The rewards of N completions, each to its prompt.

        Raises `TrainingError` for malformed texts, or if a model fails.
        """
        from dprm_trainers.data.chat import all_judged

        found = self.scorer(*all_judged(prompts, completions))
        if log_metric is not None and len(found.reward):
            for name, value in _figures(self.scorer, found).items():
                log_metric(name, value)
        return [float(reward) for reward in found.reward]

    @property
    def scorer(self) -> Scorer | Service:
        """The scorer, loaded on first use, or the client of the service."""
        if self._scorer is None and self._references is None:
            from dprm_trainers.reward.service_client import Service

            given = self._settings
            self._scorer = Service(given["url"], given["reading"], given["key_env"])
        elif self._scorer is None:
            from dprm_trainers.reward.scorer import Scorer

            self._scorer = Scorer.load(self._references or (), **self._settings)
        assert self._scorer is not None
        return self._scorer

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_scorer": None}


def reward_function(
    references: str | Sequence[str] | None = None,
    *,
    reading: str = "mean",
    device: str | None = None,
    batch_size: int = 16,
    bf16: bool = False,
    url: str | Sequence[str] | None = None,
    key_env: str | None = None,
    name: str = "dprm_reward",
    group: str | None = None,
) -> RewardFunction:
    """A reward for TRL's trainers: `GRPOTrainer(model=..., reward_funcs=reward_function("my-reward-model"), ...)`.

    references: a reward model (a folder or a name on the Hub), or several, one per group of the population; the reward
    is then the least of their readings. reading: see `dprm_trainers.reward.risk_measures`. device: by default a GPU if
    there is one. bf16: half the memory. name: the name in the trainer's log. group: of a model with heads of groups,
    attribute=value for that group's reward, or `least` for that of the least satisfied group.

    With a url no process loads a model: without references it is that of `dprm serve`; with references, of a vLLM or
    SGLang server that has the model (one url for each), asked for `batch_size` rows at a time. key_env: the environment
    variable with the server's key. Raises `TrainingError` if there is neither references nor one url.
    """
    if references is None and not isinstance(url, str):
        from dprm_trainers.core.errors import TrainingError

        raise TrainingError("reward_function needs a reward model, or the url of `dprm serve`")
    settings = {"reading": reading, "device": device, "batch_size": batch_size, "bf16": bf16}
    settings |= {"group": group} if group else {}
    return RewardFunction(references, name=name, **settings, url=url, key_env=key_env)


def _figures(scorer: Scorer | Service, found: Scores) -> dict[str, float]:
    figures = {"cut": found.cut / len(found.reward)}
    if found.distribution is not None:
        figures["reward_std"] = float(found.std.mean())
        means = zip(scorer.labels, found.distribution.mean(axis=0), strict=True)
        figures |= {f"preference/{label}": float(mean) for label, mean in means}
    if found.worst is not None:
        figures |= {f"worst/{group}": float((found.worst == g).mean()) for g, group in enumerate(scorer.groups)}
    return figures
