"""Trainers for preference distributions: losses, the reward model, its training and its evaluation, and what makes a policy better by it.

Installed as `dprm_trainers` with the extra `[train]`. Nothing heavy is imported here: `dprm_trainers.losses` needs torch only, the rest of the
modules need transformers when they are used.
"""

from dprm_trainers.rewarding import reward_function

__all__ = ["reward_function"]
