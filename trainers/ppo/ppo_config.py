"""The settings of PPO, from YAML or the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from dprm_trainers.core.settings import (
    AtLeastZero,
    ChatTemplate,
    Checkpointing,
    Count,
    CountOrZero,
    Flag,
    HeadsOf,
    LoraAlpha,
    LoraTargets,
    Overwrite,
    PadToken,
    Positive,
    Precision,
    PushToHub,
    Resume,
    Section,
    Seed,
    Warmup,
    given_settings,
)
from dprm_trainers.reward.risk_measures import ReadingSpec

Share = Annotated[float, Field(ge=0, le=1)]


class PPOConfig(BaseModel):
    """Settings of `dprm train ppo`. Only prompts, policy and reward_model are required."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    prompts: Annotated[str, Section("Prompts and models")] = Field(
        description="A run folder, a file of prompts or conversations, or owner/name on the Hub."
    )
    policy: str = Field(
        description="The model to align: a folder or a name on the Hub; smollm2-135m is the small bundled model."
    )
    reward_model: Annotated[list[str], Flag("-m")] = Field(
        description="A model of `dprm train reward`. Repeat it for models of groups: the least satisfied group counts."
    )
    group: HeadsOf = None
    reading: ReadingSpec = "mean"
    output: Annotated[str, Flag("-o")] = Field("policy", description="The folder for the aligned policy.")
    prompt_split: str = Field("train", description="The split of the prompts to train on.")
    limit: Count | None = Field(None, description="Train on at most this many prompts.")

    max_new_tokens: Annotated[Count, Section("Rollouts")] = Field(64, description="The longest response, in tokens.")
    min_new_tokens: CountOrZero = Field(
        0, description="Tokens before which the end token is forbidden, to policy and reference."
    )
    max_prompt_length: Count | None = Field(
        None,
        description="The longest prompt, in tokens. Default: what the response leaves of the context (at most 1,024).",
    )
    overlong: Literal["error", "truncate", "drop"] = Field("error", description="What to do with longer prompts.")
    temperature: Positive = Field(1.0, description="The temperature of sampling; PPO trains the tempered policy.")
    top_k: CountOrZero = Field(
        0, description="Sample from the k most likely tokens; 0: off. PPO is then only approximate."
    )
    top_p: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="Sample from the most likely tokens of this mass; 1: off. PPO is then only approximate."
    )
    missing_end_penalty: AtLeastZero | None = Field(
        None,
        description="Subtracted from the reward of a response that was cut off; 0 judges it as if it had ended. "
        "Default: it gets the least reward of its batch.",
    )
    chat_template: ChatTemplate = None
    pad_token: PadToken = None

    kl_coefficient: Annotated[AtLeastZero, Section("Objective"), Flag("--kl")] = Field(
        0.05, description="The weight of the KL divergence from the reference."
    )
    kl_target: Positive | None = Field(None, description="Nats per response: adapt the coefficient to reach it.")
    kl_horizon: Positive = Field(10_000.0, description="Responses over which the coefficient adapts.")
    discount: Share = Field(1.0, description="The discount of later rewards.")
    gae_lambda: Share = Field(0.95, description="The lambda of generalized advantage estimation.")
    clip: Positive = Field(0.2, description="The range of the clipped probability ratio.")
    entropy_coefficient: AtLeastZero = Field(0.0, description="The weight of the policy's entropy.")
    whiten_advantages: bool = Field(True, description="Give the advantages of a batch mean 0 and variance 1.")
    whiten_rewards: bool = Field(False, description="Divide token rewards by their standard deviation.")
    reward_clip: Positive | None = Field(None, description="Clip rewards to plus and minus this.")
    stop_kl: Positive | None = Field(
        None, description="Nats per token from the sampling policy to the new one that end the epochs over a batch."
    )

    critic: Annotated[Literal["shared", "own"], Section("Critic")] = Field(
        "shared", description="A head on the policy's backbone, or on its own copy of it."
    )
    quantiles: CountOrZero = Field(
        0, description="Quantiles of the return that the critic predicts; 0: it predicts the mean."
    )
    quantile_huber: Positive = Field(0.05, description="Where the quantile loss turns from quadratic to linear.")
    value_coefficient: AtLeastZero = Field(0.5, description="The weight of the critic's loss.")
    value_clip: AtLeastZero = Field(0.2, description="The range of the clipped value; 0: off.")

    lora: Annotated[CountOrZero, Section("Training")] = Field(
        0, description="The rank of low-rank adapters (the reference is the base without them); 0 trains the weights."
    )
    lora_alpha: LoraAlpha = None
    lora_targets: LoraTargets = "all-linear"
    train_layers: CountOrZero = Field(0, description="Train this many of the last layers only; 0 trains all.")
    epochs: Positive = Field(1.0, description="Passes over the prompts.")
    steps: Count | None = Field(None, description="Batches of responses; takes precedence over epochs.")
    batch_size: Count = Field(16, description="Responses per device and step.")
    update_epochs: Count = Field(4, description="Passes over every batch.")
    minibatches: Count = Field(4, description="Parts of a batch, with an optimizer step each.")
    micro_batch: Count | None = Field(
        None, description="Responses per forward pass: fewer take less memory. Default: a minibatch."
    )
    learning_rate: AtLeastZero | None = Field(
        None,
        description="AdamW's learning rate after the warm-up. Default: 1e-6, 1e-5 with train_layers, 1e-4 with lora.",
    )
    value_learning_rate: AtLeastZero | None = Field(
        None,
        description="Of the critic's own weights. Default: 10 times learning_rate; at least 1e-4 on a shared backbone.",
    )
    scheduler: Literal["constant", "linear", "cosine"] = Field(
        "linear", description="The schedule of the learning rate."
    )
    warmup: Warmup = 0.05
    weight_decay: AtLeastZero = Field(0.0, description="How strongly AdamW draws the weights towards 0.")
    max_grad_norm: Positive = Field(1.0, description="Clip gradients to this norm.")
    precision: Precision = "auto"
    checkpointing: Checkpointing = False
    seed: Seed = 0

    save: Annotated[Literal["merged", "adapter"], Section("Output")] = Field(
        "merged", description="With lora: a plain model, or the adapter alone."
    )
    save_every: CountOrZero = Field(50, description="Steps between checkpoints; 0: none.")
    policy_every: CountOrZero = Field(
        0, description="Steps between policies that are kept, as models in checkpoints/policy-STEP; 0: none."
    )
    samples_every: CountOrZero = Field(10, description="Steps between tables of samples; 0: none.")
    samples: Count = Field(8, description="Rows of a table of samples.")
    overwrite: Overwrite = False
    resume: Resume = False
    push_to_hub: PushToHub = None

    @field_validator("reward_model", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _fits_together(self) -> PPOConfig:
        if not self.reward_model:
            raise ValueError("reward_model: give at least one")
        if self.batch_size % self.minibatches:
            raise ValueError(
                f"batch_size: {self.batch_size} responses cannot be split into {self.minibatches} equal minibatches"
            )
        if self.min_new_tokens > self.max_new_tokens:
            raise ValueError("min_new_tokens is more than max_new_tokens")
        if self.lora and self.train_layers:
            raise ValueError("train_layers trains the weights themselves; leave lora out")
        if self.kl_target and not self.kl_coefficient:
            raise ValueError("kl_target: a coefficient of 0 cannot adapt; set kl_coefficient")
        if self.save == "adapter" and not self.lora:
            raise ValueError("save: adapter needs lora")
        return self

    @property
    def minibatch(self) -> int:
        """Responses per device and optimizer step."""
        return self.batch_size // self.minibatches

    @property
    def rate(self) -> float:
        """The policy's learning rate."""
        if self.learning_rate is not None:
            return self.learning_rate
        return 1e-4 if self.lora else 1e-5 if self.train_layers else 1e-6

    @property
    def value_rate(self) -> float:
        """The learning rate of the critic's own weights: its head, and its own backbone if it has one."""
        if self.value_learning_rate is not None:
            return self.value_learning_rate
        if self.critic == "own":
            return 10 * self.rate
        return max(10 * self.rate, 1e-4)

    @classmethod
    def of(cls, file: str | Path | None = None, **flags: Any) -> PPOConfig:
        """Settings from a YAML file, flags (None means not set), or both; flags take precedence.

        Raises `TrainingError`.
        """
        return given_settings(cls, file, flags)
