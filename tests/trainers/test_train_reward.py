"""Training on tiny random models: it learns, it resumes, what it saves is a stock model, and mistakes are told before it begins."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from dprm_data.core.errors import DprmError
from dprm_trainers.data.rows import load_data
from dprm_trainers.reward.features import FrozenHead, linear_head
from dprm_trainers.reward.reward_model import RewardModel
from dprm_trainers.reward.reward_trainer import train_reward
from tests.trainers import tiny


@pytest.mark.parametrize("objective", ["ot", "wasserstein", "ce", "cramer", "ot+0.1*ce"])
def test_every_objective_learns(tmp_path: Path, objective: str) -> None:
    said: list[str] = []
    trained = train_reward(tiny.settings(tmp_path, objective=objective, epochs=6), said.append)
    losses = [float(line.split("validation loss ")[1].split()[0]) for line in said if "validation loss" in line]
    assert losses[-1] < losses[0]
    assert trained.figures["tokens_per_second"] > 0
    assert trained.figures["memory_mb"] > 0
    assert any("tokens/s" in line and "MB" in line for line in said)


def test_what_is_saved_is_a_stock_classifier(tmp_path: Path) -> None:
    config = tiny.settings(tmp_path, calibrate=True)
    trained = train_reward(config)
    model = AutoModelForSequenceClassification.from_pretrained(trained.output)
    tokenizer = AutoTokenizer.from_pretrained(trained.output)
    assert list(model.config.id2label.values()) == tiny.SPACE.names
    assert model.config.dprm["rewards"] == tiny.SPACE.rewards.tolist()
    assert np.allclose(model.config.dprm["ground_cost"], tiny.SPACE.ground_cost)
    assert model.config.dprm["temperature"] == trained.figures["temperature"]
    row = tiny.rows()[0]
    text = tokenizer.apply_chat_template(row["prompt"] + row["completion"], tokenize=False)
    by_pipeline = pipeline("text-classification", model=model, tokenizer=tokenizer, top_k=None)([text])[0]
    ours = RewardModel.load(str(trained.output)).judge([row["prompt"]], [row["completion"]])
    assert ours.distribution is not None
    expected = {found["label"]: found["score"] for found in by_pipeline}
    assert np.allclose(ours.distribution[0], [expected[name] for name in tiny.SPACE.names], atol=1e-5)
    card = (trained.output / "README.md").read_text()
    assert "helpful_harmless" in card
    assert str(tmp_path) not in card


def test_the_frozen_head_is_folded_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DPRM_CACHE", str(tmp_path / "cache"))
    config = tiny.settings(tmp_path, freeze="backbone", learning_rate=None, epochs=20)
    trained = train_reward(config)
    kept = list((tmp_path / "cache" / "features").glob("*.npy"))
    assert len(kept) == 2  # train and validation
    base = AutoModelForSequenceClassification.from_pretrained(config.model, num_labels=6)
    model = AutoModelForSequenceClassification.from_pretrained(trained.output)
    for (name, before), after in zip(base.model.named_parameters(), model.model.parameters(), strict=True):
        assert torch.equal(before, after), name
    # A second training with another loss computes no features again.
    times = [file.stat().st_mtime_ns for file in kept]
    train_reward(tiny.settings(tmp_path, freeze="backbone", objective="ce", output=str(tmp_path / "second"), epochs=1))
    assert [file.stat().st_mtime_ns for file in kept] == times
    assert len(list((tmp_path / "cache" / "features").glob("*.npy"))) == 2


def test_folding() -> None:
    torch.manual_seed(0)
    features = np.random.default_rng(0).normal(3.0, 2.0, (40, 8)).astype(np.float32)
    head, stock = FrozenHead(features, 5), torch.nn.Linear(8, 5, bias=False)
    torch.nn.init.normal_(head.weight)
    head.fold(stock)
    x = torch.randn(7, 8)
    assert torch.allclose(stock(x), head(x)["logits"], atol=1e-4)


def test_a_scalar_model_on_pairs(tmp_path: Path) -> None:
    trained = train_reward(tiny.settings(tmp_path, objective="bt", epochs=6))
    model = RewardModel.load(str(trained.output))
    assert model.scalar
    data = load_data(tmp_path / "data.parquet", labels="hh6", test=0.2, validation=0.2).split("test")
    judged = model.judge(data.prompts, data.completions)
    assert judged.distribution is None
    assert np.corrcoef(judged.reward, data.target @ tiny.SPACE.rewards)[0, 1] > 0.5
    with pytest.raises(DprmError, match="scalar"):
        model.judge(data.prompts, data.completions, reading="cvar:0.1")


def test_lora_is_merged(tmp_path: Path) -> None:
    trained = train_reward(tiny.settings(tmp_path, lora=2))
    names = AutoModelForSequenceClassification.from_pretrained(trained.output).state_dict()
    assert not [name for name in names if "lora" in name]
    assert not (trained.output / "adapter_config.json").exists()


def test_accumulation_is_the_same_as_a_larger_batch(tmp_path: Path) -> None:
    common: dict[str, Any] = {
        "epochs": 1,
        "group_by_length": False,
        "trainer": {"lr_scheduler_type": "constant", "max_steps": 3},
    }
    one = train_reward(tiny.settings(tmp_path, output=str(tmp_path / "one"), batch_size=8, **common))
    two = train_reward(tiny.settings(tmp_path, output=str(tmp_path / "two"), batch_size=4, accumulation=2, **common))
    assert one.figures["training_loss"] == pytest.approx(two.figures["training_loss"], rel=1e-4)


def test_resuming_goes_on_where_it_was(tmp_path: Path) -> None:
    whole = train_reward(tiny.settings(tmp_path, output=str(tmp_path / "whole"), epochs=4))
    half = {"output": str(tmp_path / "half"), "epochs": 4}
    said: list[str] = []
    # Stopped after two of its four epochs: the schedule is that of the whole.
    stopped = tiny.settings(tmp_path, **half, trainer={"save_total_limit": 10})
    train_reward(stopped)
    for file in (tmp_path / "half").iterdir():
        if file.is_file():
            file.unlink()
    checkpoints = sorted(
        (tmp_path / "half" / "checkpoints").glob("checkpoint-*"), key=lambda p: int(p.name.split("-")[1])
    )
    assert len(checkpoints) == 4
    for checkpoint in checkpoints[2:]:
        for file in sorted(checkpoint.rglob("*"), reverse=True):
            file.unlink()
        checkpoint.rmdir()
    resumed = train_reward(tiny.settings(tmp_path, **half, resume=True), said.append)
    assert any("resuming from" in line for line in said)
    a = AutoModelForSequenceClassification.from_pretrained(whole.output).state_dict()
    b = AutoModelForSequenceClassification.from_pretrained(resumed.output).state_dict()
    assert all(torch.allclose(a[name], b[name], atol=1e-6) for name in a)


def test_early_stopping_keeps_the_best_epoch(tmp_path: Path) -> None:
    trained = train_reward(tiny.settings(tmp_path, early_stopping=1, epochs=30, learning_rate=0.1))
    assert trained.figures["epochs"] < 30
    assert (
        json.loads((trained.output / "dprm_training.json").read_text())["figures"]["validation_loss"]
        == trained.figures["validation_loss"]
    )


def test_a_seed_makes_it_the_same_again(tmp_path: Path) -> None:
    first, second = (train_reward(tiny.settings(tmp_path, output=str(tmp_path / name), seed=3)) for name in "ab")
    assert first.figures["training_loss"] == second.figures["training_loss"]
    head = linear_head(AutoModelForSequenceClassification.from_pretrained(first.output)).weight
    other = linear_head(AutoModelForSequenceClassification.from_pretrained(second.output)).weight
    assert torch.equal(head, other)


# -- mistakes ---------------------------------------------------------------------------------------------------------------


def _with(folder: Path, change: Any) -> dict[str, Any]:
    content = tiny.rows()
    change(content)
    return {"data": str(tiny.write(folder / "bad.parquet", content))}


def _nan(content: list[dict[str, Any]]) -> None:
    content[7]["label_distribution"][2] = float("nan")


def _not_one(content: list[dict[str, Any]]) -> None:
    content[3]["label_distribution"] = [0.5] * 6


def _negative(content: list[dict[str, Any]]) -> None:
    content[0]["label_distribution"] = [-0.5, 1.5, 0, 0, 0, 0]


def _empty(content: list[dict[str, Any]]) -> None:
    content[5]["completion"] = [{"role": "assistant", "content": "  "}]


def _long(content: list[dict[str, Any]]) -> None:
    content[1]["completion"] = [{"role": "assistant", "content": "good " * 80}]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda folder: _with(folder, _nan), r"row 8: the distribution has a probability that is not finite"),
        (lambda folder: _with(folder, _not_one), r"row 4: the distribution does not sum to 1"),
        (lambda folder: _with(folder, _negative), r"row 1: the distribution has a negative"),
        (lambda folder: _with(folder, _empty), r"row 6: the completion is empty"),
        (lambda folder: _with(folder, _long), r"1 of \d+ responses alone are longer than 64 tokens"),
        (lambda folder: {"labels": 5}, r"over 6 labels, but the label space ordinal-5 has 5"),
        (lambda folder: {"labels": None}, "does not name the label space"),
        (lambda folder: {"data": str(folder / "nothing.parquet")}, "no such file"),
        (lambda folder: {"model": str(tiny.base_model(folder / "b1", pad=False))}, "no pad token"),
        (lambda folder: {"model": str(tiny.base_model(folder / "b2", template=False))}, "no chat template"),
        (lambda folder: {"max_length": 128}, "the model reads at most 64"),
        (lambda folder: {"model": str(folder / "no-model")}, "cannot load the model"),
        (lambda folder: {"objective": "cee"}, "there is no loss .cee.; did you mean .ce."),
        (lambda folder: {"objective": "0.1.2*ce"}, "is neither a loss nor a weight"),
        (lambda folder: {"objective": "ce+dprm_c"}, "ce appears twice"),
        (lambda folder: {"objective": "ot+bt"}, "cannot be added"),
        (lambda folder: {"validation": 0.0, "early_stopping": 1}, "need a validation share"),
        (lambda folder: {"trainer": {"no_such_argument": 1}}, "no_such_argument"),
        (
            lambda folder: {"data": str(tiny.write(folder / "one.parquet", tiny.rows(24, 1))), "objective": "bt"},
            "trains on pairs",
        ),
    ],
)
def test_mistakes_are_told_before_training(tmp_path: Path, make: Any, says: str) -> None:
    with pytest.raises(DprmError, match=says) as caught:
        train_reward(tiny.settings(tmp_path, **make(tmp_path)))
    assert caught.value.message
    assert not (tmp_path / "trained" / "checkpoints").exists()


def test_a_model_on_another_label_space_is_refused(tmp_path: Path) -> None:
    train_reward(tiny.settings(tmp_path, epochs=1))
    other = tiny.LabelSpace.ordinal(6)
    data = tiny.write(tmp_path / "other.parquet", tiny.rows(space=other))
    with pytest.raises(DprmError, match="is on the label space hh6"):
        train_reward(
            tiny.settings(
                tmp_path, model=str(tmp_path / "trained"), data=str(data), labels=6, output=str(tmp_path / "x")
            )
        )
    with pytest.raises(DprmError, match="holds a model already"):
        train_reward(tiny.settings(tmp_path))


def test_an_empty_split(tmp_path: Path) -> None:
    data = tiny.write(tmp_path / "few.parquet", tiny.rows(4, 2))
    with pytest.raises(DprmError, match="the validation split is empty"):
        train_reward(tiny.settings(tmp_path, data=str(data), calibrate=True))


def test_prompts_are_cut_on_the_left(tmp_path: Path) -> None:
    content = tiny.rows()
    content[0]["prompt"] = [{"role": "user", "content": "red " * 100}]
    said: list[str] = []
    train_reward(
        tiny.settings(tmp_path, data=str(tiny.write(tmp_path / "long.parquet", content)), test=0.0), said.append
    )
    assert any("1 of" in line and "cut on the left" in line for line in said)


def test_pushing_takes_the_card_and_leaves_the_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked: list[tuple[str, dict[str, Any]]] = []

    class Api:
        def __init__(self, **options: Any) -> None: ...

        def create_repo(self, repo: str, **options: Any) -> None:
            asked.append((repo, options))

        def upload_folder(self, **options: Any) -> None:
            assert (Path(options["folder_path"]) / "README.md").read_text().startswith("---")
            asked.append((options["repo_id"], options))

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    config = tiny.settings(tmp_path, epochs=1, push_to_hub="owner/name")
    with pytest.raises(DprmError, match="no token"):
        train_reward(config)
    assert not (tmp_path / "trained").exists()
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_x")
    train_reward(config)
    assert [repo for repo, _ in asked] == ["owner/name", "owner/name"]
    assert asked[0][1]["private"]
    assert asked[1][1]["ignore_patterns"] == ["checkpoints/**"]
    with pytest.raises(DprmError, match="push_to_hub"):
        tiny.settings(tmp_path, push_to_hub="just-a-name")
