"""Errors of training and scoring that the user can act on (see `dprm_data.core.errors`)."""

from __future__ import annotations

from dprm_data.core.errors import InputError


class LossError(InputError):
    """An unknown loss, or a loss that cannot be computed with the given ground cost."""


class TrainingDataError(InputError):
    """Unusable data: wrong label space, no distributions, an empty split, rows too long."""


class TrainingError(InputError):
    """Unusable settings, or an unusable model or tokenizer."""


class RewardError(TrainingError):
    """A reward model whose output is not finite. The model is at fault, not the text."""
