"""Tiny alignments: a policy made in the test, and rewards that are known exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from dprm_data.core.arrays import Floats
from dprm_trainers.data.rows import Message
from dprm_trainers.ppo.alignment import Alignment, Questions, make_accelerator
from dprm_trainers.ppo.ppo_config import PPOConfig
from tests.trainers import tiny

PROMPTS: list[list[Message]] = [[{"role": "user", "content": f"what is {word}"}] for word in tiny.WORDS[:8]]


@dataclass(frozen=True)
class Scores:
    reward: Floats
    distribution: Floats | None
    std: Floats


def by_text(score: Callable[[str], float]) -> Any:
    """A reward function that looks at the response alone, with a distribution over two labels."""

    def reward(prompts: Sequence[list[Message]], responses: Sequence[str]) -> Scores:
        found = np.array([score(text) for text in responses], dtype=np.float64)
        share = 1 / (1 + np.exp(-found))
        return Scores(found, np.stack([share, 1 - share], axis=1), np.sqrt(share * (1 - share)))

    return reward


def share_of(word: str, longest: int) -> Any:
    """The share of `longest` tokens that are the word: 1 is the best that can be reached."""
    return by_text(lambda text: text.split().count(word) / longest)


def base_model(folder: Path) -> None:
    """A policy with random weights, large enough that its probabilities are far from uniform."""
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    ends = {"pad_token_id": 0, "eos_token_id": 2, "bos_token_id": None}
    LlamaForCausalLM(
        LlamaConfig(vocab_size=64, max_position_embeddings=64, initializer_range=0.2, **shape, **ends)
    ).save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)


def config(folder: Path, **changes: Any) -> PPOConfig:
    """Settings for a policy of some thousand weights, made in the folder where it is not yet."""
    if not (folder / "base").exists():
        base_model(folder / "base")
    given: dict[str, Any] = {
        "prompts": "tests", "policy": str(folder / "base"), "reward_model": "none", "output": str(folder / "policy"),
        "max_new_tokens": 6, "batch_size": 8, "minibatches": 2, "update_epochs": 2, "steps": 3, "learning_rate": 3e-3,
        "value_learning_rate": 1e-2, "kl_coefficient": 0.0, "missing_end_penalty": 0.0, "warmup": 0.0, "precision": "fp32",
    }  # fmt: skip
    return PPOConfig.of(**(given | changes))


def alignment(settings: PPOConfig, reward: Any, prompts: list[list[Message]] = PROMPTS) -> Alignment:
    tokenizer = AutoTokenizer.from_pretrained(settings.policy)
    ids: Any = tokenizer.apply_chat_template(prompts, tokenize=True, return_dict=False, add_generation_prompt=True)
    return Alignment(
        settings, Questions(prompts, [list(row) for row in ids]), reward, tokenizer, make_accelerator(settings)
    )


def run(found: Alignment) -> list[dict[str, float]]:
    """All steps; the figures of each."""
    return [found.step(number).figures for number in range(found.steps)]
