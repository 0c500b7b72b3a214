"""Models trained by an earlier version are loaded, evaluated and trained on; trainings that it began are finished."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.before.make_models import BROKEN_OFF, EVALUATE, PPO, REWARD
from tests.before.saved import assert_holds, dprm_each, unpack

ENVIRONMENT = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return unpack("models", tmp_path)


def test_an_old_reward_model_is_evaluated(folder: Path) -> None:
    [said] = dprm_each([EVALUATE], cwd=folder, **ENVIRONMENT)
    assert_holds(json.loads(said), json.loads((folder / "evaluated.json").read_text()), within=1e-4)


def test_an_old_reward_model_from_python(folder: Path) -> None:
    """By our own name, and by stock transformers."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from dprm_trainers import reward_function

    known = json.loads((folder / "rewards.json").read_text())
    texts = (["what is red", "what is blue"], ["good kind", "bad rude"])
    assert reward_function(str(folder / "reward"))(*texts) == pytest.approx(known, abs=1e-4)
    model = AutoModelForSequenceClassification.from_pretrained(folder / "reward")
    tokenizer = AutoTokenizer.from_pretrained(folder / "reward")
    messages = [{"role": "user", "content": "what is red"}, {"role": "assistant", "content": "good kind"}]
    ids = tokenizer.apply_chat_template(messages, return_dict=True, return_tensors="pt")
    probabilities = torch.softmax(model(**ids).logits[0], dim=-1).tolist()
    space = model.config.dprm["label_space"]
    rewards = [label["reward"] for label in space["labels"]]
    expected = sum(p * reward for p, reward in zip(probabilities, rewards, strict=True))
    assert expected == pytest.approx(known[0], abs=1e-3)


def test_an_old_training_of_a_reward_model_goes_on(folder: Path) -> None:
    command = [*REWARD, "--epochs", 3, "--output", "resumed", "--resume"]
    said = json.loads(dprm_each([command], cwd=folder, **ENVIRONMENT)[0])
    assert said["figures"]["epochs"] == 3
    assert said["figures"]["steps"] == 6
    assert (folder / "resumed/model.safetensors").exists()


def test_an_old_alignment_goes_on(folder: Path) -> None:
    old = lines(folder / "broken-off/log.jsonl")
    assert 2 <= len(old) < 12
    said = json.loads(dprm_each([[*BROKEN_OFF, "--resume"]], cwd=folder, **ENVIRONMENT)[0])
    assert said["figures"]["steps"] == 12
    found = lines(folder / "broken-off/log.jsonl")
    assert [line["step"] for line in found] == list(range(1, 13))
    assert_holds(found[: len(old)][:2], old[:2])


def test_an_old_policy_is_compared_and_aligned_further(folder: Path) -> None:
    compare = [
        "evaluate-policy", "--policy", "base", "--policy", "policy", "--prompts", "prompts.jsonl", "--split", "all",
        "--max-new-tokens", 4, "--judge", "reward", "--out", "compared", "--quiet", "--json",
    ]  # fmt: skip
    further = [*PPO[:4], "--policy", "policy", *PPO[6:], "--steps", 1, "--output", "further"]
    compared, _ = dprm_each([compare, further], cwd=folder, **ENVIRONMENT)
    assert json.loads(compared)
    assert (folder / "further/model.safetensors").exists()
    facts = json.loads((folder / "policy/dprm_ppo.json").read_text())
    new = json.loads((folder / "further/dprm_ppo.json").read_text())
    assert facts.keys() <= new.keys()


def lines(file: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in file.read_text().splitlines()]
