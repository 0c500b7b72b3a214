"""A call: one request to a provider, its key in the ledger, and the reply that the ledger keeps.

The key is a hash of everything that determines the answer: the provider's family, the model, the parameters, every message and the
replicate. Changing a word of what is sent makes another call; changing anything else does not.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Literal

import orjson

from dprm_data.providers.request import Finish, Request, Usage
from dprm_data.providers.thoughts import split_thoughts

_FEW_TOKENS = 8  # that a short answer may have beside its characters

# How a call ended. `answered`: with an answer, whatever its text. The others are failures, kept as data.
ReplyStatus = Literal["answered", "rejected", "exhausted"]


@dataclass(frozen=True, slots=True)
class Call:
    """A request under its key."""

    key: bytes  # 32 bytes
    request: Request

    @classmethod
    def of(cls, family: str, request: Request, replicate: int) -> Call:
        """The call for this request. Each replicate repeats the same question."""
        identity = {
            "family": family,
            "model": request.model,
            "params": request.params,
            "messages": request.messages,
            "replicate": replicate,
        }
        return cls(hashlib.sha256(orjson.dumps(identity, option=orjson.OPT_SORT_KEYS)).digest(), request)


def with_room(call: Call) -> Call:
    """The same call, to a model that turned out to think: with room for its thoughts."""
    capabilities = call.request.capabilities.thinking()
    return Call(call.key, replace(call.request, capabilities=capabilities))


@dataclass(frozen=True, slots=True)
class Reply:
    """The result of a call, as the ledger keeps it.

    cost: dollars, None if the price is unknown; created_at: seconds since 1970; latency: seconds.
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

    @property
    def thought(self) -> bool:
        """Whether the model thought before it answered. Where it gave more tokens than characters, it kept thoughts back."""
        kept_back = self.usage.output_tokens > max(len(self.text), _FEW_TOKENS)
        return kept_back or bool(self.usage.reasoning_tokens) or bool(split_thoughts(self.text)[0])
