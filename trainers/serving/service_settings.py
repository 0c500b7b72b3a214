"""The settings of `dprm serve`: models, reading, and limits of requests."""

from __future__ import annotations

import os
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from dprm_data.core.errors import InputError
from dprm_trainers.core.settings import Count, Flag, HeadsOf, Section
from dprm_trainers.reward.risk_measures import ReadingSpec

Queries = Literal["template", "plain"]


class ServiceSettings(BaseModel):
    """Settings of `dprm serve`. Only reward_model is required."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    reward_model: Annotated[list[str], Flag("-m")] = Field(
        description="A trained model. Repeat it for models of groups: the least satisfied group counts."
    )
    host: str = Field("127.0.0.1", description="The address to listen on; 0.0.0.0 accepts other machines.")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(8000, description="The port to listen on; 0 picks a free one.")
    group: HeadsOf = None
    reading: ReadingSpec = "mean"
    queries: Queries = Field(
        "template", description="What OpenRLHF's texts are: rendered by a chat template, or plain."
    )
    policy_tokenizer: str | None = Field(
        None, description="The tokenizer whose template renders queries. Default: the reward model's."
    )
    api_key_env: str | None = Field(None, description="The environment variable with the key that callers must send.")
    device: str | None = Field(None, description="cpu, cuda, cuda:1, ...")
    bf16: bool = Field(False, description="Load the model in half the memory.")

    max_body: Annotated[float, Field(ge=0.001), Section("Limits")] = Field(8.0, description="MiB of a request's body.")
    max_rows: Count = Field(1024, description="Responses in a request.")
    max_text: Count = Field(100_000, description="Characters of a response, or of all turns of a prompt.")
    max_concurrency: Count = Field(1024, description="Concurrent requests; more get 503.")
    max_queue: Count = Field(131_072, description="Responses waiting for a batch; more get 429.")
    max_pending: Annotated[float, Field(ge=0.001)] = Field(
        1024.0, description="MiB of all bodies of requests in progress; more get 503."
    )
    max_receive: Annotated[float, Field(gt=0)] = Field(
        30.0, description="Seconds for a request to arrive, and for its response to be read."
    )
    max_batch: Count = Field(32, description="Responses in a forward pass.")
    max_wait: Annotated[float, Field(ge=0)] = Field(
        5.0, description="Milliseconds that a response waits for others to fill a batch."
    )

    @property
    def body_bytes(self) -> int:
        """The largest body of a request, in bytes."""
        return int(self.max_body * 1024 * 1024)

    @property
    def pending_bytes(self) -> int:
        """The bodies of all requests in progress together, in bytes."""
        return int(self.max_pending * 1024 * 1024)

    @property
    def wait_seconds(self) -> float:
        """`max_wait` in seconds."""
        return self.max_wait / 1000

    @property
    def key(self) -> str | None:
        """The key that callers must send. It is read from the environment, so that no dump of the settings shows it.

        Raises `InputError` if the variable is not set.
        """
        if self.api_key_env is None:
            return None
        key = os.environ.get(self.api_key_env, "").strip()
        if not key:
            raise InputError(f"--api-key-env: the environment variable {self.api_key_env} is not set, or empty")
        return key
