"""Trainers for preference distributions: reward models, and policies aligned with them.

Installed as `dprm_trainers` with the extra `[train]`. The names below are the public interface. Each is imported on
first use, so importing this package is cheap. `verl_reward` stands alone: verl loads it as a file.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dprm_trainers.ppo.ppo_config import PPOConfig
    from dprm_trainers.ppo.prompt_sets import load_prompts
    from dprm_trainers.reward.losses import bradley_terry_loss, ce_loss, cramer_loss, ot_loss, wasserstein_loss
    from dprm_trainers.reward.reward_config import RewardConfig
    from dprm_trainers.reward.reward_function import reward_function
    from dprm_trainers.reward.reward_model import RewardModel
    from dprm_trainers.reward.scorer import Scorer

_MODULES = {
    "PPOConfig": "ppo.ppo_config",
    "RewardConfig": "reward.reward_config",
    "RewardModel": "reward.reward_model",
    "Scorer": "reward.scorer",
    "bradley_terry_loss": "reward.losses",
    "ce_loss": "reward.losses",
    "cramer_loss": "reward.losses",
    "load_prompts": "ppo.prompt_sets",
    "ot_loss": "reward.losses",
    "reward_function": "reward.reward_function",
    "wasserstein_loss": "reward.losses",
}

__all__ = [
    "PPOConfig",
    "RewardConfig",
    "RewardModel",
    "Scorer",
    "bradley_terry_loss",
    "ce_loss",
    "cramer_loss",
    "load_prompts",
    "ot_loss",
    "reward_function",
    "wasserstein_loss",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
