"""The settings of an alignment by PPO: what a YAML file or the command line may say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from dprm_trainers.settings import given_settings

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
AtLeastZero = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(gt=0)]


class PPOConfig(BaseModel):
    """Settings of `dprm train ppo`. Only prompts, policy and reward_model must be given."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    # What is aligned with what
    prompts: str  # a run folder, a file, or owner/name on the Hub
    policy: str  # a folder or a name on the Hub; smollm2-135m is the small bundled model
    reward_model: list[str]  # one, or several: the models of a dataset's groups, whose least reward counts
    reading: str = "mean"  # mean, quantile:t, cvar:t, std:l or entropic:b: how a distribution is read as a reward
    output: str = "policy"
    prompt_split: str = "train"
    limit: Count | None = None  # prompts

    # Rollouts
    max_new_tokens: Count = 64
    min_new_tokens: Annotated[int, Field(ge=0)] = 0  # the end token is forbidden before: to policy and reference
    max_prompt_length: Count | None = None  # tokens; what the context leaves beside the response, at most 1,024
    overlong: Literal["error", "truncate", "drop"] = "error"  # prompts that are longer
    temperature: Positive = 1.0  # the policy that is trained is the tempered one
    top_k: Annotated[int, Field(ge=0)] = (
        0  # 0: off. With it, samples are not the policy's own, and PPO is only about right
    )
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0  # 1: off; the same warning
    missing_end_penalty: AtLeastZero = 0.0  # taken off the reward of a response that did not end by itself
    chat_template: str | None = None  # `plain`, or a Jinja file, for a tokenizer without one
    pad_token: str | None = None

    # What is maximised
    kl_coefficient: AtLeastZero = 0.05
    kl_target: Positive | None = None  # nats per response: the coefficient is then led to it
    kl_horizon: Positive = 10_000.0  # responses
    discount: Share = 1.0
    gae_lambda: Share = 0.95
    clip: Positive = 0.2  # of the ratio
    entropy_coefficient: AtLeastZero = 0.0
    whiten_advantages: bool = True
    whiten_rewards: bool = False  # token rewards are divided by their spread
    reward_clip: Positive | None = None  # rewards are held within +- this
    stop_kl: Positive | None = None  # nats per token between the sampling policy and the new one: ends a batch's epochs

    # The critic
    critic: Literal["shared", "own"] = "shared"  # a head on the policy's backbone, or on a copy of its own
    quantiles: Annotated[int, Field(ge=0)] = 0  # 0: a scalar critic; else the quantiles of the return
    quantile_huber: Positive = 0.05  # where the quantile loss turns from squares to lines
    value_coefficient: AtLeastZero = 0.5
    value_clip: AtLeastZero = 0.2  # 0: off

    # How it is trained
    lora: Annotated[int, Field(ge=0)] = 0  # rank; the reference is then the base without adapters. 0 trains the weights
    lora_alpha: Positive | None = None  # twice the rank, if not given
    lora_targets: str | list[str] = "all-linear"
    train_layers: Annotated[int, Field(ge=0)] = 0  # train only so many last layers; 0 trains all
    epochs: Positive = 1.0  # over the prompts
    steps: Count | None = None  # batches of responses; goes before epochs
    batch_size: Count = 16  # responses per device and step
    update_epochs: Count = 4  # over every batch
    minibatches: Count = 4  # parts of a batch, an optimizer step each
    micro_batch: Count | None = None  # responses per forward pass; a minibatch if not given. Less takes less memory
    learning_rate: AtLeastZero | None = None  # 1e-6; 1e-5 with train_layers; 1e-4 with lora
    value_learning_rate: AtLeastZero | None = (
        None  # of the critic's own weights; ten times the learning rate, at least 1e-4
    )
    scheduler: Literal["constant", "linear", "cosine"] = "linear"
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.05  # of the steps
    weight_decay: AtLeastZero = 0.0
    max_grad_norm: Positive = 1.0
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # auto: bf16 on a GPU that has it
    checkpointing: bool = False  # recompute activations: less memory, a third more time
    seed: int = 0

    # What is written
    save: Literal["merged", "adapter"] = "merged"  # with lora: a plain model, or the adapter alone
    save_every: Annotated[int, Field(ge=0)] = 50  # steps between checkpoints; 0: none
    samples_every: Annotated[int, Field(ge=0)] = 10  # steps between tables of samples; 0: none
    samples: Count = 8  # rows of such a table
    overwrite: bool = False  # train anew where the output holds a model
    resume: bool = False  # go on from the last checkpoint in the output folder
    push_to_hub: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")] | None = None  # owner/name; a new one is private

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
                f"batch_size: {self.batch_size} responses cannot be parted into {self.minibatches} minibatches of one size"
            )
        if self.min_new_tokens > self.max_new_tokens:
            raise ValueError("min_new_tokens is more than max_new_tokens")
        if self.lora and self.train_layers:
            raise ValueError("train_layers trains weights themselves; leave lora out")
        if self.kl_target and not self.kl_coefficient:
            raise ValueError("kl_target: a coefficient of 0 cannot be led anywhere; give kl_coefficient")
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
        """The learning rate of what the critic has by itself: its head, and its backbone if that is its own."""
        if self.value_learning_rate is not None:
            return self.value_learning_rate
        if self.critic == "own":
            return 10 * self.rate
        return max(10 * self.rate, 1e-4)

    @classmethod
    def of(cls, file: str | Path | None = None, **flags: Any) -> PPOConfig:
        """Settings from a YAML file, flags (which go before the file; None is not given), or both. Raises `TrainingError`."""
        return given_settings(cls, file, flags)
