"""Mean pooling: one text has one score, in ours, by the layout of sentence-transformers, and after training again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    ModernBertConfig,
    ModernBertForMaskedLM,
)

from dprm_trainers.core.errors import TrainingError
from dprm_trainers.reward.reward_model import RewardModel
from dprm_trainers.reward.reward_trainer import train_reward
from dprm_trainers.reward.scorer import Scorer
from tests.trainers import tiny

ROWS = tiny.rows(6)
PROMPTS = [row["prompt"] for row in ROWS]
RESPONSES = [row["completion"][0]["content"] for row in ROWS]


def by_its_files(folder: Path) -> np.ndarray:
    """Logits as sentence-transformers, vLLM and TEI compute them: the backbone, the mean over the tokens, the dense layer."""
    modules = [(module["type"].rpartition(".")[2], module["path"]) for module in json.loads((folder / "modules.json").read_text())]  # fmt: skip
    assert [kind for kind, _ in modules[:2]] == ["Transformer", "Pooling"]
    assert {kind for kind, _ in modules[2:]} == {"Dense"}
    assert json.loads((folder / modules[1][1] / "config.json").read_text())["pooling_mode_mean_tokens"]
    layers = [load_file(folder / path / "model.safetensors") for _, path in modules[2:]]
    said = [json.loads((folder / path / "config.json").read_text())["activation_function"] for _, path in modules[2:]]
    activations = [{"Identity": torch.nn.Identity(), "Tanh": torch.nn.Tanh()}[name.rpartition(".")[2]] for name in said]
    model, read = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    found = []
    for row in ROWS:
        ids = read.apply_chat_template(row["prompt"] + row["completion"], return_dict=False, return_tensors="pt")
        with torch.no_grad():
            vector = model(ids).last_hidden_state[0].mean(dim=0)
        for dense, activation in zip(layers, activations, strict=True):
            vector = activation(dense["linear.weight"] @ vector + dense.get("linear.bias", torch.zeros(())))
        found.append(vector)
    return torch.stack(found).numpy()


@pytest.mark.parametrize(
    "changes",
    [
        {"pooling": "mean"},
        {"pooling": "mean", "lora": 2},
        {"freeze": "backbone", "pooling": "mean"},
        {"pooling": "mean", "calibrate": True, "model": "encoder"},
        {"model": "encoder of sentence-transformers"},
        {"freeze": "backbone", "pooling": "mean", "model": "encoder"},
        {"hidden": 8, "calibrate": True},
        {"hidden": 8, "model": "encoder"},
    ],
    ids=str,
)
def test_all_readers_of_the_mean_give_one_score(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    monkeypatch.setenv("DPRM_CACHE", str(tmp_path / "cache"))
    if "model" in changes:
        changes = changes | {"model": str(tiny.encoder(tmp_path / "encoder", mean="sentence" in changes["model"]))}
    said: list[str] = []
    config = tiny.settings(tmp_path, epochs=1, **changes)
    trained = train_reward(config, said.append)
    assert "pooling" in changes or any("pooling mean (" in line for line in said)
    assert (trained.output / "3_Dense").is_dir() == ("hidden" in changes)
    assert RewardModel.load(str(trained.output)).info["pooling"] == "mean"
    ours = Scorer.load(str(trained.output), device="cpu").predict(PROMPTS, RESPONSES).logits[:, 0]
    assert np.allclose(ours, by_its_files(trained.output), atol=1e-4)
    assert ours.std(axis=0).max() > 1e-4
    # A plain classifier has no head there: it says so, and does not read another token with this one's weights.
    _, found = AutoModelForSequenceClassification.from_pretrained(trained.output, output_loading_info=True)
    assert any(name.endswith(".weight") for name in found["missing_keys"])
    card = (trained.output / "README.md").read_text()
    assert "SentenceTransformer" in card and "AutoModelForSequenceClassification" not in card


@pytest.mark.parametrize("hidden", [0, 8])
def test_training_goes_on_with_the_head_and_the_pooling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hidden: int
) -> None:
    monkeypatch.setenv("DPRM_CACHE", str(tmp_path / "cache"))
    first = train_reward(tiny.settings(tmp_path, epochs=4, pooling="mean", hidden=hidden))
    again = tiny.settings(
        tmp_path, model=str(first.output), output=str(tmp_path / "again"), epochs=0.1, learning_rate=1e-9
    )
    second = train_reward(again)
    one, two = (Scorer.load(str(done.output))(PROMPTS, RESPONSES).reward for done in (first, second))
    assert np.allclose(one, two, atol=1e-4)


def test_nothing_of_an_earlier_model_stays_in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sentence-transformers would put the old head on the new backbone."""
    monkeypatch.setenv("DPRM_CACHE", str(tmp_path / "cache"))
    first = train_reward(tiny.settings(tmp_path, epochs=1, hidden=8)).output
    assert (first / "3_Dense").is_dir()
    (first / "notes.txt").write_text("mine")
    with pytest.raises(TrainingError, match="hidden: this training began with 8"):
        train_reward(tiny.settings(tmp_path, epochs=2, resume=True))
    plain = train_reward(tiny.settings(tmp_path, epochs=1, overwrite=True)).output
    assert plain == first
    assert not [file.name for pattern in ("modules.json", "*_Dense", "*_Pooling") for file in plain.glob(pattern)]
    assert (plain / "notes.txt").read_text() == "mine"


def test_an_architecture_whose_classifier_takes_the_mean_stays_plain(tmp_path: Path) -> None:
    tiny.encoder(tmp_path / "modern")
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    special = {"pad_token_id": 0, "eos_token_id": 2, "bos_token_id": 2, "cls_token_id": 2, "sep_token_id": 2}
    config = ModernBertConfig(vocab_size=64, max_position_embeddings=64, **special, **size)
    ModernBertForMaskedLM(config).save_pretrained(tmp_path / "modern")
    trained = train_reward(tiny.settings(tmp_path, model=str(tmp_path / "modern"), epochs=1, pooling="mean"))
    model = AutoModelForSequenceClassification.from_pretrained(trained.output)
    assert model.config.classifier_pooling == "mean"
    assert not (trained.output / "modules.json").exists()


def test_an_encoder_reads_texts_between_its_tokens(tmp_path: Path) -> None:
    trained = train_reward(tiny.settings(tmp_path, model=str(tiny.encoder(tmp_path / "encoder")), epochs=0.1))
    read = AutoTokenizer.from_pretrained(trained.output)
    text = read.apply_chat_template(ROWS[0]["prompt"] + ROWS[0]["completion"], tokenize=False)
    assert text.startswith("<cls>user: what is") and text.endswith("<sep>")
