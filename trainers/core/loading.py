"""Load models that may be anybody's: no code of theirs runs, and what is wrong with their files is an error in words.

Weights are read from safetensors files alone: the older formats are pickles, which are programs. Code in a model's
repository is never run, whatever its config.json asks for, and nobody is asked whether it may.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dprm_data.core.errors import DprmError
from dprm_trainers.core.errors import TrainingError

CONFIG: dict[str, Any] = {"trust_remote_code": False}  # also of tokenizers
WEIGHTS: dict[str, Any] = CONFIG | {"use_safetensors": True}


@contextmanager
def loading(what: str, hint: str) -> Iterator[None]:
    """Around calls of `from_pretrained`. what: `the reward model NAME`, for the message.

    Raises `TrainingError` for whatever they raise: malformed files end in errors of every kind.
    """
    try:
        yield
    except DprmError:
        raise
    except Exception as error:
        reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
        if "trust_remote_code" in reason or "custom code" in reason:
            reason, hint = (
                "it needs code of its own, which is never run",
                "Give a model that transformers has built in.",
            )
        raise TrainingError(f"cannot load {what}: {reason}", hint=hint) from error
