"""One text has one score: in ours, in plain transformers, and by the pooling rules of servers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from dprm_trainers.core.errors import TrainingError
from dprm_trainers.data.tokens import pad_apart_from_the_end
from dprm_trainers.reward.reward_model import RewardModel
from dprm_trainers.reward.reward_trainer import train_reward
from tests.trainers import tiny

TEXTS = [
    f"user : {prompt} <end> assistant : {answer} <end> "
    for prompt, answer in (("what is two", "good"), ("a", "bad rude one"))
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A model whose tokenizer pads with the token that ends every turn."""
    folder = tmp_path_factory.mktemp("pad")
    config = tiny.settings(folder)
    made = tiny.tokenizer()
    made.pad_token = "<end>"
    made.save_pretrained(config.model)
    said: list[str] = []
    return train_reward(config, said.append).output, said


def test_the_pad_token_is_moved_away_from_the_end(trained: tuple[Path, list[str]]) -> None:
    folder, said = trained
    assert any("texts end with '<end>'" in line for line in said)
    assert AutoTokenizer.from_pretrained(folder).pad_token == "<unk>"


def test_transformers_and_the_servers_rules_read_the_same_token(trained: tuple[Path, list[str]]) -> None:
    folder, _ = trained
    read, model = (
        AutoTokenizer.from_pretrained(folder),
        AutoModelForSequenceClassification.from_pretrained(folder).eval(),
    )
    batch = read(TEXTS, return_tensors="pt", padding=True, add_special_tokens=False)
    with torch.no_grad():
        plain = model(**batch).logits  # transformers: the last token with another id than the pad token
        hidden = model.model(**batch).last_hidden_state
        last = batch["attention_mask"].sum(dim=1) - 1  # vLLM, SGLang and TEI: the last token of the text
        served = model.score(hidden[torch.arange(len(TEXTS)), last])
        alone = torch.cat([model(**read(text, return_tensors="pt", add_special_tokens=False)).logits for text in TEXTS])
    assert torch.allclose(plain, served, atol=1e-6) and torch.allclose(plain, alone, atol=1e-5)
    prompts = [[{"role": "user", "content": text}] for text in ("what is two", "a")]
    responses = [[{"role": "assistant", "content": text}] for text in ("good", "bad rude one")]
    ours = RewardModel.load(str(folder)).judge(prompts, responses)
    assert ours.distribution is not None
    assert np.allclose(ours.distribution, plain.softmax(dim=1).numpy(), atol=1e-5)


def test_a_tokenizer_without_another_token_is_refused() -> None:
    made = tiny.tokenizer()
    made.pad_token, made.unk_token = "<end>", None
    with pytest.raises(TrainingError, match="pads with '<end>', which texts end with"):
        pad_apart_from_the_end(made)


def test_a_pad_token_of_its_own_stays() -> None:
    made = tiny.tokenizer()
    assert pad_apart_from_the_end(made) is None and made.pad_token == "<pad>"
