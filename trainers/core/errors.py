"""What can be wrong before training begins; all of it is the user's to act on (see `dprm_data.core.errors`)."""

from __future__ import annotations

from dprm_data.core.errors import InputError


class LossError(InputError):
    """A loss that does not exist, or a ground cost that it cannot be computed with."""


class TrainingDataError(InputError):
    """Data that cannot be trained or evaluated on: another label space, no distributions, an empty split, rows too long."""


class TrainingError(InputError):
    """Settings, a model or a tokenizer that cannot be used as they are."""


class RewardError(TrainingError):
    """A reward model whose output is no number: no text is at fault, and no other text will do better for sure."""
