"""A call: one request to a provider, its key in the ledger, and the reply that the ledger keeps.

The key is a hash of everything that decides the answer: the provider's family, the model, the parameters, every message and the
replicate. Change a word of what is sent and it is another call; change anything else and it stays the same.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Literal

import orjson

from dprm_data.providers.request import Finish, Request, Usage

# How a call ended. `answered` is an answer, whatever its text; the others are failures that are kept as data.
ReplyStatus = Literal["answered", "rejected", "exhausted"]


@dataclass(frozen=True, slots=True)
class Call:
    """A request under its key."""

    key: bytes  # 32 bytes
    request: Request

    @classmethod
    def of(cls, family: str, request: Request, replicate: int) -> Call:
        """The call for this request. Each replicate asks the same question again."""
        identity = {
            "family": family,
            "model": request.model,
            "params": request.params,
            "messages": request.messages,
            "replicate": replicate,
        }
        return cls(hashlib.sha256(orjson.dumps(identity, option=orjson.OPT_SORT_KEYS)).digest(), request)


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of a call, as the ledger keeps it.

    cost: dollars, or None where the price is not known; created_at: seconds since 1970; latency: seconds.
    """

    status: ReplyStatus
    text: str = ""
    finish: Finish = "stop"
    top_logprobs: tuple[tuple[str, float], ...] | None = None
    model: str = ""
    usage: Usage = field(default_factory=Usage)
    cost: float | None = None
    latency: float = 0.0
    created_at: float = 0.0
    reason: str = ""  # why there is no answer
