"""What a service of rewards is told: which models, how they are read, and its limits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Queries = Literal["template", "plain"]


@dataclass(frozen=True)
class Limits:
    """max_body: bytes. max_rows: of one request. max_text: characters of a response, or of all turns of a prompt. max_concurrency: requests in the house, each of which may hold a
    body. max_batch: rows of one pass of the model. max_wait: seconds that a row waits for others."""

    max_body: int = 8 * 1024 * 1024
    max_rows: int = 1024
    max_text: int = 100_000
    max_concurrency: int = 1024
    max_batch: int = 32
    max_wait: float = 0.005


@dataclass(frozen=True)
class ServiceSettings:
    """references: one reward model, or one per group. queries: what OpenRLHF's texts are: made by a chat template (that of `policy_tokenizer`, else the reward model's own), or plain.
    key: what callers must show; it is in no message and no log."""

    references: tuple[str, ...]
    host: str = "127.0.0.1"
    port: int = 8000
    reading: str = "mean"
    device: str | None = None
    bf16: bool = False
    queries: Queries = "template"
    policy_tokenizer: str | None = None
    key: str | None = field(default=None, repr=False)
    limits: Limits = field(default_factory=Limits)
