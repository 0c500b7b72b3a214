"""Our reward in TRL's trainers for policies, GRPO and RLOO: a few real steps on a tiny policy with random weights.

`make test-trl` runs this; elsewhere it is skipped. That the policy learns is not tested: that the rewards it gets are those of the reward model is.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl", reason="trl is not installed here: make test-trl")

from datasets import Dataset

from dprm_trainers import reward_function
from tests.trainers import tiny

QUESTIONS = ["what is red", "what is blue", "what is the good", "what is kind"]
STEPS: dict[str, Any] = {
    "max_steps": 2,
    "per_device_train_batch_size": 4,
    "num_generations": 2,
    "max_completion_length": 6,
    "report_to": "none",
    "save_strategy": "no",
    "logging_steps": 1,
    "use_cpu": True,
    "bf16": False,
    "beta": 0.05,
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return tiny.models_of_groups(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny.base_model(tmp_path_factory.mktemp("policy")))


def prompts(conversational: bool) -> Dataset:
    found = [[{"role": "user", "content": text}] if conversational else text for text in QUESTIONS]
    return Dataset.from_dict({"prompt": found, "group_id": [str(i) for i in range(len(found))]})


class Watched:
    """The reward function, with what it was asked and what it answered."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.__name__ = inner, inner.__name__
        self.calls: list[tuple[list[Any], list[Any], list[float]]] = []

    def __call__(self, prompts: list[Any], completions: list[Any], **columns: Any) -> list[float]:
        assert "group_id" in columns
        rewards: list[float] = self.inner(prompts, completions, **columns)
        self.calls.append((prompts, completions, rewards))
        return rewards


def trained(kind: str, policy: str, reward: Any, conversational: bool, folder: Path) -> list[dict[str, Any]]:
    """The log of a few steps."""
    import trl

    trainer = getattr(trl, f"{kind}Trainer")(
        model=policy,
        reward_funcs=reward,
        args=getattr(trl, f"{kind}Config")(output_dir=str(folder), **STEPS),
        train_dataset=prompts(conversational),
        processing_class=tiny.tokenizer(),
    )
    before = [parameter.detach().clone() for parameter in trainer.model.parameters()]
    trainer.train()
    assert any(not old.equal(new) for old, new in zip(before, trainer.model.parameters(), strict=True))
    return [entry for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.parametrize("kind", ["GRPO", "RLOO"])
@pytest.mark.parametrize("conversational", [True, False], ids=["conversational", "standard"])
def test_trainers_take_it(kind: str, conversational: bool, models: list[str], policy: str, tmp_path: Path) -> None:
    reward = Watched(reward_function(models, reading="cvar:0.5"))
    log = trained(kind, policy, reward, conversational, tmp_path)
    assert len(log) == STEPS["max_steps"]
    for entry, (asked, answered, rewards) in zip(log, reward.calls, strict=True):
        assert all(isinstance(text, list) is conversational for text in (*asked, *answered))
        assert len(rewards) == STEPS["per_device_train_batch_size"]
        assert entry["rewards/dprm_reward/mean"] == pytest.approx(sum(rewards) / len(rewards), abs=1e-5)
        assert math.isfinite(entry["loss"])
        shares = [value for name, value in entry.items() if name.startswith("preference/")]
        assert len(shares) == tiny.SPACE.K
        assert sum(shares) == pytest.approx(1.0, abs=1e-3)
    assert len({value for _, _, rewards in reward.calls for value in rewards}) > 1


def test_why_there_is_a_function_at_all(models: list[str]) -> None:
    """TRL loads a reward model that is given by name with one output: ours, with one per label, cannot be loaded so."""
    from transformers import AutoModelForSequenceClassification

    with pytest.raises(RuntimeError, match=r"size mismatch|mismatched"):
        AutoModelForSequenceClassification.from_pretrained(models[0], num_labels=1)
