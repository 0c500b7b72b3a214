"""The simplest rivals: what they predict, and what is said of a model that does not beat them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dprm_data.labels.statistics import Resamples
from dprm_trainers.data.rows import load_data
from dprm_trainers.evaluation.evaluate import LONGER, TEXT, evaluate
from dprm_trainers.evaluation.evaluation_tables import markdown
from dprm_trainers.reward.reward_model import RewardModel
from dprm_trainers.reward.reward_trainer import train_reward
from dprm_trainers.reward.rivals import CONSTANT, by_text, comparisons, constant, rps, verdicts
from tests.trainers import tiny

MANY = tiny.rows(240)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("data") / "data.parquet", MANY)


def test_tf_idf_learns_from_words_on_the_same_split(data: Path) -> None:
    splits = load_data(data, labels="hh6", test=0.2, validation=0.2).splits
    train, test = splits["train"], splits["test"]
    p = by_text(train, test)
    assert isinstance(p, np.ndarray)
    assert p.shape == test.target.shape
    assert np.allclose(p.sum(axis=1), 1)
    assert (p > 0).all()
    same = constant(train, len(test))
    assert rps(p, test.target, tiny.SPACE).mean() < 0.3 * rps(same, test.target, tiny.SPACE).mean()
    nothing = train.take(np.arange(3))
    assert "not compared" in str(by_text(nothing, test))


def test_a_model_that_does_not_beat_a_rival_is_told_and_another_is_not() -> None:
    rng = np.random.default_rng(0)
    q = rng.dirichlet(np.ones(6), 200)
    rivals = {CONSTANT: np.tile(q.mean(axis=0), (200, 1)), TEXT: 0.5 * q + 0.5 / 6}
    expected = q @ tiny.SPACE.rewards
    order = expected.argsort()
    rest: Any = (q, tiny.SPACE, Resamples.of(np.arange(200)), np.stack([order[100:], order[:100]], axis=1))
    assert verdicts(comparisons("m", q, expected, rivals, *rest)) == []
    [worse, equal] = verdicts(comparisons("m", rng.dirichlet(np.ones(6), 200), expected, rivals, *rest))
    assert worse.startswith(f"m is worse than {CONSTANT}: RPS")
    assert equal.startswith(f"m is worse than {TEXT}: RPS")
    [same] = verdicts(comparisons("m", rivals[TEXT], expected, rivals, *rest))
    assert same.startswith(f"m does not beat {TEXT}: RPS")
    [scalar] = verdicts(comparisons("m", None, -expected, rivals, *rest))
    assert scalar.startswith(f"m is worse than {TEXT}: errors on pairs")


def test_a_training_says_so_of_its_model_and_writes_it_on_the_card(tmp_path: Path, data: Path) -> None:
    said: list[str] = []
    chance = str(tiny.reward_model(tmp_path / "chance"))
    settings = tiny.settings(tmp_path, data=str(data), model=chance, epochs=1, learning_rate=1e-9)
    bad = train_reward(settings, said.append)
    assert any("worse than predicting the average of the training rows for every response" in line for line in said)
    card = (bad.output / "README.md").read_text()
    for rival in (CONSTANT, TEXT):
        assert any(f"the model is worse than {rival}" in line for line in said)
        assert f"the model is worse than {rival}" in card
    model = RewardModel.load(str(bad.output))
    found = evaluate({"bad": model}, load_data(data, labels="hh6", test=0.2, validation=0.2), resamples=100)
    assert {CONSTANT, TEXT, LONGER, "bad"} == set(found.figures)
    assert "nll" not in found.figures[LONGER]
    assert "bad is worse than TF-IDF + ridge" in markdown(found)


@pytest.mark.parametrize("changes", [{}, {"lora": 2}, {"model": "bert"}, {"freeze": "backbone"}], ids=str)
def test_every_head_starts_at_the_base_rate(tmp_path: Path, data: Path, changes: dict[str, Any]) -> None:
    if changes.get("model") == "bert":
        changes = {"model": str(tiny.encoder(tmp_path / "bert"))}
    settings = tiny.settings(tmp_path, data=str(data), epochs=0.1, learning_rate=1e-9, **changes)
    trained = train_reward(settings)
    train = load_data(data, labels="hh6", test=0.2, validation=0.2).split("train")
    rows = train.take(np.arange(32))
    judged = RewardModel.load(str(trained.output)).judge(rows.prompts, rows.completions)
    assert judged.distribution is not None
    assert np.abs(judged.distribution - train.target.mean(axis=0)).max() < 0.05


def test_a_model_trained_before_keeps_its_head(tmp_path: Path, data: Path) -> None:
    before = tiny.reward_model(tmp_path / "before")
    train_reward(tiny.settings(tmp_path, data=str(data), model=str(before), epochs=0.1, learning_rate=1e-9))
    rows = load_data(data, labels="hh6").split("test")
    a, b = (
        RewardModel.load(str(folder)).judge(rows.prompts, rows.completions).reward
        for folder in (before, tmp_path / "trained")
    )
    assert np.allclose(a, b, atol=1e-4)


def test_lengths_on_a_file_of_pairs(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from dprm_data.cli import app

    rows = [{"prompt": "what", "chosen": "good " * n, "rejected": "bad bad"} for n in (1, 4, 5)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = str(tiny.reward_model(tmp_path / "model"))
    done = CliRunner().invoke(app, ["eval", "reward", "-m", model, "--pairs", str(tmp_path / "pairs.jsonl"), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["models"][LONGER]["all"]["accuracy"] == pytest.approx(2 / 3)
